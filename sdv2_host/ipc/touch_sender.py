"""TouchSender: pictures for a Shared Mem In TOP of TouchDesigner."""

from __future__ import annotations

import secrets
import string
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from sdv2_host.errors import AlreadyRunningError, RingError
from sdv2_host.ipc.touch_layout import (
    DETACH_OFFSET,
    HEADER_BYTES,
    INFO_BYTES,
    POSTFIX_CHARS,
    TouchHeader,
    TouchInfo,
    data_name,
    info_names,
    lock_name,
    pack_header,
    pack_info,
    parse_info,
)
from sdv2_host.ipc.touch_objects import Grip, NamedLock, NamedMemory, NamedObjects

RGBA8 = 37
CLAIM_MS = 3000
"""A host that was killed has its process for this name for a moment longer."""
LOCK_MS = 3
"""TouchDesigner holds a lock for one copy; who waits longer is late for the next picture."""
START_MS = CLOSE_MS = 100
ROOM_BYTES = HEADER_BYTES[1] + 2048 * 2048 * 4
"""Of the first mapping: sizes up to this change in place, without the other side looking for a new
name. Memory that no picture has touched costs nothing but its reservation."""


class TouchInfoBlock:
    """Tells readers of one info name where the pixels are. Of the sender."""

    def __init__(self, objects: NamedObjects, name: str) -> None:
        """Made, or taken over from a sender that died while TouchDesigner had it open."""
        self._memory: NamedMemory = objects.make_memory(name, INFO_BYTES)
        self._lock: NamedLock = objects.lock(lock_name(name))

    def read(self) -> TouchInfo:
        """As it is now; of new memory, or what is no info, that of a sender that begins."""
        try:
            return parse_info(self._memory.bytes[:INFO_BYTES].tobytes())
        except RingError:
            return TouchInfo()

    def write(self, postfix: str, wait_ms: int) -> bool:
        """Readers are told; False = one of them was looking all the time."""
        if self._lock.take(wait_ms) is Grip.BUSY:
            return False
        told = TouchInfo(postfix, self.read().is_supported)
        self._memory.bytes[:INFO_BYTES] = np.frombuffer(pack_info(told), np.uint8)
        self._lock.release()
        return True

    def close(self) -> None:
        """Readers are told to let go, and this is closed."""
        if self._lock.take(CLOSE_MS) is not Grip.BUSY:
            self._memory.bytes[DETACH_OFFSET] = 1
            self._lock.release()
        self._memory.close()
        self._lock.close()


class TouchSender:
    """Shows pictures under a Shared Mem Name. Used by one thread, from creation to `close`.

    Fields, per life: the claim on the name, the data lock, the infos. Per size: the mapping and
    its postfix.

    A sender that dies leaves names that TouchDesigner holds open. The next one goes on with them:
    in place where the memory is large enough, else under another postfix.
    """

    def __init__(self, objects: NamedObjects, name: str) -> None:
        """Nothing is shown yet.

        Raises:
            AlreadyRunningError: another host of ours shows something under this name.
            RingError: Windows refuses.
        """
        self._objects = objects
        self._name = name
        self._claim = objects.lock(lock_name(f"sdv2-host.{data_name(name)}"))
        if self._claim.take(CLAIM_MS) is Grip.BUSY:
            self._claim.close()
            raise AlreadyRunningError(
                f"another host shows its output as Shared Mem Name {name}; stop that one or choose "
                "another --touch-shm"
            )
        self._lock = objects.lock(lock_name(data_name(name)))
        self._infos = [TouchInfoBlock(objects, one) for one in info_names(name)]
        self._memory: NamedMemory | None = None
        self._postfix = self._infos[0].read().postfix
        for info in self._infos:  # a reader takes half-made ones for somebody else's
            info.write(self._postfix, START_MS)

    @property
    def was_opened(self) -> bool:
        """TouchDesigner has opened it, at some time since it or this sender began."""
        return any(info.read().is_supported for info in self._infos)

    def show(self, pixels: NDArray[np.uint8]) -> bool:
        """The picture is what TouchDesigner reads next; False = it was reading, try the next one.

        Args:
            pixels: [H, W, 4] RGBA, top row first; copied.

        Raises:
            RingError: no memory.
        """
        height, width = pixels.shape[:2]
        header = TouchHeader(width, height, RGBA8)
        needed = header.data_offset + header.data_bytes
        memory = self._memory
        if memory is None or len(memory.bytes) < needed:
            memory = self._make_room(needed)
            if memory is None:
                return False
        raw = np.frombuffer(pack_header(header), np.uint8)
        if self._lock.take(LOCK_MS) is Grip.BUSY:
            return False
        memory.bytes[: len(raw)] = raw
        rows = memory.bytes[header.data_offset : needed].reshape(pixels.shape)
        np.copyto(rows, pixels[::-1])  # the bottom row first
        self._lock.release()
        return True

    def close(self) -> None:
        """TouchDesigner is told to let go, and the name is free."""
        for info in self._infos:
            info.close()
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        self._lock.close()
        self._claim.release()
        self._claim.close()

    def __enter__(self) -> TouchSender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _make_room(self, num_bytes: int) -> NamedMemory | None:
        """Memory for so much, which the infos point to; None = a reader looks at an info now."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        room = max(num_bytes, ROOM_BYTES)
        memory = self._objects.make_memory(data_name(self._name, self._postfix), room)
        if len(memory.bytes) < num_bytes:  # a reader holds the name with the smaller memory open
            memory.close()
            self._postfix = "".join(
                secrets.choice(string.ascii_lowercase) for _ in range(POSTFIX_CHARS)
            )
            memory = self._objects.make_memory(data_name(self._name, self._postfix), room)
        if not all([info.write(self._postfix, LOCK_MS) for info in self._infos]):
            memory.close()
            return None
        self._memory = memory
        return memory
