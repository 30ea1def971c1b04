"""The C library's heap, made to give back what is free.

Pictures, pages and presets that come and go leave holes between small things that stay. glibc keeps
the holes, and in hours they add up to what looks like a leak. To have each picture mapped by itself
(mallopt(3), M_MMAP_THRESHOLD) would leave none, but costs 4 ms for each mixed picture of 512x512.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable

TRIM_S = 60.0


def keep_heap_small() -> None:
    """For the rest of this process, once a minute and from a thread of its own. Other C libraries
    than glibc (of Windows, macOS, musl) give back by themselves, or cannot be told."""
    trim = _trim_of_glibc()
    if trim is not None:
        threading.Thread(target=_keep, args=(trim,), name="heap", daemon=True).start()


def _keep(trim: Callable[[], object]) -> None:
    while True:
        time.sleep(TRIM_S)
        trim()


def _trim_of_glibc() -> Callable[[], object] | None:
    """Gives back all pages of the heap that are free, malloc_trim(3); None = there is no such."""
    if not sys.platform.startswith("linux"):
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return None
    trim.argtypes = [ctypes.c_size_t]
    return lambda: trim(0)
