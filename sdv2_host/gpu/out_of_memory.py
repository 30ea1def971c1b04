"""How torch says that memory ran out, told apart from all its other errors."""

from __future__ import annotations

import torch

_CPU_PHRASES = (
    *("can't allocate memory", "not enough memory", "Cannot allocate memory", "std::bad_alloc"),
)
"""c10/core/impl/alloc_cpu.cpp, on Linux and macOS, on Windows; strerror(ENOMEM); C++ itself."""


def is_out_of_memory(error: BaseException) -> bool:
    """True for device and host memory alike."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(p in str(error) for p in _CPU_PHRASES)
