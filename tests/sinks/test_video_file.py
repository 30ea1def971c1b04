"""The video sink: frames can be read back, equal frames give equal files, faults are one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.errors import HostError
from sdv2_host.sinks.video_file import VideoFileSink
from sdv2_host.sources.pattern import TestPattern
from sdv2_host.types import Size


def pictures(count: int, size: tuple[int, int] = (96, 64)) -> list[NDArray[np.uint8]]:
    pattern = TestPattern(Size(*size))
    return [pattern.draw(index) for index in range(count)]


def write(path: Path, frames: list[NDArray[np.uint8]], fps: float = 25.0) -> None:
    with VideoFileSink(path, fps) as sink:
        for number, frame in enumerate(frames):
            sink.write(frame, number)


def test_written_frames_are_read_back_in_number_order_and_colour(tmp_path: Path) -> None:
    frames = pictures(12)

    write(tmp_path / "out.mp4", frames)

    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        read = [frame.to_ndarray(format="rgba") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate or 0) == 25.0
    assert len(read) == 12
    error = np.abs(np.stack(read).astype(int) - np.stack(frames).astype(int))
    assert error.mean() < 4


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", pictures(6))
    write(tmp_path / "b.mp4", pictures(6))

    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_sides_lose_one_pixel(tmp_path: Path) -> None:
    write(tmp_path / "odd.mp4", pictures(3, (97, 65)))

    with av.open(str(tmp_path / "odd.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (96, 64)


def test_missing_numbers_become_longer_frames(tmp_path: Path) -> None:
    with VideoFileSink(tmp_path / "gap.mp4", 10.0) as sink:
        for number, frame in zip((0, 1, 5, 6), pictures(4), strict=True):
            sink.write(frame, number)

    with av.open(str(tmp_path / "gap.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([0.0, 0.1, 0.5, 0.6])


def test_a_sink_without_frames_leaves_no_file(tmp_path: Path) -> None:
    write(tmp_path / "none.mp4", [])

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(HostError, match=r"cannot write .*out\.mp4 .*"):
        VideoFileSink(tmp_path / "file" / "out.mp4", 30.0)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from sdv2_host.errors import HostError
from sdv2_host.sinks.video_file import VideoFileSink
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    with VideoFileSink(Path(sys.argv[1]), 30.0) as sink:
        noise = np.random.default_rng(0)
        for number in range(200):
            sink.write(noise.integers(0, 256, (128, 128, 4), dtype=np.uint8), number)
except HostError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE to stand for a full disk")
def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "out.mp4")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.startswith("cannot write")
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
