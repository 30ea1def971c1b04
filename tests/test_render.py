"""Rendering a file: every frame, its time and its sound."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.bench.paper_score import Judges
from sdv2_host.bench.video import VideoPair, run
from sdv2_host.commands.render import render
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.params import Params
from sdv2_host.sinks.video_file import VideoFileSink
from sdv2_host.sources.pattern import TestPattern
from sdv2_host.types import Size
from tests.sources.clips import add_sound, write_clip

CONFIG = Config(engine="passthrough")


def read(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def audio_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("num_frames", [1, 2, 5, 6, 9, 10])
def test_as_many_frames_come_out_as_went_in(tmp_path: Path, num_frames: int) -> None:
    clip = write_clip(tmp_path / "clip.mp4", num_frames)

    count = render(clip, tmp_path / "out.mp4", CONFIG, Params())

    assert count == num_frames
    shown = [int(frame[-1, -1].mean()) for frame in read(tmp_path / "out.mp4")]
    assert shown == pytest.approx([8 * n + 8 for n in range(num_frames)], abs=2)


def test_frames_keep_their_time(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 6, fps=12)

    render(clip, tmp_path / "out.mp4", CONFIG, Params())

    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([n / 12 for n in range(6)], abs=1e-3)


def test_frames_of_a_recording_that_came_in_bursts_keep_their_time(tmp_path: Path) -> None:
    numbers = [0, 1, 2, 3, 4, 5, 30, 31, 32, 90, 91, 92]
    with VideoFileSink(tmp_path / "recording.mp4", 30) as sink:
        for number in numbers:
            sink.write(np.full((64, 64, 4), 2 * number, np.uint8), number)

    render(tmp_path / "recording.mp4", tmp_path / "out.mp4", CONFIG, Params())

    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([number / 30 for number in numbers], abs=1e-3)
    pair = VideoPair(tmp_path / "recording.mp4", tmp_path / "out.mp4")
    assert run(pair, Judges(), lambda *_: None)["frames"] == len(numbers)


def test_sound_that_mp4_can_hold_is_copied_bit_for_bit(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 15)
    spoken = add_sound(tmp_path / "spoken.mp4", clip, "aac")

    render(spoken, tmp_path / "out.mp4", CONFIG, Params())

    assert audio_packets(tmp_path / "out.mp4") == audio_packets(spoken)
    assert len(read(tmp_path / "out.mp4")) == 15


def test_sound_that_mp4_cannot_hold_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 15)
    spoken = add_sound(tmp_path / "spoken.avi", clip, "adpcm_ms")

    render(spoken, tmp_path / "out.mp4", CONFIG, Params())

    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
    assert "the sound is left out" in capsys.readouterr().err


def test_colours_survive_the_way_through_the_file(tmp_path: Path) -> None:
    pattern = TestPattern(Size(128, 96))
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264rgb", rate=30, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "rgb24"
        for n in range(5):
            picture = av.VideoFrame.from_ndarray(pattern.draw(n)[..., :3].copy(), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))

    render(clip, tmp_path / "out.mp4", CONFIG, Params())

    difference = np.stack(read(tmp_path / "out.mp4")).astype(int) - np.stack(read(clip))
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 1.5  # no cast
    assert np.abs(difference).mean() < 4


def test_a_target_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot write"):
        render(clip, tmp_path / "file" / "out.mp4", CONFIG, Params())
