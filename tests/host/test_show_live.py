"""A show recorded on a running host, through the death of a worker, and replayed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import av
import pytest

from sdv2_host.clock import now_ns
from sdv2_host.commands.replay import Changes, replay_show
from sdv2_host.config import Config
from sdv2_host.cores import usable_cores
from sdv2_host.errors import ConfigError
from sdv2_host.host.show_format import Step
from sdv2_host.host.show_reader import open_show, read_calls
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.types import Engine, FrameMeta, ProgressFn
from tests.host.live_host import FRAME_S, Stage, live_host, picture, streaming_host
from tests.host.show_steps import record_steps
from tests.naive_engine import NaiveEngine

TINY = {"engine": "tiny", "width": 64, "height": 64, "compile": "off", "threads": 1}
"""Changes to a host: pictures that are the same to the bit at every start."""
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def has_chunks(show: Path, part: int, count: int) -> bool:
    steps = show / f"part-{part:03}" / "steps.jsonl"
    return steps.exists() and steps.read_bytes().count(b"\n") >= count


async def recording(stage: Stage) -> Path:
    """The folder of the show that the host records from now on."""
    stage.send_osc("/sdv2/record/show", 1)
    await stage.until(lambda: bool(stage.daemon.console.board.get("show")))
    return Path(str(stage.daemon.console.board["show"]))


async def ended(stage: Stage) -> list[str]:
    """What the host says of the show that it recorded."""
    stage.send_osc("/sdv2/record/show", 0)
    notices = stage.daemon.console.notices
    await stage.until(lambda: any("recorded the show" in notice.text for notice in notices))
    return [notice.text for notice in notices]


def test_a_show_goes_on_with_the_next_worker_and_is_replayed_as_it_was(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> Path:
        async with streaming_host(run_dir, stream) as stage:
            show = await recording(stage)
            await stage.until(lambda: has_chunks(show, 1, 3))
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            os.kill(pid, KILL)
            await stage.until(lambda: has_chunks(show, 2, 3))
            stage.send_osc("/sdv2/seed", 7)
            texts = await ended(stage)
            assert any(str(show) in text for text in texts)
            assert not stage.daemon.params.show
            assert stage.daemon.console.board["show"] == ""
            return show

    show = asyncio.run(run())

    verdict = replay_show(show, tmp_path / "again.mp4", Changes(), verify=True)

    assert verdict.num_equal == verdict.num_pictures >= 9
    assert len(open_show(show)) >= 2
    with av.open(str(tmp_path / "again.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 9


def test_the_embedded_model_is_replayed_from_the_middle_of_a_session(
    run_dir: Path, stream: str
) -> None:
    async def run() -> Path:
        async with live_host(run_dir, stream, changes=TINY) as stage:
            source = asyncio.create_task(stage.publish_frames())
            await stage.until(stage.daemon.ready.is_set, 120)
            await stage.until(lambda: stage.daemon.snapshot().frames_out > 10, 60)
            show = await recording(stage)
            for number, prompt in enumerate(("ink", "gold", "neon outline"), 1):
                await stage.until(lambda n=number: has_chunks(show, 1, 2 * n), 60)
                stage.daemon.console.set({"prompt": prompt, "seed": number}, "t")
            await ended(stage)
            source.cancel()
            return show

    show = asyncio.run(run())
    (part,) = open_show(show)
    prompts = {recorded.params.prompt for recorded in read_calls(part)}

    verdict = replay_show(show, None, Changes(threads=1), verify=True)

    assert part.memory is not None
    assert {"ink", "gold"} <= prompts
    assert verdict.num_equal == verdict.num_pictures >= 20


def test_what_a_source_left_when_it_stopped_is_replayed_as_the_engine_got_it(
    run_dir: Path, stream: str
) -> None:
    async def run() -> Path:
        async with live_host(run_dir, stream, changes=TINY) as stage:
            await stage.until(stage.daemon.ready.is_set, 120)
            show = await recording(stage)
            with FrameWriter(stage.daemon.config.input_stream, run_dir=run_dir) as writer:
                for number in range(1, 8):
                    meta = FrameMeta(width=24, height=16, capture_ts_ns=now_ns())
                    writer.publish(picture(number), meta)
                    await asyncio.sleep(FRAME_S)
                    # The first of a ring that is new to the host.
                    await stage.until(lambda: stage.daemon.snapshot().frames_out > 0, 60)
                await stage.until(lambda: stage.daemon.snapshot().frames_out == 7, 60)
            await ended(stage)
            return show

    show = asyncio.run(run())
    (part,) = open_show(show)
    steps = [len(one.call.frames) for one in read_calls(part) if isinstance(one.call, Step)]

    verdict = replay_show(show, None, Changes(threads=1), verify=True)

    assert steps == [1, 4, 4]
    assert verdict.num_equal == verdict.num_pictures == 9


def test_a_show_is_made_larger(tmp_path: Path) -> None:
    record_steps(tmp_path / "a.show")
    target = tmp_path / "large.mp4"

    done = run_cli("replay", str(tmp_path / "a.show"), str(target), "--size", "96x80")

    assert done.stdout.strip() == f"wrote {target}"
    with av.open(str(target)) as container:
        sizes = [(one.width, one.height) for one in container.decode(video=0)]
    assert sizes == [(96, 80)] * 9


def test_verify_says_what_differs(tmp_path: Path) -> None:
    record_steps(tmp_path / "a.show")
    steps = tmp_path / "a.show" / "part-001" / "steps.jsonl"
    equal = run_cli("replay", str(tmp_path / "a.show"), "--verify")
    digest = re.findall(r'"([0-9a-f]{16})"', steps.read_text())[1]
    steps.write_text(steps.read_text().replace(digest, "0" * 16))
    facts = steps.with_name("part.json")
    facts.write_text(facts.read_text().replace('"weights": ""', '"weights": "tiny 0123"'))

    other = run_cli("replay", str(tmp_path / "a.show"), "--verify")

    assert (equal.returncode, equal.stdout.strip()) == (0, "9 pictures of 9 identical")
    assert other.returncode == 2
    assert "8 pictures of 9 identical" in other.stdout
    assert "the first that differs: part-001, call 2, frame 2" in other.stdout
    assert "not as it was: weights: then tiny 0123, now unknown" in other.stdout


def test_what_a_show_lacks_the_frames_of_is_told(tmp_path: Path) -> None:
    record_steps(tmp_path / "a.show")
    video = tmp_path / "a.show" / "part-001" / "input-001.mkv"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])

    verdict = replay_show(tmp_path / "a.show", None, Changes(), verify=True)
    told = run_cli("replay", str(tmp_path / "a.show"), "--verify")

    assert verdict.num_equal == verdict.num_pictures < 9
    assert verdict.num_missing == 9 - verdict.num_pictures
    assert f"{verdict.num_missing} more cannot be made again" in verdict.text
    assert (told.returncode, told.stdout.strip()) == (2, verdict.text)
    assert "not all pictures of the show could be compared" in told.stderr


def test_an_engine_is_gone_before_the_next_part_has_one(tmp_path: Path) -> None:
    """A device may have room for one only."""
    for _ in range(2):
        record_steps(tmp_path / "a.show")
    engines: list[weakref.ref[Engine]] = []
    num_alive: list[int] = []

    def build(config: Config, progress: ProgressFn) -> Engine:
        del config, progress
        num_alive.append(sum(engine() is not None for engine in engines))
        engine = SelfReferring()
        engines.append(weakref.ref(engine))
        return engine

    verdict = replay_show(tmp_path / "a.show", None, Changes(), verify=True, build=build)

    assert verdict.num_equal == 18
    assert num_alive == [0] * len(num_alive)
    assert len(num_alive) >= 2


@pytest.mark.parametrize(
    ("changes", "threads"),
    [(Changes(), usable_cores()), (Changes(threads=3), 3), (Changes(seed=4), 0)],
)
def test_a_replay_that_is_compared_has_as_many_threads_as_the_show_whatever_else_is_at_work(
    tmp_path: Path, changes: Changes, threads: int
) -> None:
    record_steps(tmp_path / "a.show")
    asked: list[int] = []

    def build(config: Config, progress: ProgressFn) -> Engine:
        del progress
        asked.append(config.threads)
        return NaiveEngine()

    replay_show(tmp_path / "a.show", tmp_path / "again.mp4", changes, verify=False, build=build)

    assert set(asked) == {threads}


class SelfReferring(NaiveEngine):
    """As the engines with models are."""

    def __init__(self) -> None:
        super().__init__()
        self.itself = self


def run_cli(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sdv2_host", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_show_that_cannot_be_written_is_told_and_switched_off(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        (run_dir.parent / "takes").write_text("a file")
        async with streaming_host(run_dir, stream) as stage:
            stage.send_osc("/sdv2/record/show", 1)
            console = stage.daemon.console
            await stage.until(lambda: any(one.level == "error" for one in console.notices))
            await stage.until(lambda: not stage.daemon.params.record_show)
            seen = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) > seen + 4)

            texts = [one.text for one in console.notices if one.level == "error"]
            assert any("the show is not recorded any more: cannot write" in one for one in texts)
            assert stage.daemon.snapshot().worker_restarts == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "changes", "verify", "what"),
    [
        (None, Changes(), False, "say where to"),
        ("a.avi", Changes(), False, "ends in .mp4"),
        ("a.mp4", Changes(steps=3), True, "leave out --steps"),
        ("a.mp4", Changes(), False, "is not a recorded show"),
    ],
)
def test_what_cannot_be_replayed_is_told(
    tmp_path: Path, target: str | None, changes: Changes, verify: bool, what: str
) -> None:
    path = tmp_path / target if target is not None else None

    with pytest.raises(ConfigError, match=what):
        replay_show(tmp_path, path, changes, verify)
