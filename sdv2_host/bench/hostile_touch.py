"""Hostile shared memory of TouchDesigner's own, given to TouchReceiver."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.guarded_memory import GuardedBytes
from sdv2_host.bench.hostile_dice import ACCEPTED, Dice, boundaries, insist
from sdv2_host.ipc.touch_layout import (
    FORMATS,
    INFO_BYTES,
    MAX_HEADER_BYTES,
    TouchHeader,
    TouchInfo,
    data_name,
    info_names,
    pack_header,
    pack_info,
)
from sdv2_host.ipc.touch_objects import Grip, NamedLock, NamedMemory
from sdv2_host.ipc.touch_receiver import Look, TouchReceiver

NAME = "fuzz"
_ROOMS = (4096, 8192)
_FIELDS = {
    # name: (offset, bytes), written down once more
    "magic": (0, 4), "version": (4, 4), "width": (8, 4), "height": (12, 4), "aspect_x": (16, 4),
    "aspect_y": (20, 4), "pixel_format": (24, 4), "data_bytes": (32, 8), "data_offset": (40, 4),
}  # fmt: skip
_SHAPE = ("width", "height", "pixel_format", "data_bytes", "data_offset")
_VALUES = {
    name: (*boundaries(size, *_ROOMS, 48, 56), *(FORMATS if name == "pixel_format" else ()))
    for name, (_, size) in _FIELDS.items()
}
_CODES = {4: "<I", 8: "<Q"}
_REFUSALS = (
    "which is no picture", "which is no info", "header version", "size", "aspect", "pixel format",
    "postfix", "2021", "too few", "do not lie", "bytes of pixels",
)  # fmt: skip
_POSTFIXES = ("", "", "", "a", "b", "..\\x", "Global\\x", "é", "\ud800", "x" * 31, "x" * 32)


class HostileMemory:
    """Named memory in guarded memory of this process."""

    def __init__(self, num_bytes: int) -> None:
        self._guarded = GuardedBytes(num_bytes)

    @property
    def bytes(self) -> NDArray[np.uint8]:
        return self._guarded.bytes

    def close(self) -> None:
        """The cases use it again."""


class HostileLock:
    """A lock that its owner may hold for ever or die with."""

    def __init__(self, objects: HostileObjects) -> None:
        self._objects = objects

    def take(self, timeout_ms: int) -> Grip:
        return self._objects.grip

    def release(self) -> None: ...

    def close(self) -> None: ...


class HostileObjects:
    """What names lead to. Fields, per case: which memories exist, what a try for a lock gives."""

    def __init__(self) -> None:
        self.memories: dict[str, HostileMemory] = {}
        self.grip = Grip.TAKEN

    def make_memory(self, name: str, num_bytes: int) -> NamedMemory:
        raise AssertionError("a receiver makes no memory")

    def find_memory(self, name: str, is_writable: bool) -> NamedMemory | None:
        insist_name(name)
        return self.memories.get(name)

    def lock(self, name: str) -> NamedLock:
        return HostileLock(self)


def insist_name(name: str) -> None:
    """Only plain letters reach Windows, which reads a backslash as another namespace."""
    insist(name.isascii() and name.replace("_", "").replace("-", "").isalnum(), f"name {name!r}")


class TouchCases:
    """Data and info mappings that lie. Fields, for all cases: receiver, memories by size."""

    def __init__(self, folder: Path) -> None:
        """`folder` is not used: the memory is this process's."""
        self._objects = HostileObjects()
        self._receiver = TouchReceiver(self._objects, NAME)
        self._rooms = [HostileMemory(size) for size in _ROOMS]
        for room in self._rooms:
            room.bytes[:] = np.arange(len(room.bytes)) % 251
        self._info = HostileMemory(4096)

    def attempt(self, dice: Dice) -> str:
        data = dice.pick(self._rooms)
        raw = self._header(dice, len(data.bytes))
        data.bytes[: len(raw)] = np.frombuffer(bytes(raw), np.uint8)
        postfix = self._leave_info(dice) if dice.is_one_in(2) else None
        names = {data_name(NAME, postfix or ""): data} if dice.below(16) else {}
        if postfix is not None:
            names[dice.pick(info_names(NAME))] = self._info
        self._objects.memories = names
        self._objects.grip = Grip.TAKEN if dice.below(16) else dice.pick(tuple(Grip))
        self._receiver.let_go()
        look = self._receiver.look()
        if look in (Look.NEW, Look.SAME):
            self._judge(data.bytes)
            return ACCEPTED
        return look.value if look is not Look.REFUSED else _reason(self._receiver.refusal)

    def _header(self, dice: Dice, room: int) -> bytearray:
        code = dice.pick(tuple(FORMATS))
        width = 1 + dice.below(16)
        height = 1 + dice.below((room - 64) // (width * FORMATS[code].bytes_per_pixel))
        sound = TouchHeader(width, height, code, 1 + dice.below(2), 48 + 8 * dice.below(2))
        raw = bytearray(pack_header(sound).ljust(MAX_HEADER_BYTES, b"\0"))
        for _ in range(dice.pick((0, 0, 1, 1, 2))):
            name = dice.pick(_SHAPE) if dice.below(4) else dice.pick(tuple(_FIELDS))
            offset, size = _FIELDS[name]
            near = struct.unpack_from(_CODES[size], raw, offset)[0] + dice.pick((-1, 1))
            value = near if dice.is_one_in(4) else dice.pick(_VALUES[name])
            struct.pack_into(_CODES[size], raw, offset, value % (1 << 8 * size))
        return raw

    def _leave_info(self, dice: Dice) -> str:
        """Info with this postfix, or with one that can be none."""
        postfix = dice.pick(_POSTFIXES)
        raw = bytearray(pack_info(TouchInfo()))
        encoded = postfix.encode("utf-16-le", "surrogatepass")[:64]
        raw[10 : 10 + len(encoded)] = encoded
        if dice.is_one_in(8):
            raw[dice.below(INFO_BYTES)] = dice.below(256)
        self._info.bytes[:INFO_BYTES] = np.frombuffer(bytes(raw), np.uint8)
        return postfix

    def _judge(self, memory: NDArray[np.uint8]) -> None:
        """The picture is the bytes at the offset that the header says, all of them there."""
        raw = memory[:MAX_HEADER_BYTES].tobytes()
        says = {
            name: int.from_bytes(raw[offset : offset + size], "little")
            for name, (offset, size) in _FIELDS.items()
        }
        pixel = FORMATS[says["pixel_format"]]
        wanted = says["width"] * says["height"] * pixel.bytes_per_pixel
        start = says["data_offset"]
        insist(start >= 48, f"pixels in the header were accepted: {says}")
        insist(says["data_bytes"] == wanted, f"a size that lies was accepted: {says}")
        insist(start + wanted <= len(memory), f"pixels past the end were accepted: {says}")
        picture = self._receiver.picture
        if picture is None:
            raise AssertionError("a receiver that says NEW has a picture")
        shape = (says["height"], says["width"], pixel.channels)
        insist(picture.pixels.shape == shape, f"shape {picture.pixels.shape}, {says}")
        got: Any = np.ascontiguousarray(picture.pixels).tobytes()
        insist(got == memory[start : start + wanted].tobytes(), f"other pixels: {says}")

    def close(self) -> None:
        self._receiver.close()


def _reason(message: str) -> str:
    """Which check it was, without the numbers of this case."""
    for what in _REFUSALS:
        if what in message:
            return what
    return message
