"""Named memory and named locks of Windows, as TouchDesigner's Shared Mem TOPs use them.

Both live as long as one process has them open, and both are made by whoever comes first. Nothing
here knows what lies in the memory: see `touch_layout`.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import c_size_t, c_uint16, c_uint32, c_void_p, wintypes
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sdv2_host.errors import ConfigError, RingError


class Grip(Enum):
    """What a try for a lock came to."""

    BUSY = "busy"
    TAKEN = "taken"
    ABANDONED = "abandoned"
    """Taken, from a process that died with it: what it protects may be half written."""


class NamedMemory(Protocol):
    """Memory of this name while it is open here."""

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """All of it, as far as it is really there. Not to be touched after `close`."""

    def close(self) -> None:
        """It is let go of; gone when nobody else has it open."""


class NamedLock(Protocol):
    """A lock of this name while it is open here. Taken and released by one thread."""

    def take(self, timeout_ms: int) -> Grip:
        """Waits so long at most."""

    def release(self) -> None:
        """After a `take` that was not BUSY."""

    def close(self) -> None: ...


class NamedObjects(Protocol):
    """Where names are looked up: Windows, or a test's own."""

    def make_memory(self, name: str, num_bytes: int) -> NamedMemory:
        """New zeroed memory; where the name exists, what is there, of whatever size.

        Raises:
            RingError: no memory, or not allowed.
        """

    def find_memory(self, name: str, is_writable: bool) -> NamedMemory | None:
        """The memory of that name; None = nobody has it open.

        Raises:
            RingError: it is there and cannot be opened.
        """

    def lock(self, name: str) -> NamedLock:
        """The lock of that name, made where there is none.

        Raises:
            RingError: not allowed.
        """


PAGE_READWRITE = 0x04
FILE_MAP_WRITE, FILE_MAP_READ = 0x02, 0x04
WAIT_OBJECT_0, WAIT_ABANDONED, WAIT_TIMEOUT = 0x00, 0x80, 0x102
ERROR_FILE_NOT_FOUND = 2


class MemoryInfo(ctypes.Structure):
    """MEMORY_BASIC_INFORMATION of a 64-bit process; only `region_bytes` is used."""

    _fields_ = (
        ("base", c_void_p),
        ("allocation_base", c_void_p),
        ("allocation_protect", c_uint32),
        ("partition", c_uint16),
        ("region_bytes", c_size_t),
        ("state", c_uint32),
        ("protect", c_uint32),
        ("kind", c_uint32),
    )


PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    # function of kernel32: (result, arguments), as learn.microsoft.com has them
    "CreateFileMappingW": (
        wintypes.HANDLE,
        (
            wintypes.HANDLE,
            c_void_p,
            wintypes.DWORD,
            wintypes.DWORD,
            wintypes.DWORD,
            wintypes.LPCWSTR,
        ),
    ),
    "OpenFileMappingW": (
        wintypes.HANDLE,
        (wintypes.DWORD, wintypes.BOOL, wintypes.LPCWSTR),
    ),
    "MapViewOfFile": (
        c_void_p,
        (wintypes.HANDLE, wintypes.DWORD, wintypes.DWORD, wintypes.DWORD, c_size_t),
    ),
    "UnmapViewOfFile": (wintypes.BOOL, (c_void_p,)),
    "VirtualQuery": (c_size_t, (c_void_p, ctypes.POINTER(MemoryInfo), c_size_t)),
    "CloseHandle": (wintypes.BOOL, (wintypes.HANDLE,)),
    "CreateMutexW": (wintypes.HANDLE, (c_void_p, wintypes.BOOL, wintypes.LPCWSTR)),
    "WaitForSingleObject": (wintypes.DWORD, (wintypes.HANDLE, wintypes.DWORD)),
    "ReleaseMutex": (wintypes.BOOL, (wintypes.HANDLE,)),
}


