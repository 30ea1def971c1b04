"""Frame rings: video frames between processes through shared memory, the newest frame wins.

    writer = FrameWriter("sdv2-in")                      reader = FrameReader("sdv2-in")
    writer.publish(pixels, FrameMeta(640, 480))          frame = reader.read_newest()

One writer never waits, any number of readers are unknown to it. A slot carries a sequence word that
tells a reader whether its copy is whole. `ring_layout` has the bytes, `plugins/include/sdv2_ring.h`
the same for C and C++.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from sdv2_host.errors import RingError
from sdv2_host.ipc.ring_descriptor import check_stream, descriptor_path, pending_path
from sdv2_host.ipc.ring_leftovers import clear_leftovers, try_lock_stream
from sdv2_host.ipc.ring_reader import FrameReader, RingStatus
from sdv2_host.ipc.ring_writer import FrameWriter
from sdv2_host.ipc.run_dir import check_run_dir, default_run_dir, run_dirs
from sdv2_host.ipc.shm import segment_store

__all__ = [
    "FrameReader",
    "FrameWriter",
    "RingStatus",
    "default_run_dir",
    "list_streams",
    "remove_all_stale",
    "remove_stale",
]


def list_streams(run_dir: Path | None = None) -> list[str]:
    """Names of the streams that have a descriptor, sorted: live ones and what dead ones left."""
    names = set()
    for directory in (run_dir,) if run_dir is not None else run_dirs():
        for path in directory.glob("*.json"):
            with contextlib.suppress(RingError):
                names.add(check_stream(path.stem))
    return sorted(names)


def remove_all_stale(run_dir: Path | None = None) -> list[str]:
    """What dead writers of any stream left is gone, memory too; names of those streams, sorted.

    Dead is whose lock the system has freed: a stream of a living writer is not touched. A directory
    that is not ours is left as it is, and so is a stream that somebody looks at in this moment.
    """
    removed = set()
    for directory in (run_dir,) if run_dir is not None else run_dirs():
        named = {path.stem for path in (*directory.glob("*.json"), *directory.glob("*.pending"))}
        for name in named:
            with contextlib.suppress(RingError, OSError):  # OSError: we may not even look
                if remove_stale(name, directory):
                    removed.add(name)
    return sorted(removed)


def remove_stale(stream: str, run_dir: Path | None = None) -> bool:
    """What a dead writer of this stream left is gone; False when it lives or left nothing.

    Raises:
        RingError: the name cannot be a stream's, or the run directory is not ours.
    """
    directory = run_dir if run_dir is not None else default_run_dir()
    check_stream(stream)
    left = (descriptor_path(directory, stream), pending_path(directory, stream))
    if not any(path.exists() for path in left):
        return False
    check_run_dir(directory)
    lock = try_lock_stream(stream, directory)
    if lock is None:
        return False
    clear_leftovers(stream, directory, segment_store(directory))
    lock.release()
    return True
