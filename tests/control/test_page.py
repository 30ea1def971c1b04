"""The control page in a real browser, played against a real daemon with foreign OSC beside it."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdv2_host.ipc.osc import decode
from sdv2_host.ipc.osc_encode import encode_message
from tests.hosts import RunningHost, unique_name

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parent.parent / "peers" / "node_modules" / "axe-core" / "axe.min.js"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt install chromium"),
    pytest.mark.timeout(180),
]
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="npm ci in tests/peers installs axe-core")


class Room:
    """A host, and a browser with pages of it."""

    def __init__(self, browser: object, port: int) -> None:
        self.browser = browser
        self.port = port
        self.faults: list[str] = []

    def page(self, fragment: str = "", size: tuple[int, int] = (1400, 900)):  # type: ignore[no-untyped-def]
        """A page that is connected; its console and its requests are watched."""
        opened = self.browser.new_page(viewport={"width": size[0], "height": size[1]})  # type: ignore[attr-defined]
        opened.on("console", lambda m: m.type == "error" and self.faults.append(m.text))
        opened.on("pageerror", lambda error: self.faults.append(str(error)))
        opened.on("request", self._watch)
        opened.goto(f"http://127.0.0.1:{self.port}/{fragment}")
        expect(opened.locator("#host-name")).not_to_have_text("sdv2-host")
        return opened

    def _watch(self, request) -> None:  # type: ignore[no-untyped-def]
        if f"//127.0.0.1:{self.port}/" not in request.url and not request.url.startswith("blob:"):
            self.faults.append(f"request to {request.url}")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("data")
    args = ("--engine", "passthrough", "--port", "0", "--data-dir", str(folder))
    with RunningHost("run", "--name", unique_name(), *args) as running:
        line = running.wait_for("control page")
        yield int(re.search(r":(\d+)/", line)[1])  # type: ignore[index]


@pytest.fixture(scope="module")
def room(host: int) -> Iterator[Room]:
    os.environ.setdefault("NODE_OPTIONS", "")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = Room(browser, host)
        yield made
        browser.close()
        assert made.faults == []


class Ear:
    """An OSC subscriber of the standard library alone."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(20)
        self.to = ("127.0.0.1", port)

    def send(self, address: str, *values: str | float) -> None:
        self.socket.sendto(encode_message(address, *values), self.to)

    def until(self, address: str, *values: object) -> None:
        """Returns when it heard this."""
        while True:
            message = decode(self.socket.recv(65536)).messages[0]
            if message.address == address and (not values or message.args == values):
                return


def test_a_slider_moves_the_other_page_and_the_osc_subscriber(room: Room) -> None:
    first, second, ear = room.page(), room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")
    ear.until("/sdv2/steps")

    slider = first.get_by_role("slider", name="steps", exact=True)
    slider.focus()
    slider.press("End")

    ear.until("/sdv2/steps", 4)
    expect(second.get_by_role("slider", name="steps", exact=True)).to_have_value("4")
    expect(second.get_by_label("steps, as a number")).to_have_value("4")
    first.close()
    second.close()


def test_osc_moves_the_slider_of_the_page(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)

    ear.send("/sdv2/norm/noise/s_max", 0.25)

    expect(page.get_by_role("slider", name="noise s max")).to_have_value("0.25")
    page.close()


def test_a_prompt_is_applied_and_said_to_be(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")

    page.get_by_role("textbox", name="Deck A").fill("neon rain")
    page.get_by_role("textbox", name="Deck A").press("Enter")

    ear.until("/sdv2/prompt", "neon rain")
    expect(page.locator("#prompt-state")).to_have_text("applied")
    page.close()


def test_escape_twice_is_panic_and_resume_ends_it(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    ear.send("/sdv2/subscribe")
    ear.until("/sdv2/steps")

    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    ear.until("/sdv2/panicked", True)
    panic = page.get_by_role("button", name="PANIC", exact=True)
    expect(panic).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Resume", exact=True).click()

    ear.until("/sdv2/panicked", False)
    page.close()


def test_a_refused_message_shows_in_the_log(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)

    ear.send("/sdv2/promt", "x")

    expect(page.locator("#log")).to_contain_text("did you mean /sdv2/prompt?")
    page.close()


def test_a_preset_is_loaded_and_a_look_saved(room: Room) -> None:
    page = room.page()
    page.get_by_role("button", name="Save as…").click()
    page.get_by_label("Name").fill("my look")
    page.get_by_role("button", name="Save", exact=True).click()
    mine = page.get_by_role("group", name="Presets").get_by_role("button", name="my look")
    expect(mine).to_have_attribute("aria-pressed", "true")
    page.get_by_label("motion gain, as a number").fill("2")
    page.get_by_label("motion gain, as a number").press("Enter")
    expect(mine).to_have_attribute("data-changed", "true")

    mine.click()

    expect(page.get_by_label("motion gain, as a number")).to_have_value("1")
    expect(mine).to_have_attribute("data-changed", "false")
    page.close()


def test_an_osc_address_is_learnt_and_forgotten(room: Room) -> None:
    page, ear = room.page(), Ear(room.port)
    page.get_by_role("button", name="Learn an OSC address for mix").click()
    expect(page.locator("#learning")).to_contain_text("mix")

    ear.send("/my/fader", 0.5)

    expect(page.get_by_role("slider", name="mix")).to_have_value("0.5")
    forget = page.get_by_role("button", name="Forget /my/fader")
    forget.click()
    expect(forget).to_have_count(0)
    page.close()


def test_the_dock_of_obs_shows_what_is_played_and_plays_it(room: Room) -> None:
    """OBS loads a dock as a document of its own, as here: nobody else may frame the page."""
    page = room.page("#dock", (320, 700))

    assert page.evaluate("document.body.classList.contains('dock')")
    expect(page.locator("#controls-panel")).to_be_hidden()
    page.get_by_role("button", name="Panic").first.click()
    expect(page.get_by_role("button", name="Resume").first).to_be_visible()
    page.get_by_role("button", name="Resume").first.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    header = page.evaluate("fetch('/').then(r => r.headers.get('content-security-policy'))")
    assert "frame-ancestors 'none'" in header
    assert room.faults == []
    page.close()


@needs_axe
@pytest.mark.parametrize("size", [(1400, 900), (320, 800)], ids=str)
@pytest.mark.parametrize("state", ["", "#dock", "help", "save"])
def test_axe_finds_no_violation(room: Room, state: str, size: tuple[int, int]) -> None:
    page = room.page(state if state.startswith("#") else "", size)
    if state == "help":
        page.locator("#help-button").click()
    elif state == "save":
        page.locator("#preset-save").click()

    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]

    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []
    page.close()


def test_every_control_can_be_reached_by_tab(room: Room) -> None:
    page = room.page()
    reached = set()
    for _ in range(160):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.outerHTML"))

    ids = page.evaluate(
        "[...document.querySelectorAll('#controls input[id], #controls select')].map(e => e.id)"
    )
    assert set(ids) <= reached
    page.close()
