"""Segments with a page behind them that may not be touched: who reads past the end dies of it.

numpy and memoryview check bounds by themselves, but against the length of the mapping. Here the
mapping is one page longer than the reader asked for and that page has no rights, so that a read up
to a page too far is a SIGSEGV, and one that goes further still is an exception of Python.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.ipc.shm import FileSegmentStore

GUARD_BYTES = mmap.PAGESIZE
_PROT_NONE = 0

if sys.platform != "win32":
    _mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    _mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def protect_end(mapping: mmap.mmap, num_bytes: int) -> None:
    """What lies behind the first `num_bytes` of the mapping cannot be read any more.

    `num_bytes` that do not end with a page: from the next page on.
    """
    if sys.platform != "win32":
        start = -(-num_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        address = np.frombuffer(mapping, np.uint8).ctypes.data
        if _mprotect(address + start, len(mapping) - start, _PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect of a guard page")


class GuardedStore(FileSegmentStore):
    """Segments of a folder, read through the real `attach`, each with a guard page.

    Their files are GUARD_BYTES longer than the segments, so that "too short" means the same.
    """

    def attach(self, name: str, num_bytes: int) -> mmap.mmap:
        mapping = super().attach(name, num_bytes + GUARD_BYTES)
        protect_end(mapping, num_bytes)
        return mapping


class SegmentFile:
    """A file of a segment as its writer has it: `map` is writable, `num_bytes` are the segment's.

    The file is there until `close`, 0600.
    """

    def __init__(self, path: Path, num_bytes: int) -> None:
        self.path = path
        self.num_bytes = num_bytes
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(fd, num_bytes + GUARD_BYTES)
            self.map = mmap.mmap(fd, num_bytes + GUARD_BYTES)
        finally:
            os.close(fd)

    def close(self) -> None:
        self.map.close()
        self.path.unlink()


class GuardedBytes:
    """Memory of this process, writable up to its end and guarded behind it."""

    def __init__(self, num_bytes: int) -> None:
        """`num_bytes` is a multiple of a page, as mappings of Windows are."""
        mapping = mmap.mmap(-1, num_bytes + GUARD_BYTES)
        protect_end(mapping, num_bytes)
        self.bytes: NDArray[Any] = np.frombuffer(mapping, np.uint8, num_bytes)
