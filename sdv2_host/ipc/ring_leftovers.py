"""Who may write a stream, and what a writer that died left behind."""

from __future__ import annotations

import time
from pathlib import Path

from sdv2_host.errors import AlreadyRunningError, RingError
from sdv2_host.ipc.ring_descriptor import (
    MAX_DESCRIPTOR_BYTES,
    descriptor_path,
    is_segment_name,
    lock_path,
    parse_descriptor,
    pending_path,
)
from sdv2_host.ipc.run_dir import (
    WriterLock,
    read_private_file,
    remove_file,
)
from sdv2_host.ipc.shm import (
    SegmentStore,
)

_START_ATTEMPTS = 10
_LOCK_RETRY_S = 0.01


def try_lock_stream(stream: str, run_dir: Path, attempts: int = 3) -> WriterLock | None:
    """The writer lock of the stream, held; None when a living writer has it.

    Raises:
        RingError: the lock file cannot be made.
    """
    lock = WriterLock(lock_path(run_dir, stream))
    for _ in range(attempts):  # a reader that looks whether we live holds it for a moment
        if lock.acquire():
            return lock
        time.sleep(_LOCK_RETRY_S)
    return None


def lock_stream(stream: str, run_dir: Path) -> WriterLock:
    """The writer lock of the stream, held.

    Raises:
        AlreadyRunningError: naming the stream and the process that has it.
    """
    lock = try_lock_stream(stream, run_dir, _START_ATTEMPTS)
    if lock is not None:
        return lock
    try:
        raw = read_private_file(descriptor_path(run_dir, stream), MAX_DESCRIPTOR_BYTES)
        owner = f"process {parse_descriptor(raw, stream).pid}"
    except (OSError, RingError):
        owner = "another process"
    raise AlreadyRunningError(
        f"stream {stream} is already written by {owner}; stop that one or choose another name"
    )


def clear_leftovers(stream: str, run_dir: Path, segments: SegmentStore) -> int:
    """What a dead writer of this stream left is gone; returns its last generation, 0 = none.

    The caller holds the writer lock.
    """
    generation = 0
    names: list[str] = []
    try:
        raw = read_private_file(descriptor_path(run_dir, stream), MAX_DESCRIPTOR_BYTES)
        descriptor = parse_descriptor(raw, stream)
        names.append(descriptor.segment)
        generation = descriptor.generation
    except (OSError, RingError):
        pass  # absent, or not written by us: nothing in it to trust
    try:
        raw = read_private_file(pending_path(run_dir, stream), MAX_DESCRIPTOR_BYTES)
        names += raw.decode("ascii", errors="replace").split()
    except (OSError, RingError):
        pass
    for name in filter(is_segment_name, names):
        segments.unlink(name)
    for path in (descriptor_path(run_dir, stream), pending_path(run_dir, stream)):
        remove_file(path)
        remove_file(path.with_name(f"{path.name}.tmp"))
    return generation
