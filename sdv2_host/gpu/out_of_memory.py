"""How torch says that memory ran out, told apart from all its other errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sdv2_host.errors import DeviceMemoryError

_CPU_PHRASES = (
    *("can't allocate memory", "not enough memory", "Cannot allocate memory", "std::bad_alloc"),
)
"""c10/core/impl/alloc_cpu.cpp, on Linux and macOS, on Windows; strerror(ENOMEM); C++ itself."""


def is_out_of_memory(error: BaseException) -> bool:
    """True for device and host memory alike."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(p in str(error) for p in _CPU_PHRASES)


@contextmanager
def naming_memory(
    what: str, device: torch.device, advice: Callable[[], str], when: str = ""
) -> Iterator[None]:
    """Memory that runs out inside is an error that names `what` it was for, and a remedy, which is
    asked for only then. `when`: "while loading", say.

    Raises:
        DeviceMemoryError: it ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        where = f"{device} {when}".rstrip()
        raise DeviceMemoryError(f"{what} ran out of memory on {where}: {advice()}") from error
