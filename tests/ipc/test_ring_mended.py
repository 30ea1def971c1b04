"""A ring whose files were deleted or overwritten under a writer that goes on."""

from __future__ import annotations

import mmap
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.errors import AlreadyRunningError
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.ring_descriptor import descriptor_path, lock_path
from sdv2_host.types import FrameMeta
from tests.host.live_host import left_segments, linux_only, segment_of
from tests.ipc import ring_process

STREAM = "mended"
SHM = Path("/dev/shm")
PIXELS = np.full((4, 4, 4), 7, np.uint8)


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def newcomer_reads(run_dir: Path) -> bool:
    with FrameReader(STREAM, run_dir=run_dir) as reader:
        return reader.read_newest() is not None


def publish(writer: FrameWriter) -> int:
    return writer.publish(PIXELS, FrameMeta(4, 4))


def delete_segment(run_dir: Path) -> None:
    (SHM / segment_of(descriptor_path(run_dir, STREAM))).unlink()


def delete_descriptor(run_dir: Path) -> None:
    descriptor_path(run_dir, STREAM).unlink()


def delete_directory(run_dir: Path) -> None:
    shutil.rmtree(run_dir)


def overwrite_header(run_dir: Path) -> None:
    path = SHM / segment_of(descriptor_path(run_dir, STREAM))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as head:
        head[0:512] = os.urandom(512)


DEEDS = [delete_segment, delete_descriptor, delete_directory, overwrite_header]


@linux_only
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_a_reader_that_comes_later_finds_the_stream_all_the_same(
    run_dir: Path, deed: Callable[[Path], None]
) -> None:
    with FrameWriter(STREAM, run_dir=run_dir) as writer:
        publish(writer)
        old = segment_of(descriptor_path(run_dir, STREAM))
        deed(run_dir)

        until(lambda: publish(writer) > 0 and newcomer_reads(run_dir))

    assert left_segments({old}) == []
    assert list(run_dir.iterdir()) == []


@linux_only
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_a_reader_that_was_there_reads_on_with_numbers_that_go_on(
    run_dir: Path, deed: Callable[[Path], None]
) -> None:
    with (
        FrameWriter(STREAM, run_dir=run_dir) as writer,
        FrameReader(STREAM, run_dir=run_dir) as reader,
    ):
        publish(writer)
        first = reader.read_next()
        deed(run_dir)
        until(lambda: publish(writer) > 0 and writer.generation == 2)
        seen = [first.meta.frame] if first is not None else []

        def reads_newest() -> bool:
            newest = publish(writer)
            while (frame := reader.read_next()) is not None:
                seen.append(frame.meta.frame)
            return seen[-1] == newest

        until(reads_newest)

        assert seen == sorted(set(seen))


@linux_only
def test_a_writer_that_only_beats_mends_its_ring_too(run_dir: Path) -> None:
    with FrameWriter(STREAM, run_dir=run_dir) as writer:
        publish(writer)
        delete_descriptor(run_dir)

        def beats() -> bool:
            writer.heartbeat()
            return descriptor_path(run_dir, STREAM).exists()

        until(beats)

        assert writer.generation == 2


@linux_only
def test_a_ring_that_is_as_it_was_made_stays(run_dir: Path) -> None:
    with FrameWriter(STREAM, run_dir=run_dir) as writer:
        end_s = time.monotonic() + 0.7
        until(lambda: publish(writer) > 0 and time.monotonic() > end_s)

        assert writer.generation == 1


@linux_only
def test_a_deleted_lock_is_made_again_and_refuses_a_second_writer(run_dir: Path) -> None:
    with FrameWriter(STREAM, run_dir=run_dir) as writer:
        lock_path(run_dir, STREAM).unlink()

        until(lambda: publish(writer) > 0 and lock_path(run_dir, STREAM).exists())

        with pytest.raises(AlreadyRunningError):
            FrameWriter(STREAM, run_dir=run_dir)


@linux_only
def test_a_name_that_another_writer_took_meanwhile_stays_with_that_one(run_dir: Path) -> None:
    with FrameWriter(STREAM, run_dir=run_dir) as writer:
        lock_path(run_dir, STREAM).unlink()
        with FrameWriter(STREAM, run_dir=run_dir) as second:
            theirs = descriptor_path(run_dir, STREAM).read_bytes()
            end_s = time.monotonic() + 0.7
            until(lambda: publish(writer) > 0 and publish(second) > 0 < time.monotonic() - end_s)
            writer.close()

            assert descriptor_path(run_dir, STREAM).read_bytes() == theirs
            with pytest.raises(AlreadyRunningError):
                FrameWriter(STREAM, run_dir=run_dir)


@linux_only
def test_what_a_killed_writer_left_that_had_the_name_meanwhile_is_cleared(run_dir: Path) -> None:
    with FrameWriter(STREAM, run_dir=run_dir) as writer:
        lock_path(run_dir, STREAM).unlink()
        other = ring_process.start("hold", run_dir, SHM, STREAM, 1)
        theirs = segment_of(descriptor_path(run_dir, STREAM))
        other.kill()
        other.communicate()

        until(lambda: publish(writer) > 0 and writer.generation > 1)
        publish(writer)

        assert newcomer_reads(run_dir)
        assert left_segments({theirs}) == []
        assert writer.generation == 3  # the other's was the second
