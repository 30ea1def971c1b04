"""The CUDA driver on a real card, as the TouchDesigner component uses it; no TouchDesigner needed.

    python -m pytest -s tests/gpu/test_cuda_driver.py

prints how fast pictures go. torch stands in for the application: its memory and its context, in
this thread, are what `TOP.cudaMemory` gives there. For Windows, `nvcuda.dll` included.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdv2_host.client.cuda_driver import (
    Context,
    CudaDriver,
    CudaError,
    DeviceAddress,
    HostAddress,
    Stream,
    open_driver,
)
from sdv2_host.clock import NS_PER_MS, now_ns

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SIZE_1080P_BYTES = 1920 * 1080 * 4
NUM_TIMED = 50


@pytest.fixture
def app_memory() -> torch.Tensor:
    """A picture on the card, of the application."""
    generator = torch.Generator("cuda").manual_seed(5)
    shape = (SIZE_1080P_BYTES,)
    made = torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda", generator=generator)
    torch.cuda.synchronize()
    return made


@pytest.fixture
def driver(app_memory: torch.Tensor) -> CudaDriver:
    return open_driver()


@pytest.fixture
def context(driver: CudaDriver, app_memory: torch.Tensor) -> Context:
    found = driver.context_of(DeviceAddress(app_memory.data_ptr()))
    assert found is not None
    return found


@pytest.fixture
def stream(driver: CudaDriver, context: Context) -> Iterator[Stream]:
    with driver.current(context):
        made = driver.new_stream()
        yield made
        driver.synchronize(made)
        driver.free_stream(made)


@pytest.fixture
def host(driver: CudaDriver, context: Context) -> Iterator[HostAddress]:
    with driver.current(context):
        made = driver.new_host_memory(SIZE_1080P_BYTES)
        yield made
        driver.free_host_memory(made)


def bytes_at(host: HostAddress) -> NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_ubyte * SIZE_1080P_BYTES).from_address(host))


def test_the_applications_memory_tells_the_context_that_is_current_in_its_thread(
    driver: CudaDriver, context: Context
) -> None:
    assert context == driver.current_context()


def test_a_picture_of_the_application_comes_whole(
    driver: CudaDriver, stream: Stream, host: HostAddress, app_memory: torch.Tensor
) -> None:
    event = driver.new_event()

    driver.begin_download(host, DeviceAddress(app_memory.data_ptr()), SIZE_1080P_BYTES, stream)
    driver.record(event, stream)
    driver.synchronize(stream)

    assert driver.is_done(event)
    assert np.array_equal(bytes_at(host), app_memory.cpu().numpy())
    driver.free_event(event)


def test_a_picture_goes_to_memory_of_ours_and_back(
    driver: CudaDriver, stream: Stream, host: HostAddress
) -> None:
    device = driver.new_device_memory(SIZE_1080P_BYTES)
    back = driver.new_host_memory(SIZE_1080P_BYTES)
    bytes_at(host)[:] = np.arange(SIZE_1080P_BYTES, dtype=np.uint32).astype(np.uint8)

    driver.begin_upload(device, host, SIZE_1080P_BYTES, stream)
    driver.begin_download(back, device, SIZE_1080P_BYTES, stream)
    driver.synchronize(stream)

    assert np.array_equal(bytes_at(back), bytes_at(host))
    driver.free_device_memory(device)
    driver.free_host_memory(back)


def test_an_event_is_not_done_before_the_work_in_front_of_it(
    driver: CudaDriver, stream: Stream, host: HostAddress, app_memory: torch.Tensor
) -> None:
    event = driver.new_event()
    with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
        torch.cuda._sleep(200_000_000)  # clock cycles: a tenth of a second
    driver.begin_download(host, DeviceAddress(app_memory.data_ptr()), SIZE_1080P_BYTES, stream)
    driver.record(event, stream)

    at_once = driver.is_done(event)
    driver.synchronize(stream)

    assert (at_once, driver.is_done(event)) == (False, True)
    driver.free_event(event)


def test_too_much_memory_is_refused_by_its_name(driver: CudaDriver, context: Context) -> None:
    with driver.current(context), pytest.raises(CudaError) as caught:
        driver.new_device_memory(1 << 62)

    assert caught.value.name == "CUDA_ERROR_OUT_OF_MEMORY"


@pytest.mark.parametrize("direction", ["download", "upload"])
def test_pictures_per_second_are_told(
    driver: CudaDriver, stream: Stream, host: HostAddress, direction: str
) -> None:
    device = driver.new_device_memory(SIZE_1080P_BYTES)
    began_ns = now_ns()
    for _ in range(NUM_TIMED):
        if direction == "download":
            driver.begin_download(host, device, SIZE_1080P_BYTES, stream)
        else:
            driver.begin_upload(device, host, SIZE_1080P_BYTES, stream)
    called_ns = now_ns() - began_ns
    driver.synchronize(stream)
    took_ns = now_ns() - began_ns
    driver.free_device_memory(device)

    print(
        f"\n{direction} of 1920x1080 BGRA8 on {torch.cuda.get_device_name()}: "
        f"{NUM_TIMED * SIZE_1080P_BYTES / took_ns:.1f} GB/s, "
        f"{took_ns / NUM_TIMED / NS_PER_MS:.2f} ms each, "
        f"{called_ns / NUM_TIMED / 1e3:.0f} us of the calling thread"
    )
    assert called_ns < took_ns
