"""The CUDA driver's calls: their C types against cuda.h, and what they mean on a made-up card."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path

import pytest

from sdv2_host.client import cuda_driver
from sdv2_host.client.cuda_driver import Context, CudaDriver, CudaError, DeviceAddress
from sdv2_host.errors import DeviceError
from tests.client.fake_cuda import (
    APP_CONTEXT,
    ILLEGAL_ADDRESS,
    OUT_OF_MEMORY,
    UNWRITTEN,
    FakeCuda,
)

HEADER = Path("/usr/local/cuda/include/cuda.h")
C_TYPES = {
    "unsigned int": c_uint,
    "size_t": c_size_t,
    "CUdeviceptr": c_ulonglong,
    "CUdeviceptr *": POINTER(c_ulonglong),
    "void *": c_void_p,
    "const void *": c_void_p,
    "void **": POINTER(c_void_p),
    "const char **": POINTER(c_char_p),
    **dict.fromkeys(("CUcontext", "CUstream", "CUevent"), c_void_p),
    **dict.fromkeys(("CUcontext *", "CUstream *", "CUevent *"), POINTER(c_void_p)),
    **dict.fromkeys(("CUresult", "CUpointer_attribute"), c_int),
}
CONSTANTS = {
    "CUDA_SUCCESS": cuda_driver.CUDA_SUCCESS,
    "CUDA_ERROR_NOT_READY": cuda_driver.CUDA_ERROR_NOT_READY,
    "CU_POINTER_ATTRIBUTE_CONTEXT": cuda_driver.POINTER_ATTRIBUTE_CONTEXT,
    "CU_STREAM_NON_BLOCKING": cuda_driver.STREAM_NON_BLOCKING,
    "CU_EVENT_DISABLE_TIMING": cuda_driver.EVENT_DISABLE_TIMING,
}
needs_header = pytest.mark.skipif(not HEADER.exists(), reason=f"no {HEADER}")


@pytest.fixture(scope="module")
def header() -> str:
    """cuda.h as a program sees it that includes it: the newest declaration of each function."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to read cuda.h with")
    command = [compiler, "-E", "-P", "-x", "c", str(HEADER)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def declared(header: str, name: str) -> list[str]:
    """The types of a function's parameters, spelt as in `C_TYPES`."""
    found = re.search(rf"\b{name}\(([^)]*)\);", header)
    assert found is not None, f"cuda.h declares no {name}"
    parameters = [" ".join(one.split()) for one in found[1].split(",")]
    return [re.sub(r"\s*(\**)\s*\w+$", r" \1", one).strip() for one in parameters]


@needs_header
@pytest.mark.parametrize("name", cuda_driver.PROTOTYPES)
def test_every_prototype_is_that_of_the_header(header: str, name: str) -> None:
    types = tuple(C_TYPES[spelt] for spelt in declared(header, name))

    assert cuda_driver.PROTOTYPES[name] == types


@needs_header
@pytest.mark.parametrize("name", CONSTANTS)
def test_every_constant_is_that_of_the_header(header: str, name: str) -> None:
    found = re.search(rf"\b{name}\s*=\s*(0x[0-9a-fA-F]+|\d+)", header)

    assert found is not None
    assert CONSTANTS[name] == int(found[1], 0)


@needs_header
def test_a_handle_and_a_device_address_fit_their_types(tmp_path: Path) -> None:
    source = tmp_path / "sizes.c"
    source.write_text(
        f'#include "{HEADER}"\n'
        '_Static_assert(sizeof(CUdeviceptr) == 8, "device address");\n'
        '_Static_assert(sizeof(CUstream) == sizeof(void *), "stream");\n'
        '_Static_assert(sizeof(CUresult) == sizeof(int), "result");\n'
        '_Static_assert(sizeof(CUpointer_attribute) == sizeof(int), "attribute");\n'
    )
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to read cuda.h with")

    subprocess.run([compiler, "-fsyntax-only", str(source)], check=True)


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    made = FakeCuda()
    yield made
    assert made.violations == []


@pytest.fixture
def driver(cuda: FakeCuda) -> CudaDriver:
    return CudaDriver(cuda)


def test_a_picture_comes_back_as_it_was_sent(cuda: FakeCuda, driver: CudaDriver) -> None:
    stream = driver.new_stream()
    sent, returned = driver.new_host_memory(64), driver.new_host_memory(64)
    device = driver.new_device_memory(64)
    ctypes.memmove(sent, bytes(range(64)), 64)

    driver.begin_upload(device, sent, 64, stream)
    driver.begin_download(returned, device, 64, stream)
    driver.synchronize(stream)

    assert ctypes.string_at(returned, 64) == bytes(range(64))


def test_an_event_is_done_when_what_stood_before_it_is(cuda: FakeCuda, driver: CudaDriver) -> None:
    stream, event = driver.new_stream(), driver.new_event()
    host, device = driver.new_host_memory(8), driver.new_device_memory(8)
    before = driver.is_done(event)
    driver.begin_download(host, device, 8, stream)
    driver.record(event, stream)

    at_once = driver.is_done(event)
    cuda.finish(1)
    after_the_copy = driver.is_done(event)
    cuda.finish()

    assert (before, at_once, after_the_copy, driver.is_done(event)) == (True, False, False, True)


def test_a_copy_has_not_happened_until_its_event_is_done(
    cuda: FakeCuda, driver: CudaDriver
) -> None:
    stream = driver.new_stream()
    host = driver.new_host_memory(8)

    driver.begin_download(host, driver.new_device_memory(8), 8, stream)

    assert ctypes.string_at(host, 8) == bytes([UNWRITTEN] * 8)


def test_all_that_was_made_can_be_freed(cuda: FakeCuda, driver: CudaDriver) -> None:
    stream, event = driver.new_stream(), driver.new_event()
    host, device = driver.new_host_memory(8), driver.new_device_memory(8)

    driver.free_event(event)
    driver.free_stream(stream)
    driver.free_host_memory(host)
    driver.free_device_memory(device)

    assert cuda.left_over() == []


def test_memory_of_the_app_tells_its_context(cuda: FakeCuda, driver: CudaDriver) -> None:
    block = cuda.allocate(8)

    assert driver.context_of(DeviceAddress(block.address)) == APP_CONTEXT


def test_memory_of_a_pool_tells_no_context() -> None:
    cuda = FakeCuda(memory_has_context=False)
    block = cuda.allocate(8)

    assert CudaDriver(cuda).context_of(DeviceAddress(block.address)) is None


def test_a_context_is_current_only_where_it_was_made_so() -> None:
    cuda = FakeCuda(app_context_is_current=False)
    driver = CudaDriver(cuda)
    outside = driver.current_context()

    with driver.current(Context(APP_CONTEXT)):
        inside = driver.current_context()

    assert (outside, inside, driver.current_context()) == (None, APP_CONTEXT, None)


def test_an_error_leaves_the_context_before_current() -> None:
    driver = CudaDriver(FakeCuda(app_context_is_current=False))

    with pytest.raises(ValueError, match="of ours"), driver.current(Context(APP_CONTEXT)):
        raise ValueError("of ours")

    assert driver.current_context() is None


def test_without_a_current_context_nothing_can_be_made() -> None:
    driver = CudaDriver(FakeCuda(app_context_is_current=False))

    with pytest.raises(CudaError) as caught:
        driver.new_stream()

    assert caught.value.name == "CUDA_ERROR_INVALID_CONTEXT"


def test_memory_is_freed_from_another_thread_in_the_context_it_came_from(
    cuda: FakeCuda, driver: CudaDriver
) -> None:
    host = driver.new_host_memory(8)

    def free() -> None:
        with driver.current(Context(APP_CONTEXT)):
            driver.free_host_memory(host)

    thread = threading.Thread(target=free)
    thread.start()
    thread.join()

    assert cuda.left_over() == []


def test_an_error_tells_the_call_its_name_and_its_text(cuda: FakeCuda, driver: CudaDriver) -> None:
    cuda.failures["cuMemAlloc_v2"] = OUT_OF_MEMORY

    with pytest.raises(CudaError) as caught:
        driver.new_device_memory(8)

    assert str(caught.value) == "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (out of memory)"


def test_an_event_tells_the_error_of_an_earlier_copy(cuda: FakeCuda, driver: CudaDriver) -> None:
    event = driver.new_event()
    cuda.lost = ILLEGAL_ADDRESS

    with pytest.raises(CudaError, match="cuEventQuery: CUDA_ERROR_ILLEGAL_ADDRESS"):
        driver.is_done(event)


def test_a_code_the_driver_does_not_know_is_told_as_a_number(
    cuda: FakeCuda, driver: CudaDriver
) -> None:
    cuda.failures["cuEventCreate"] = 4711

    with pytest.raises(CudaError, match="cuEventCreate: CUDA error 4711"):
        driver.new_event()


def test_a_driver_without_a_card_is_an_error_with_its_reason() -> None:
    with pytest.raises(DeviceError, match="CUDA_ERROR_NO_DEVICE"):
        CudaDriver(FakeCuda(failures={"cuInit": 100}))


def test_a_machine_without_the_driver_says_so() -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has an NVIDIA driver")

    with pytest.raises(DeviceError, match="this machine has no NVIDIA driver"):
        cuda_driver.open_driver()
