"""A CUDA driver without a card: host memory behind made-up device addresses, in our process.

Called through real C function pointers of the types in `PROTOTYPES`, so that what ctypes converts
is converted here too. Copies do nothing until `finish` (or a wait) lets them; until then what they
write is poisoned, as nobody may rely on it. Whatever the driver's documentation forbids, or leaves
undefined, is noted in `violations`.

Source: the driver API reference (cuStreamCreate, cuEventQuery, cuMemcpyDtoHAsync, cuMemFreeHost,
cuCtxPushCurrent, cuPointerGetAttribute) as it stands in cuda.h.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sdv2_host.client.cuda_driver import POINTER_ATTRIBUTE_CONTEXT, PROTOTYPES

INVALID_VALUE = 1
OUT_OF_MEMORY = 2
NOT_INITIALIZED = 3
INVALID_CONTEXT = 201
INVALID_HANDLE = 400
NOT_READY = 600
ILLEGAL_ADDRESS = 700
NAMES = {
    INVALID_VALUE: (b"CUDA_ERROR_INVALID_VALUE", b"invalid argument"),
    OUT_OF_MEMORY: (b"CUDA_ERROR_OUT_OF_MEMORY", b"out of memory"),
    100: (b"CUDA_ERROR_NO_DEVICE", b"no CUDA-capable device is detected"),
    INVALID_CONTEXT: (b"CUDA_ERROR_INVALID_CONTEXT", b"invalid device context"),
    ILLEGAL_ADDRESS: (b"CUDA_ERROR_ILLEGAL_ADDRESS", b"an illegal memory access was encountered"),
    709: (b"CUDA_ERROR_CONTEXT_IS_DESTROYED", b"context is destroyed"),
}
UNWRITTEN = 0xEE
FREED = 0xDD
FIRST_DEVICE_ADDRESS = 0x7_0000_0000_0000
DEVICE_STEP = 0x1_0000_0000
WITHOUT_CONTEXT = {
    *("cuInit", "cuGetErrorName", "cuGetErrorString", "cuPointerGetAttribute"),
    *("cuCtxGetCurrent", "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"),
}
APP_CONTEXT = 0xC0
"""The context of the app whose process this is; a pool's memory has none."""


@dataclass(eq=False)
class Block:
    """Memory of either side. Freed blocks are kept, so that no address comes twice."""

    address: int
    buffer: ctypes.Array[ctypes.c_char]
    context: int | None
    is_alive: bool = True

    def bytes(self) -> bytes:
        return self.buffer.raw

    def fill(self, num_bytes: int, value: int) -> None:
        ctypes.memset(self.buffer, value, num_bytes)


@dataclass(eq=False)
class Work:
    """One entry of a stream."""

    stream: int
    run: Callable[[], None]
    blocks: tuple[Block, ...] = ()
    """Must live until it ran."""
    event: int = 0


