"""A Shared Mem In TOP and a Shared Mem Out TOP as the documentation has them, for tests.

They share nothing with `touch_layout` but the facts: bytes are written and read at offsets.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from sdv2_host.ipc.touch_objects import Grip, NamedMemory, NamedObjects

Pixels = NDArray[np.uint8]
RECEIVER_MS = 5000
"""TouchDesigner waits so long."""


class OutTop:
    """Writes RGBA8 pictures, the bottom row first; grows under another postfix."""

    def __init__(self, objects: NamedObjects, name: str, has_info: bool = True) -> None:
        self._objects, self._name = objects, f"TouchSHM{name}"
        self.lock = objects.lock(f"{self._name}Mutex")
        self._data: NamedMemory | None = None
        self._postfix = ""
        self._info: NamedMemory | None = None
        if has_info:
            self._info = objects.make_memory(f"TouchSHM{self._name}4jhd783h", 76)
            self._info_lock = objects.lock(f"TouchSHM{self._name}4jhd783hMutex")
            self._put(self._info, 0, struct.pack("<II", 0x56ED34BA, 2))

    @property
    def is_supported(self) -> bool:
        assert self._info is not None
        return bool(self._info.bytes[8])

    def write(self, top_first: Pixels, code: int = 37, version: int = 1) -> None:
        height, width = top_first.shape[:2]
        offset = {1: 48, 2: 56}[version]
        needed = offset + top_first.nbytes
        if self._data is None or len(self._data.bytes) < needed:
            self._grow(needed)
        assert self._data is not None
        assert self.lock.take(RECEIVER_MS) is Grip.TAKEN
        raw = struct.pack("<IIiiff", 0xD95EF835, version, width, height, 1, 1)
        raw += struct.pack("<I4xqi", code, top_first.nbytes, offset)
        self._put(self._data, 0, raw)
        self._put(self._data, offset, np.ascontiguousarray(top_first[::-1]).tobytes())
        self.lock.release()

    def _grow(self, needed: int) -> None:
        if self._data is not None:
            self._data.close()
            if self._info is not None:
                self._postfix = "".join(chr(97 + (needed + i) % 26) for i in range(31))
        self._data = self._objects.make_memory(self._name + self._postfix, needed)
        if self._info is not None:
            assert self._info_lock.take(RECEIVER_MS) is Grip.TAKEN
            self._put(self._info, 10, self._postfix.encode("utf-16-le").ljust(64, b"\0"))
            self._info_lock.release()

    def _put(self, memory: NamedMemory, offset: int, raw: bytes) -> None:
        memory.bytes[offset : offset + len(raw)] = np.frombuffer(raw, np.uint8)

    def damage(self, offset: int, raw: bytes) -> None:
        assert self._data is not None
        self._put(self._data, offset, raw)

    def close(self, tells: bool = True) -> None:
        """Not telling is what a crash is."""
        if self._info is not None:
            if tells:
                self._info.bytes[74] = 1
            self._info.close()
            self._info_lock.close()
        if self._data is not None:
            self._data.close()
        self.lock.close()


class InTop:
    """Reads as a TOP does at each cook; keeps open what it found until it is told to let go."""

    def __init__(self, objects: NamedObjects, name: str, doubled: bool = True) -> None:
        self._objects, self._name = objects, f"TouchSHM{name}"
        prefix = "TouchSHM" if doubled else ""
        self._info_name = f"{prefix}{self._name}4jhd783h"
        self.lock = objects.lock(f"{self._name}Mutex")
        self._info: NamedMemory | None = None
        self._data: NamedMemory | None = None
        self._postfix = ""

    def cook(self) -> Pixels | None:
        """The picture, top row first; None = there is none."""
        if self._info is None:
            self._info = self._objects.find_memory(self._info_name, True)
        if self._info is None:
            return None
        assert struct.unpack_from("<I", self._info.bytes[:76].tobytes())[0] == 0x56ED34BA
        self._info.bytes[8] = 1
        if self._info.bytes[74]:
            self.close()
            return None
        postfix = self._info.bytes[10:74].tobytes().decode("utf-16-le").rstrip("\0")
        if self._data is not None and postfix != self._postfix:
            self._data.close()
            self._data = None
        self._postfix = postfix
        self._data = self._data or self._objects.find_memory(self._name + postfix, True)
        if self._data is None:
            return None
        assert self.lock.take(RECEIVER_MS) is Grip.TAKEN
        raw = self._data.bytes.tobytes()
        self.lock.release()
        magic, version, width, height, _, _, code = struct.unpack_from("<IIiiffI", raw)
        size, offset = struct.unpack_from("<qi", raw, 32)
        assert (magic, version, code, size) == (0xD95EF835, 1, 37, width * height * 4)
        rows = np.frombuffer(raw, np.uint8, size, offset).reshape(height, width, 4)
        return rows[::-1]

    def close(self) -> None:
        for memory in (self._info, self._data):
            if memory is not None:
                memory.close()
        self._info = self._data = None