def windows_objects() -> NamedObjects:
    """The names of this Windows session.

    Raises:
        ConfigError: this is not Windows.
    """
    if sys.platform == "win32":
        return WindowsObjects()
    raise ConfigError(
        "--touch-shm works on Windows only: elsewhere TouchDesigner shares memory with programs of "
        "its own alone; use its component in plugins/touchdesigner instead"
    )


if sys.platform == "win32":

    class WindowsObjects:
        """kernel32. Names are of this session, as those of a TOP with Shared Mem Type 'Local'."""

        def __init__(self) -> None:
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            for name, (result, arguments) in PROTOTYPES.items():
                function = getattr(self._kernel, name)
                function.restype = result
                function.argtypes = arguments

        def make_memory(self, name: str, num_bytes: int) -> NamedMemory:
            page_file = wintypes.HANDLE(-1)
            high, low = num_bytes >> 32, num_bytes & 0xFFFFFFFF
            handle = self._kernel.CreateFileMappingW(
                page_file, None, PAGE_READWRITE, high, low, name
            )
            if not handle:
                raise _failure(f"cannot make shared memory {name} of {num_bytes} bytes")
            return WindowsMemory(self._kernel, name, handle, FILE_MAP_READ | FILE_MAP_WRITE)

        def find_memory(self, name: str, is_writable: bool) -> NamedMemory | None:
            access = FILE_MAP_READ | FILE_MAP_WRITE if is_writable else FILE_MAP_READ
            handle = self._kernel.OpenFileMappingW(access, False, name)
            if not handle:
                if ctypes.get_last_error() == ERROR_FILE_NOT_FOUND:
                    return None
                raise _failure(f"cannot open shared memory {name}")
            return WindowsMemory(self._kernel, name, handle, access)

        def lock(self, name: str) -> NamedLock:
            handle = self._kernel.CreateMutexW(None, False, name)
            if not handle:
                raise _failure(f"cannot open the lock {name}")
            return WindowsLock(self._kernel, name, handle)

    class WindowsMemory:
        """A view of a whole file mapping. Fields, until `close`: handle, address."""

        def __init__(self, kernel: ctypes.WinDLL, name: str, handle: int, access: int) -> None:
            """Takes the handle over, also when it cannot be mapped."""
            self._kernel = kernel
            self._handle = handle
            self._address = kernel.MapViewOfFile(handle, access, 0, 0, 0)
            if not self._address:
                error = _failure(f"cannot map shared memory {name}")
                kernel.CloseHandle(handle)
                raise error
            info = MemoryInfo()
            # Windows does not tell the size of a mapping that another process made.
            kernel.VirtualQuery(self._address, ctypes.byref(info), ctypes.sizeof(info))
            block = (ctypes.c_uint8 * info.region_bytes).from_address(self._address)
            self._bytes = np.frombuffer(block, np.uint8)

        @property
        def bytes(self) -> NDArray[np.uint8]:
            return self._bytes

        def close(self) -> None:
            self._bytes = np.empty(0, np.uint8)
            self._kernel.UnmapViewOfFile(self._address)
            self._kernel.CloseHandle(self._handle)

    class WindowsLock:
        """A mutex. Fields, until `close`: handle."""

        def __init__(self, kernel: ctypes.WinDLL, name: str, handle: int) -> None:
            self._kernel = kernel
            self._name = name
            self._handle = handle

        def take(self, timeout_ms: int) -> Grip:
            result = self._kernel.WaitForSingleObject(self._handle, timeout_ms)
            if result == WAIT_TIMEOUT:
                return Grip.BUSY
            if result == WAIT_ABANDONED:
                return Grip.ABANDONED
            if result != WAIT_OBJECT_0:
                raise _failure(f"cannot wait for the lock {self._name}")
            return Grip.TAKEN

        def release(self) -> None:
            self._kernel.ReleaseMutex(self._handle)

        def close(self) -> None:
            self._kernel.CloseHandle(self._handle)

    def _failure(what: str) -> RingError:
        error = ctypes.WinError(ctypes.get_last_error())
        return RingError(f"{what}: {error.strerror}")