@dataclass
class FakeCuda:
    app_context_is_current: bool = True
    """In the thread that makes the first call."""
    failures: dict[str, int] = field(default_factory=dict)
    """Function -> code that it returns from now on, without doing anything."""
    lost: int = 0
    """Code that every call returns that needs a context: the context is good for nothing."""
    memory_has_context: bool = True
    violations: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    host: dict[int, Block] = field(default_factory=dict)
    device: dict[int, Block] = field(default_factory=dict)
    streams: set[int] = field(default_factory=set)
    events: dict[int, int] = field(default_factory=dict)
    """Event -> how often it stands in a stream."""
    queue: list[Work] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._is_initialised = False
        self._handles = itertools.count(0x1000, 0x10)
        self._device_addresses = itertools.count(FIRST_DEVICE_ADDRESS, DEVICE_STEP)
        self._stacks = threading.local()
        self._stacks.contexts = [APP_CONTEXT] if self.app_context_is_current else []
        self._functions = {
            name: ctypes.CFUNCTYPE(ctypes.c_int, *types)(self._guarded(name))
            for name, types in PROTOTYPES.items()
        }

    def __getattr__(self, name: str) -> Any:
        if name == "_functions" or name not in self._functions:
            raise AttributeError(f"the driver has no {name}")
        return self._functions[name]

    # What a test does.

    def finish(self, num_works: int | None = None) -> None:
        """The oldest works of all streams have run; None = all."""
        for _ in range(len(self.queue) if num_works is None else num_works):
            self._run(self.queue[0])

    def left_over(self) -> list[str]:
        """What was not freed."""
        return [
            *(f"host memory {block.address:x}" for block in self.host.values() if block.is_alive),
            *(f"device memory {one.address:x}" for one in self.device.values() if one.is_alive),
            *(f"stream {stream:x}" for stream in self.streams),
            *(f"event {event:x}" for event in self.events),
        ]

    # What the app does with its own memory.

    def allocate(self, num_bytes: int) -> Block:
        address = next(self._device_addresses)
        context = APP_CONTEXT if self.memory_has_context else None
        block = Block(address, ctypes.create_string_buffer(num_bytes), context)
        block.fill(num_bytes, UNWRITTEN)
        self.device[address] = block
        return block

    def release(self, address: int) -> None:
        self._free(self.device, address, "device memory")

    def enqueue(self, stream: int, run: Callable[[], None], *blocks: Block) -> None:
        if stream not in self.streams:
            self.violations.append(f"work on stream {stream:x}, which does not exist")
        self.queue.append(Work(stream, run, blocks))

    # The driver.

    def _guarded(self, name: str) -> Callable[..., int]:
        function: Callable[..., int] = getattr(type(self), f"_{name.removesuffix('_v2')}")

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            try:
                return self._refusal(name) or function(self, *arguments)
            except Exception as error:  # ctypes would only print it
                self.violations.append(f"{name}: {error!r}")
                return INVALID_VALUE

        return call

    def _refusal(self, name: str) -> int:
        if name in self.failures:
            return self.failures[name]
        if name != "cuInit" and not name.startswith("cuGetError") and not self._is_initialised:
            return NOT_INITIALIZED
        if name in WITHOUT_CONTEXT:
            return 0
        return self.lost or (0 if self._contexts() else INVALID_CONTEXT)

    def _contexts(self) -> list[int]:
        if not hasattr(self._stacks, "contexts"):
            self._stacks.contexts = []
        contexts: list[int] = self._stacks.contexts
        return contexts

    def _cuInit(self, flags: int) -> int:
        self._is_initialised = True
        return INVALID_VALUE if flags else 0

    def _cuGetErrorName(self, code: int, out: Any) -> int:
        out[0] = NAMES[code][0] if code in NAMES else None
        return 0 if code in NAMES else INVALID_VALUE

    def _cuGetErrorString(self, code: int, out: Any) -> int:
        out[0] = NAMES[code][1] if code in NAMES else None
        return 0 if code in NAMES else INVALID_VALUE

    def _cuPointerGetAttribute(self, out: int, attribute: int, address: int) -> int:
        assert attribute == POINTER_ATTRIBUTE_CONTEXT
        block = self.device.get(address)
        if block is None or not block.is_alive:
            return INVALID_VALUE
        ctypes.c_void_p.from_address(out).value = block.context
        return 0

    def _cuCtxGetCurrent(self, out: Any) -> int:
        contexts = self._contexts()
        out[0] = contexts[-1] if contexts else None
        return 0

    def _cuCtxPushCurrent(self, context: int) -> int:
        self._contexts().append(context)
        return 0

    def _cuCtxPopCurrent(self, out: Any) -> int:
        out[0] = self._contexts().pop()
        return 0

    def _cuStreamCreate(self, out: Any, flags: int) -> int:
        assert flags == 1, "a stream that waits for the default stream stalls with the app"
        out[0] = next(self._handles)
        self.streams.add(out[0])
        return 0

    def _cuStreamSynchronize(self, stream: int) -> int:
        if stream not in self.streams:
            return INVALID_HANDLE
        for work in [one for one in self.queue if one.stream == stream]:
            self._run(work)
        return 0

    def _cuStreamDestroy(self, stream: int) -> int:
        if any(work.stream == stream for work in self.queue):
            self.violations.append("a stream was destroyed with work on it")
        self.streams.remove(stream)
        return 0

    def _cuEventCreate(self, out: Any, flags: int) -> int:
        assert flags == 2, "timing makes an event slow"
        out[0] = next(self._handles)
        self.events[out[0]] = 0
        return 0

    def _cuEventRecord(self, event: int, stream: int) -> int:
        if event not in self.events or stream not in self.streams:
            return INVALID_HANDLE
        self.events[event] += 1
        self.queue.append(Work(stream, lambda: None, event=event))
        return 0

    def _cuEventQuery(self, event: int) -> int:
        if event not in self.events:
            return INVALID_HANDLE
        return NOT_READY if self.events[event] else 0

    def _cuEventDestroy(self, event: int) -> int:
        if self.events.pop(event):
            self.violations.append("an event was destroyed while in a stream")
        return 0

    def _cuMemHostAlloc(self, out: Any, num_bytes: int, flags: int) -> int:
        assert flags == 0
        buffer = ctypes.create_string_buffer(num_bytes)
        block = Block(ctypes.addressof(buffer), buffer, self._contexts()[-1])
        block.fill(num_bytes, UNWRITTEN)
        self.host[block.address] = block
        out[0] = block.address
        return 0

    def _cuMemFreeHost(self, address: int) -> int:
        return self._free(self.host, address, "host memory")

    def _cuMemAlloc(self, out: Any, num_bytes: int) -> int:
        out[0] = self.allocate(num_bytes).address
        return 0

    def _cuMemFree(self, address: int) -> int:
        return self._free(self.device, address, "device memory")

    def _cuMemcpyDtoHAsync(self, target: int, source: int, num_bytes: int, stream: int) -> int:
        return self._copy(self.host.get(target), self.device.get(source), num_bytes, stream)

    def _cuMemcpyHtoDAsync(self, target: int, source: int, num_bytes: int, stream: int) -> int:
        return self._copy(self.device.get(target), self.host.get(source), num_bytes, stream)

    def _copy(self, target: Block | None, source: Block | None, num_bytes: int, stream: int) -> int:
        if target is None or source is None or stream not in self.streams:
            return INVALID_VALUE
        if not (target.is_alive and source.is_alive):
            self.violations.append("a copy begins with memory that was freed")
        if num_bytes > min(len(target.buffer), len(source.buffer)):
            return INVALID_VALUE
        target.fill(num_bytes, UNWRITTEN)

        def run() -> None:
            ctypes.memmove(target.buffer, source.buffer, num_bytes)

        self.queue.append(Work(stream, run, (target, source)))
        return 0

    def _free(self, blocks: dict[int, Block], address: int, what: str) -> int:
        block = blocks.get(address)
        if block is None or not block.is_alive:
            self.violations.append(f"{what} {address:x} was freed, but is not allocated")
            return INVALID_VALUE
        if not self.lost and any(block in work.blocks for work in self.queue):
            self.violations.append(f"{what} was freed while a copy of it is in flight")
        block.is_alive = False
        block.fill(len(block.buffer), FREED)
        return 0

    def _run(self, work: Work) -> None:
        if any(one.stream == work.stream for one in self.queue[: self.queue.index(work)]):
            self.violations.append("a stream ran out of order")
        self.queue.remove(work)
        work.run()
        if work.event:
            self.events[work.event] -= 1
