"""TouchReceiver: pictures of a Shared Mem Out TOP of TouchDesigner."""

from __future__ import annotations

from enum import Enum
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.errors import RingError
from sdv2_host.ipc.touch_layout import (
    FORMATS,
    INFO_BYTES,
    MAX_HEADER_BYTES,
    SUPPORTED_OFFSET,
    TouchHeader,
    TouchInfo,
    data_name,
    info_names,
    lock_name,
    parse_header,
    parse_info,
)
from sdv2_host.ipc.touch_objects import Grip, NamedLock, NamedMemory, NamedObjects

LOCK_MS = 3
BLOCK_WORDS = 32 * 1024
"""Pictures are compared block by block: most that differ do so in the first."""


class Look(Enum):
    """What one look came to."""

    ABSENT = "absent"
    """No TOP writes under this name."""
    BUSY = "busy"
    """TouchDesigner is writing, or has not written yet."""
    REFUSED = "refused"
    """`TouchReceiver.refusal` says why."""
    SAME = "same"
    """The picture of the last look."""
    NEW = "new"


class TouchPicture(NamedTuple):
    """Pixels [H, W, C] of the format's dtype, the bottom row first; memory of the receiver."""

    header: TouchHeader
    pixels: NDArray[Any]


class TouchReceiver:
    """Looks at what a TOP writes under a Shared Mem Name. Used by one thread.

    There is no frame number in that memory. So each look takes a copy, which holds TouchDesigner's
    lock for as long as the copy takes, and then compares it with the last one, every byte of it:
    no change is missed that is there when somebody looks.

    Fields, while a TOP is there: info, data and lock. For ever: two copies, the last and the next.
    """

    def __init__(self, objects: NamedObjects, name: str) -> None:
        """Ready at once, whether the TOP exists or not."""
        self._objects = objects
        self._name = name
        self._lock: NamedLock | None = None
        self._info: NamedMemory | None = None
        self._info_lock: NamedLock | None = None
        self._data: NamedMemory | None = None
        self._postfix = ""
        self._last: TouchHeader | None = None
        self._copy = np.empty(0, np.uint8)
        self._spare = np.empty(0, np.uint8)
        self.refusal = ""
        """Why the last look refused what it found."""

    @property
    def picture(self) -> TouchPicture | None:
        """The last one; it stays as it is until the next look."""
        if self._last is None:
            return None
        layout = FORMATS[self._last.pixel_format]
        shape = (self._last.height, self._last.width, layout.channels)
        return TouchPicture(self._last, self._copy.view(layout.dtype).reshape(shape))

    def look(self) -> Look:
        """Takes the picture that is there now. Waits a few milliseconds at most."""
        try:
            return self._look()
        except RingError as error:
            self.refusal = str(error)
            return Look.REFUSED

    def let_go(self) -> None:
        """Nothing is held open: a name that only this kept alive is gone at the next look."""
        for one in (self._data, self._info, self._info_lock, self._lock):
            if one is not None:
                one.close()
        self._data = self._info = None
        self._info_lock = self._lock = None

    def close(self) -> None:
        self.let_go()

    def __enter__(self) -> TouchReceiver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _look(self) -> Look:
        info = self._read_info()
        if info is not None and info.is_detached:
            self.let_go()
            return Look.ABSENT
        postfix = info.postfix if info is not None else ""
        if self._data is not None and postfix != self._postfix:
            self._data.close()
            self._data = None
        if self._data is None:
            self._data = self._objects.find_memory(data_name(self._name, postfix), False)
            self._postfix = postfix
        if self._data is None:
            self.let_go()
            return Look.ABSENT
        if self._lock is None:
            self._lock = self._objects.lock(lock_name(data_name(self._name)))
        return self._take_copy(self._data, self._lock)

    def _read_info(self) -> TouchInfo | None:
        """None = the sender has none: then the data never changes its name."""
        if self._info is None:
            self._open_info()
        if self._info is None:
            return None
        # Without its lock: a postfix read while it is written names no memory, and the next look
        # finds the whole one.
        return parse_info(self._info.bytes[:INFO_BYTES].tobytes())

    def _open_info(self) -> None:
        for name in info_names(self._name):
            memory = self._objects.find_memory(name, True)
            if memory is None:
                continue
            self._info, self._info_lock = memory, self._objects.lock(lock_name(name))
            parse_info(memory.bytes[:INFO_BYTES].tobytes())  # else no byte of it is ours to set
            if self._info_lock.take(LOCK_MS) is not Grip.BUSY:
                memory.bytes[SUPPORTED_OFFSET] = 1
                self._info_lock.release()
            return

    def _take_copy(self, data: NamedMemory, lock: NamedLock) -> Look:
        grip = lock.take(LOCK_MS)
        if grip is Grip.BUSY:
            return Look.BUSY
        try:
            if grip is Grip.ABANDONED:  # half a picture
                return Look.BUSY
            raw = data.bytes[:MAX_HEADER_BYTES].tobytes()
            if not any(raw):
                return Look.BUSY
            header = parse_header(raw, len(data.bytes))
            if len(self._spare) != header.data_bytes:
                self._spare = np.empty(header.data_bytes, np.uint8)
            start = header.data_offset
            np.copyto(self._spare, data.bytes[start : start + header.data_bytes])
        finally:
            lock.release()
        is_same = header == self._last and _is_equal(self._spare, self._copy)
        self._copy, self._spare, self._last = self._spare, self._copy, header
        return Look.SAME if is_same else Look.NEW


def _is_equal(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    if len(one) != len(other):
        return False
    even = len(one) - len(one) % 8  # eight bytes at a time
    words, others = one[:even].view(np.uint64), other[:even].view(np.uint64)
    return bool((one[even:] == other[even:]).all()) and all(
        np.array_equal(words[at : at + BLOCK_WORDS], others[at : at + BLOCK_WORDS])
        for at in range(0, len(words), BLOCK_WORDS)
    )
