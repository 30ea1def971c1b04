"""What all pictures by CUDA have in common: rules, and how the path ends.

`TOP.numpyArray` hands out float32, four times the bytes that a host needs, and TouchDesigner makes
the copy. By CUDA the picture comes as 8 bit BGRA, and the card copies by itself:

    TOP -> CUDAMemory -> copy on our stream -> page-locked memory -> Picture, one or two cooks later
    Frame -> page-locked memory -> copy on our stream -> device memory -> Script TOP

Rules of `cuda_download` and `cuda_upload`:
 * Nothing waits for the card but `close`, and memory that grows with the picture.
 * What a copy reads or writes is neither written, reused nor freed until the copy's event is done.
 * TouchDesigner's calls are made in its own context, whatever that is; the driver's in the one that
   TouchDesigner's memory belongs to.
 * Any error, of the driver or of TouchDesigner's CUDA calls, ends the path: after most of the
   driver's the context is good for nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sdv2_host.client.cuda_driver import Context, CudaDriver, CudaError, Stream
from sdv2_host.errors import DeviceError

PIXEL_FORMAT_NAME = "rgba8fixed"
"""TouchDesigner's menu name; the block it gives is BGRA all the same (CUDAMemoryShape_Class)."""
BYTES_PER_PIXEL = 4


class CudaPathError(DeviceError):
    """No picture goes by CUDA any more; the sentence says why."""


@contextlib.contextmanager
def ends_the_path() -> Iterator[None]:
    """An error of the driver leaves as CudaPathError."""
    try:
        yield
    except CudaError as error:
        raise CudaPathError(
            f"{error}; TouchDesigner has to be restarted before CUDA can be used again"
        ) from error


@contextlib.contextmanager
def refusal_ends_the_path() -> Iterator[None]:
    """Whatever TouchDesigner raises of a CUDA call leaves as CudaPathError; for that call only."""
    try:
        yield
    except TypeError as error:
        raise CudaPathError(
            f"this build of TouchDesigner has other CUDA calls, 2025.32050 or later is needed "
            f"({error})"
        ) from error
    # What else it raises, and when, stands on no page. On stage numpy has to go on all the same.
    except Exception as error:
        raise CudaPathError(f"TouchDesigner refuses: {type(error).__name__}: {error}") from error


def has_settled(driver: CudaDriver, context: Context, stream: Stream) -> bool:
    """Nothing is in flight on the stream: waits for that. False: the context is lost.

    A lost context takes its memory along; nothing of it can be, or has to be, freed one by one.
    """
    try:
        with driver.current(context):
            driver.synchronize(stream)
    except CudaError:
        return False
    return True
