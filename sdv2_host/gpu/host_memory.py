"""Memory of the host that a stream uses over and over stays with the process.

A chunk of the embedded model takes and gives back some 20 MB of intermediate pictures. glibc hands
such blocks back to the system at once, which then clears each of their pages anew for the next
call: at 256x256 5000 page faults a chunk, 12 of 165 ms (1 thread, Linux).
"""

from __future__ import annotations

import ctypes
import platform
import sys

# glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT_BYTES = 512 << 20
"""Of freed memory, at most."""
LARGEST_BYTES = 32 << 20
"""Of a block that is kept: more glibc does not allow."""


def keep_freed_memory() -> bool:
    """For the whole process and its life. False: not with this system's allocator, which is left
    as it is: macOS' and Windows' keep such blocks by themselves or have no such setting."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((M_TRIM_THRESHOLD, KEPT_BYTES), (M_MMAP_THRESHOLD, LARGEST_BYTES))
    return all([libc.mallopt(setting, value) == 1 for setting, value in settings])
