"""The output goes on where shared memory has no room for larger pictures."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.errors import RingError
from sdv2_host.host.output_ring import OutputRing
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.ring_layout import plan_geometry
from sdv2_host.ipc.shm import SegmentStore
from sdv2_host.types import FrameMeta, Size

SMALL, LARGE, LARGER = Size(64, 32), Size(256, 128), Size(512, 256)


class SmallMemory(SegmentStore):
    """Has room for rings of so many bytes."""

    most_bytes = plan_geometry(4, LARGE.width * LARGE.height * 4).segment_bytes

    def create(self, name: str, num_bytes: int) -> mmap.mmap:
        if num_bytes > self.most_bytes:
            raise RingError("shared memory is full")
        return super().create(name, num_bytes)


class Output:
    """An output ring, its reader, and what was told."""

    def __init__(self, stream: str, run_dir: Path) -> None:
        writer = FrameWriter(stream, run_dir=run_dir, capacity_bytes=1024, segments=SmallMemory())
        self.problems: list[str] = []
        self.ring = OutputRing(writer, self.problems.append)
        self.reader = FrameReader(stream, run_dir=run_dir)

    def show(self, size: Size, level: int) -> tuple[Size, int]:
        """What a reader sees of it."""
        pixels = np.full((size.height, size.width, 4), level, np.uint8)
        self.ring.publish(pixels, FrameMeta(size.width, size.height))
        frame = self.reader.read_newest()
        assert frame is not None
        return Size(frame.meta.width, frame.meta.height), int(frame.pixels[0, 0, 0])


@pytest.fixture
def output(run_dir: Path, stream: str) -> Iterator[Output]:
    output = Output(stream, run_dir)
    yield output
    output.reader.close()
    output.ring.close()


def test_what_has_no_room_is_shown_as_large_as_before_and_told_once(output: Output) -> None:
    shown = [output.show(SMALL, 1), output.show(LARGER, 2), output.show(LARGER, 3)]

    assert shown == [(SMALL, 1), (SMALL, 2), (SMALL, 3)]
    [problem] = output.problems
    assert problem.startswith("pictures of 512x256 are shown at 64x32: ")
    assert "shared memory is full" in problem


def test_what_has_room_is_shown_as_it_is_and_resolves_the_problem(output: Output) -> None:
    shown = [output.show(SMALL, 1), output.show(LARGER, 2), output.show(LARGE, 3)]

    assert shown == [(SMALL, 1), (SMALL, 2), (LARGE, 3)]
    assert output.problems[1:] == [""]


def test_without_a_picture_before_it_is_an_error(output: Output) -> None:
    with pytest.raises(RingError, match="shared memory is full"):
        output.show(LARGER, 1)

    assert output.problems == []
