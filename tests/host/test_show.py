"""A show on a real daemon: fades, output, recordings, snapshots, another size, the beat."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sdv2_host.clock import NS_PER_MS
from sdv2_host.control.fader import Duration
from sdv2_host.params import prompts_of
from sdv2_host.types import FrameFlags, Size
from tests.host.live_host import Stage, picture, streaming_host


def sent(stage: Stage) -> object:
    """The parameters that the worker was sent last."""
    return stage.daemon._sent


def test_blackout_and_resume_while_the_stream_goes_on(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 10)
            stage.send_osc("/sdv2/blackout", 1.0)
            await stage.until(lambda: not stage.seen[-1].pixels[..., :3].any())
            assert "output is black" in stage.daemon.snapshot().detail

            stage.send_osc("/sdv2/resume")
            await stage.until(lambda: bool(stage.seen[-1].pixels[..., :3].any()))

            numbers = [frame.meta.source_frame for frame in stage.fresh]
            assert numbers == sorted(set(numbers))

    asyncio.run(run())


def test_panic_shows_the_input_itself(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 10)
            stage.daemon.console.set({"panic_s": 0.0}, "t")
            stage.send_osc("/sdv2/panic")
            await stage.until(lambda: stage.daemon.params.panicked)
            stage.seen.clear()

            await stage.until(lambda: len(stage.seen) >= 20)

            pictures = [picture(number) for number in range(1, stage.sent + 1)]
            for frame in stage.seen[5:]:
                shown = frame.pixels[..., :3]
                assert any(np.array_equal(shown, one[..., :3]) for one in pictures)

    asyncio.run(run())


def test_wet_and_dry_of_a_passthrough_is_the_picture_itself(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 10)
            stage.daemon.console.set({"mix": 0.5}, "t")
            stage.seen.clear()
            await stage.until(lambda: len(stage.fresh) >= 40)

            for frame in stage.fresh:
                expected = picture(frame.meta.source_frame)[..., :3]
                assert np.array_equal(frame.pixels[..., :3], expected)

    asyncio.run(run())


def test_a_transition_over_seconds_is_sent_as_weights_and_ends_as_the_prompt(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 4)
            stage.daemon.console.set({"prompt": "a"}, "t", fade=Duration(0.0))
            stage.daemon.console.set({"prompt": "b"}, "t", fade=Duration(0.6))
            weights = []

            def arrived() -> bool:
                on_air = stage.daemon._sent
                weights.append(dict(prompts_of(on_air)).get("b", 0.0))
                return on_air.blend == () and on_air.prompt == "b"

            await stage.until(arrived)

            assert stage.daemon.params.prompt == "b"
            assert weights == sorted(weights)
            assert len({w for w in weights if 0 < w < 1}) >= 5

    asyncio.run(run())


def test_a_transition_in_chunks_takes_so_many_chunks(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 4)
            console = stage.daemon.console
            console.set({"prompt": "a", "transition_unit": "chunks"}, "t", fade=Duration(0.0))
            console.set({"transition": 8}, "t")
            begin = stage.daemon._num_chunks
            console.set({"prompt": "b"}, "t")
            await stage.until(lambda: stage.daemon._sent.blend == ())

            assert 8 <= stage.daemon._num_chunks - begin <= 9

    asyncio.run(run())


def test_pause_holds_the_picture_and_resume_goes_on_in_the_same_session(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 10)
            stage.send_osc("/sdv2/pause", 1)
            await stage.until(lambda: "the model rests" in stage.daemon.snapshot().detail)
            await asyncio.sleep(0.5)
            held = len(stage.fresh)
            await stage.until(lambda: FrameFlags.REPEATED in stage.seen[-1].meta.flags)
            assert len(stage.fresh) == held

            stage.send_osc("/sdv2/pause", 0)
            await stage.until(lambda: len(stage.fresh) >= held + 10)

            status = stage.daemon.snapshot()
            assert status.dropped > 0
            assert status.worker_restarts == 0

    asyncio.run(run())


def test_a_recording_has_the_show_in_it_at_its_speed(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> Path:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 4)
            stage.send_osc("/sdv2/record", 1)
            await stage.until(lambda: stage.daemon.snapshot().recording != "")
            path = Path(stage.daemon.snapshot().recording)
            await asyncio.sleep(2.0)
            stage.send_osc("/sdv2/record", 0)
            await stage.until(path.exists)
            await stage.until(lambda: stage.daemon.snapshot().recording == "")
            assert any(str(path) in notice.text for notice in stage.daemon.console.notices)
            return path

    path = asyncio.run(run())
    with av.open(str(path)) as container:
        frames = [frame for frame in container.decode(video=0)]
    assert len(frames) >= 10
    assert 0.5 < frames[-1].time < 4.0
    assert (frames[0].width, frames[0].height) == (24, 16)


def test_closing_the_host_completes_the_recording(run_dir: Path, stream: str) -> None:
    async def run() -> Path:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 4)
            stage.daemon.console.set({"record": True}, "t")
            await stage.until(lambda: stage.daemon.snapshot().recording != "")
            await asyncio.sleep(1.5)
            return Path(stage.daemon.snapshot().recording)

    path = asyncio.run(run())
    with av.open(str(path)) as container:
        assert len([frame for frame in container.decode(video=0)]) >= 5


def test_a_snapshot_is_the_frame_on_the_output(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 4)
            stage.daemon.console.set({"freeze": True}, "t")
            await stage.until(lambda: FrameFlags.REPEATED in stage.seen[-1].meta.flags)

            stage.send_osc("/sdv2/snapshot")
            await stage.until(lambda: "snapshot" in stage.daemon.console.board)

            path = Path(str(stage.daemon.console.board["snapshot"]))
            assert np.array_equal(np.asarray(Image.open(path)), stage.seen[-1].pixels)

    asyncio.run(run())


def test_a_folder_that_cannot_be_written_ends_the_recording_with_a_reason(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        (run_dir.parent / "takes").write_text("a file")
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 4)
            stage.daemon.console.set({"record": True}, "t")
            await stage.until(lambda: not stage.daemon.params.record)
            texts = [n.text for n in stage.daemon.console.notices if n.level == "error"]
            assert any("cannot write" in text for text in texts)

            stage.send_osc("/sdv2/snapshot")
            await stage.until(
                lambda: any("cannot write" in n.text and ".png" in n.text
                            for n in stage.daemon.console.notices)
            )  # fmt: skip

    asyncio.run(run())


def test_another_size_starts_the_engine_anew_and_the_output_never_stops(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 10)
            pid = stage.daemon.snapshot().worker_pid
            stage.send_osc("/sdv2/output/size", 320, 256)
            await stage.until(lambda: stage.daemon.params.width == 320)
            await stage.until(lambda: stage.daemon.snapshot().worker_pid not in (None, pid))
            count = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) >= count + 10)

            status = stage.daemon.snapshot()
            assert (status.worker_restarts, status.state.value) == (0, "live")
            assert stage.daemon._supervisor._config.size == Size(320, 256)
            assert {n.level for n in stage.daemon.console.notices} <= {"info"}  # it was asked for
            times = [frame.meta.publish_ts_ns for frame in stage.seen]
            gaps_ms = np.diff(times) / NS_PER_MS
            assert gaps_ms.max() < 1500

    asyncio.run(run())


@pytest.mark.parametrize("unit", ["beat"])
def test_on_a_live_host_the_picture_of_a_prompt_lands_on_the_beat(
    run_dir: Path, stream: str, unit: str
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            await stage.until(lambda: len(stage.fresh) >= 60)
            console = stage.daemon.console
            console.set({"bpm": 60, "quantize": unit}, "t")
            await asyncio.sleep(0.05)
            version = stage.daemon.snapshot().params_version
            console.set({"prompt": "on the beat"}, "t")
            await stage.until(lambda: stage.daemon.snapshot().params_version > version)
            newest = stage.daemon.snapshot().params_version
            await stage.until(lambda: stage.fresh[-1].meta.user_tag >= newest)

            first = next(frame for frame in stage.fresh if frame.meta.user_tag >= newest)
            tempo = console.board["tempo"]
            assert isinstance(tempo, dict)
            beats = (first.meta.publish_ts_ns / NS_PER_MS - float(tempo["beat0_ms"] or 0)) / 1000
            # Chunks of this engine last 80 ms; the rest is for a busy machine.
            assert abs(beats - round(beats)) < 0.2

    asyncio.run(run())
