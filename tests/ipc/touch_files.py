"""Named memory and locks as Windows has them, in files of a folder: for tests on other systems.

A name lives as long as somebody has it open, which is told by shared file locks that a dead
process loses; then its file is removed. Between processes as within one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdv2_host.ipc.touch_objects import Grip

PAGE_BYTES = 4096


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class FileMemory:
    def __init__(self, path: Path, fd: int, is_writable: bool) -> None:
        self._path, self._fd = path, fd
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0)
        self._map = mmap.mmap(fd, os.fstat(fd).st_size, prot=protection)
        self._bytes = np.frombuffer(self._map, np.uint8)

    @property
    def bytes(self) -> NDArray[np.uint8]:
        return self._bytes

    def close(self) -> None:
        self._bytes = np.empty(0, np.uint8)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        if _try_lock(self._fd, fcntl.LOCK_EX):  # nobody else has it open
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


class FileLock:
    """Its file holds a byte while the lock is taken, which a dead process leaves."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self, timeout_ms: int) -> Grip:
        end = time.monotonic() + timeout_ms / 1000
        while not _try_lock(self._fd, fcntl.LOCK_EX):
            if time.monotonic() >= end:
                return Grip.BUSY
            time.sleep(0.0005)
        was_left = os.pread(self._fd, 1, 0) == b"x"
        os.pwrite(self._fd, b"x", 0)
        return Grip.ABANDONED if was_left else Grip.TAKEN

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def drop(self) -> None:
        """As the system does when the process that has it dies."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._fd)


class FileObjects:
    """Names are files of this folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make_memory(self, name: str, num_bytes: int) -> FileMemory:
        found = self.find_memory(name, True)
        if found is not None:
            return found
        path = self._folder / name
        # Locked before it has its name: a file without a lock is what the dead left.
        unnamed = path.with_name(f"{name}.{os.getpid()}.Mutex")
        fd = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, -(-num_bytes // PAGE_BYTES) * PAGE_BYTES)
        fcntl.flock(fd, fcntl.LOCK_SH)
        unnamed.rename(path)
        return FileMemory(path, fd, True)

    def find_memory(self, name: str, is_writable: bool) -> FileMemory | None:
        path = self._folder / name
        try:
            fd = os.open(path, os.O_RDWR if is_writable else os.O_RDONLY)
        except FileNotFoundError:
            return None
        if _try_lock(fd, fcntl.LOCK_EX):  # the dead left it
            path.unlink()
            os.close(fd)
            return None
        fcntl.flock(fd, fcntl.LOCK_SH)
        return FileMemory(path, fd, is_writable)

    def lock(self, name: str) -> FileLock:
        return FileLock(self._folder / name)

    def names(self) -> set[str]:
        """Of the memory that is there."""
        return {path.name for path in self._folder.iterdir() if "Mutex" not in path.name}
