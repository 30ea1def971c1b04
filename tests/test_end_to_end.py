"""The whole product as a user starts it: real processes, real rings, real files, a real browser."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import pytest
from PIL import Image

from sdv2_host.control.pictures import HEADER
from sdv2_host.control.web_messages import PROTOCOL, SUBPROTOCOL
from sdv2_host.ipc.frame_ring import remove_stale
from tests.hosts import (
    RunningHost,
    children,
    descriptors,
    is_running,
    orphans,
    sdv2_host,
    unique_name,
)
from tests.sources.clips import write_clip

DEMO = ("--port", "0", "--no-browser", "--engine", "passthrough")
PASSTHROUGH = ("--engine", "passthrough", "--port", "0")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
STOP_S = 2.0


def greys(path: Path) -> list[int]:
    """Grey level of the lower right corner of each frame."""
    with av.open(str(path)) as container:
        return [
            int(frame.to_ndarray(format="rgb24")[-4:, -4:].mean())
            for frame in container.decode(video=0)
        ]


def record(tmp_path: Path, *args: str) -> dict[str, Any]:
    """A headless demo's report."""
    out = tmp_path / "out"
    report = tmp_path / "report.json"
    name = unique_name()
    before = orphans()

    done = sdv2_host(
        *("demo", "--headless", "--name", name, "--out", str(out), "--json", str(report)),
        *("--port", "0", *args),
        timeout_s=110,
    )

    assert done.returncode == 0, done.stderr
    assert descriptors(name) == []
    assert orphans() <= before
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def check_report(report: dict[str, Any], num_frames: int) -> None:
    assert report["frames_out"] == num_frames
    assert report["frames_in"] >= num_frames
    assert report["fps"] > 0
    latency = report["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert report["ttff_ms"] > 0
    assert report["spans_ms"]
    assert {"cpu", "cores", "torch"} <= report["hardware"].keys()


def test_headless_demo_shows_the_file_s_frames_in_order(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 24, (96, 64))

    report = record(tmp_path, "--engine", "passthrough", "--input", str(clip), "--frames", "40")

    check_report(report, 40)
    assert report["config"]["engine"] == "passthrough"
    shown = greys(tmp_path / "out" / "out.mp4")
    assert len(shown) == 40
    numbers = [round((grey - 8) / 8) for grey in shown]
    steps = [(after - before) % 24 for before, after in itertools.pairwise(numbers)]
    assert min(steps) >= 1  # never a frame twice, never backwards
    assert sum(steps) < 40 + 24  # and the cadence is the source's, not a slideshow
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert min(sheet.size) > 100


def test_headless_demo_restyles_with_the_embedded_model(tmp_path: Path) -> None:
    args = ("--size", "128x128", "--threads", "1", "--style", "neon")
    report = record(tmp_path, "--frames", "24", *args)

    check_report(report, 24)
    assert {"encode", "denoise", "decode"} <= report["spans_ms"].keys()
    with av.open(str(tmp_path / "out" / "out.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 24
    assert frames[0].shape == (128, 128, 3)
    assert np.stack(frames).std() > 10


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_recording_in_time_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    name = unique_name()
    before = orphans()
    args = ("--headless", "--frames", "100000", "--name", name, "--out", str(tmp_path))
    with RunningHost("demo", *args, *PASSTHROUGH) as host:
        host.wait_for("recording")
        host.wait_for("recording")
        family = children(host.process.pid)
        assert len(family) >= 2  # the source and the worker

        exit_code, seconds = host.stop(number)

    assert exit_code == code
    assert seconds < STOP_S
    assert [pid for pid in family if is_running(pid)] == []
    assert descriptors(name) == []
    assert orphans() <= before


def test_a_killed_demo_takes_its_source_and_worker_with_it() -> None:
    name = unique_name()
    with RunningHost("demo", "--name", name, *DEMO) as host:
        host.wait_for("live")
        family = children(host.process.pid)

        host.stop(signal.SIGKILL)

        left = survivors(family)
    for stream in ("in", "out", "wk"):
        remove_stale(f"{name}-{stream}")
    assert left == []


def survivors(pids: list[int]) -> list[int]:
    """Those that still run after 10 s."""
    deadline_s = time.monotonic() + 10
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]


class Page:
    """What an open control page gets."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.kinds: set[int] = set()

    async def until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first text message of which `is_it` holds; pictures are drawn on the way."""
        async with asyncio.timeout(30):
            async for message in self.socket:
                if message.type == aiohttp.WSMsgType.BINARY:
                    self.kinds.add(HEADER.unpack_from(message.data)[0])
                    await self.socket.send_json({"type": "drawn"})
                elif is_it(content := json.loads(message.data)):
                    return content
        raise AssertionError("the page lost its connection")


def page_url(host: RunningHost) -> str:
    found = re.search(r"http://[0-9.:]+/", host.wait_for("open http://"))
    assert found is not None
    return found[0]


async def with_page(url: str, body: Callable[[Page], Any]) -> Any:
    """Runs `body` with a page that is connected to the demo."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url + "socket", protocols=(SUBPROTOCOL,)) as socket,
    ):
        await socket.send_json({"type": "hello", "protocol": PROTOCOL})
        return await body(Page(socket))


def is_live(message: dict[str, Any]) -> bool:
    return message["type"] == "status" and message["state"] == "live"


@pytest.mark.skipif(shutil.which("oscsend") is None, reason="oscsend (liblo-tools) is missing")
def test_a_prompt_by_osc_reaches_a_page_that_shows_both_pictures() -> None:
    async def act(page: Page) -> dict[str, Any]:
        status = await page.until(is_live)
        port = str(status["port"])
        command = ["oscsend", "127.0.0.1", port, "/sdv2/prompt", "s", "gold leaf"]
        subprocess.run(command, check=True, timeout=10)
        state = await page.until(lambda m: m["type"] == "state" and "prompt" in m["values"])
        while page.kinds != {0, 1}:
            await page.until(lambda m: m["type"] == "status")
        return dict(state["values"])

    with RunningHost("demo", "--name", unique_name(), *DEMO) as host:
        values = asyncio.run(with_page(page_url(host), act))

    assert values["prompt"] == "gold leaf"


def test_a_killed_worker_comes_back_under_a_living_page() -> None:
    async def act(page: Page) -> tuple[dict[str, Any], dict[str, Any]]:
        before = await page.until(is_live)
        os.kill(before["worker_pid"], signal.SIGKILL)
        after = await page.until(lambda m: is_live(m) and m["worker_restarts"] == 1)
        return before, after

    with RunningHost("demo", "--name", unique_name(), *DEMO) as host:
        before, after = asyncio.run(with_page(page_url(host), act))

    assert after["worker_pid"] != before["worker_pid"]
    assert after["frames_out"] > before["frames_out"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.timeout(180)
def test_a_browser_shows_both_pictures_and_says_nothing_on_its_console() -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    console: list[str] = []
    with (
        RunningHost("demo", "--name", unique_name(), *DEMO) as host,
        playwright.sync_playwright() as driver,
    ):
        url = page_url(host)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: console.append(message.text))
        page.goto(url)

        for what in ('#connection[data-state="live"]', "#input[data-frame]", "#output[data-frame]"):
            page.wait_for_selector(what, timeout=60_000)
        output = page.locator("#output")
        first = output.get_attribute("data-frame")
        playwright.expect(output).not_to_have_attribute("data-frame", first, timeout=30_000)
        playwright.expect(page.locator("#fps")).to_have_text(re.compile(r"^[1-9]"), timeout=30_000)
        browser.close()

    assert console == []


def test_render_keeps_every_frame_and_repeats_bit_for_bit(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 22, (64, 48))
    targets = [tmp_path / "a.mp4", tmp_path / "b.mp4"]

    for target in targets:
        done = sdv2_host("render", str(clip), str(target), "--engine", "passthrough")
        assert done.returncode == 0, done.stderr

    assert greys(targets[0]) == pytest.approx(greys(clip), abs=2)
    assert targets[0].read_bytes() == targets[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4", "clip.mp4"]


def test_render_with_the_embedded_model_repeats_bit_for_bit(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 7, (64, 48))
    targets = [tmp_path / "a.mp4", tmp_path / "b.mp4"]

    for target in targets:
        args = ("--style", "neon", "--size", "64x64", "--steps", "1", "--threads", "1")
        done = sdv2_host("render", str(clip), str(target), *args)
        assert done.returncode == 0, done.stderr

    assert len(greys(targets[0])) == 7
    assert targets[0].read_bytes() == targets[1].read_bytes()
