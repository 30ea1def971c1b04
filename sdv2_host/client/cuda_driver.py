"""The CUDA driver by ctypes: what moving pictures between a card and page-locked memory needs.

For creative apps that hand out addresses of their CUDA memory (TouchDesigner): the driver is part
of every NVIDIA installation, so nothing has to be installed, and there is no second CUDA runtime
in the app's process. Nothing here makes a context: memory, streams and events belong to the
app's own, which `context_of` reads off an address that the app gave out.

Source: the declarations of cuda.h 13.0, against which tests/client/test_cuda_driver.py compares
`PROTOTYPES`.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any, NewType, Protocol

from sdv2_host.errors import DeviceError

Context = NewType("Context", int)
Stream = NewType("Stream", int)
Event = NewType("Event", int)
HostAddress = NewType("HostAddress", int)
"""Of page-locked memory: the card copies from and to it while the thread goes on."""
DeviceAddress = NewType("DeviceAddress", int)

CUDA_SUCCESS = 0
CUDA_ERROR_NOT_READY = 600
POINTER_ATTRIBUTE_CONTEXT = 1
STREAM_NON_BLOCKING = 1
"""The stream neither waits for the default stream nor holds it up."""
EVENT_DISABLE_TIMING = 2

# The exported names: "_v2" where cuda.h maps the plain name to it by a macro. All return CUresult.
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuPointerGetAttribute": (c_void_p, c_int, c_ulonglong),
    "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventQuery": (c_void_p,),
    "cuEventDestroy_v2": (c_void_p,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_ulonglong), c_size_t),
    "cuMemFree_v2": (c_ulonglong,),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_ulonglong, c_size_t, c_void_p),
    "cuMemcpyHtoDAsync_v2": (c_ulonglong, c_void_p, c_size_t, c_void_p),
}


class DriverLibrary(Protocol):
    """`ctypes.CDLL` of the driver, or a stand-in for it."""

    def __getattr__(self, name: str) -> Any: ...


class CudaError(DeviceError):
    """A call of the driver failed. `name` is the driver's: "CUDA_ERROR_ILLEGAL_ADDRESS"."""

    def __init__(self, call: str, name: str, text: str) -> None:
        super().__init__(f"{call}: {name} ({text})")
        self.name = name


class CudaDriver:
    """The driver, ready. Every call can raise CudaError, also for a copy that was begun earlier.

    Except for `current_context`, `context_of` and `current`, calls want a current context. None of
    them waits for the card but `synchronize` and, as the driver does it, `free_host_memory` and
    `free_device_memory`.
    """

    def __init__(self, library: DriverLibrary) -> None:
        for name, argument_types in PROTOTYPES.items():
            function = getattr(library, name)
            function.argtypes = argument_types
            function.restype = c_int
        self._library = library
        """Per process."""
        self._call("cuInit", 0)

    def current_context(self) -> Context | None:
        """The context that is current in this thread."""
        context = c_void_p()
        self._call("cuCtxGetCurrent", ctypes.byref(context))
        return None if context.value is None else Context(context.value)

    def context_of(self, address: DeviceAddress) -> Context | None:
        """The context that the memory was allocated in; None if the driver does not tell."""
        context = c_void_p()
        self._call(
            "cuPointerGetAttribute", ctypes.byref(context), POINTER_ATTRIBUTE_CONTEXT, address
        )
        return None if context.value is None else Context(context.value)

    @contextlib.contextmanager
    def current(self, context: Context) -> Iterator[None]:
        """Inside, `context` is this thread's; afterwards the one before is."""
        self._call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(c_void_p()))

    def new_stream(self) -> Stream:
        """A queue of the card, independent of the default stream."""
        return Stream(self._new("cuStreamCreate", STREAM_NON_BLOCKING))

    def synchronize(self, stream: Stream) -> None:
        """Everything queued on the stream is done: waits for the card."""
        self._call("cuStreamSynchronize", stream)

    def free_stream(self, stream: Stream) -> None:
        self._call("cuStreamDestroy_v2", stream)

    def new_event(self) -> Event:
        """An event that is done until it is recorded."""
        return Event(self._new("cuEventCreate", EVENT_DISABLE_TIMING))

    def record(self, event: Event, stream: Stream) -> None:
        """The event is done when all that is on the stream by now is done."""
        self._call("cuEventRecord", event, stream)

    def is_done(self, event: Event) -> bool:
        code = self._library.cuEventQuery(event)
        if code == CUDA_ERROR_NOT_READY:
            return False
        self._check("cuEventQuery", code)
        return True

    def free_event(self, event: Event) -> None:
        self._call("cuEventDestroy_v2", event)

    def new_host_memory(self, num_bytes: int) -> HostAddress:
        """Page-locked memory; getting it costs milliseconds."""
        address = c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), num_bytes, 0)
        assert address.value is not None, "cuMemHostAlloc reported success without an address"
        return HostAddress(address.value)

    def free_host_memory(self, address: HostAddress) -> None:
        self._call("cuMemFreeHost", address)

    def new_device_memory(self, num_bytes: int) -> DeviceAddress:
        address = c_ulonglong()
        self._call("cuMemAlloc_v2", ctypes.byref(address), num_bytes)
        return DeviceAddress(address.value)

    def free_device_memory(self, address: DeviceAddress) -> None:
        self._call("cuMemFree_v2", address)

    def begin_download(
        self, target: HostAddress, source: DeviceAddress, num_bytes: int, stream: Stream
    ) -> None:
        """The copy is on the stream; neither memory may be touched until it is done."""
        self._call("cuMemcpyDtoHAsync_v2", target, source, num_bytes, stream)

    def begin_upload(
        self, target: DeviceAddress, source: HostAddress, num_bytes: int, stream: Stream
    ) -> None:
        """The copy is on the stream; neither memory may be touched until it is done."""
        self._call("cuMemcpyHtoDAsync_v2", target, source, num_bytes, stream)

    def _new(self, call: str, flags: int) -> int:
        handle = c_void_p()
        self._call(call, ctypes.byref(handle), flags)
        assert handle.value is not None, f"{call} reported success without a handle"
        return handle.value

    def _call(self, name: str, *arguments: Any) -> None:
        self._check(name, getattr(self._library, name)(*arguments))

    def _check(self, call: str, code: int) -> None:
        if code != CUDA_SUCCESS:
            raise CudaError(
                call.removesuffix("_v2"),
                self._text("cuGetErrorName", code) or f"CUDA error {code}",
                self._text("cuGetErrorString", code) or "this driver has no text for it",
            )

    def _text(self, call: str, code: int) -> str:
        text = c_char_p()
        getattr(self._library, call)(code, ctypes.byref(text))
        return (text.value or b"").decode("utf-8", "replace")


def open_driver() -> CudaDriver:
    """This machine's NVIDIA driver.

    Raises:
        DeviceError: there is none, or it finds no card.
    """
    try:
        library = _load_library()
    except OSError as error:
        raise DeviceError(f"this machine has no NVIDIA driver ({error})") from error
    return CudaDriver(library)


if sys.platform == "win32":

    def _load_library() -> ctypes.CDLL:
        return ctypes.WinDLL("nvcuda.dll")  # the driver's functions are __stdcall there

elif sys.platform == "darwin":

    def _load_library() -> ctypes.CDLL:
        raise OSError("NVIDIA makes none for macOS")

else:

    def _load_library() -> ctypes.CDLL:
        return ctypes.CDLL("libcuda.so.1")
