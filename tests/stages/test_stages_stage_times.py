"""What a rank's work takes is known when the device has done it, and nobody waits for that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from sdv2_host.stages.stage_times import SMOOTHING, HostMark, StageTimes, marks_of

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Device:
    """A queue of marks; the work between two takes `busy_ms`."""

    def __init__(self) -> None:
        self.busy_ms = 8.0
        self.num_marks = 0
        self.num_passed = 0
        self.clock_ms = 0.0

    def new_mark(self) -> DeviceMark:
        return DeviceMark(self)


class DeviceMark:
    """As `torch.cuda.Event`, which cannot be read before the device has passed it."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def record(self) -> None:
        self._device.num_marks += 1
        self._device.clock_ms += self._device.busy_ms
        self._number, self._at_ms = self._device.num_marks, self._device.clock_ms

    def query(self) -> bool:
        return self._number <= self._device.num_passed

    def elapsed_time(self, end_event: DeviceMark, /) -> float:
        assert self.query(), "device not ready"
        assert end_event.query(), "device not ready"
        return end_event._at_ms - self._at_ms


def test_spans_that_the_device_has_not_done_are_not_asked_for() -> None:
    device = Device()
    times = StageTimes(device.new_mark)

    for _ in range(3):
        with times.span("blocks", 4):
            pass
    early_ms = times.ms("blocks")
    device.num_passed = 4
    with times.span("decode"):
        pass

    assert early_ms is None
    assert times.ms("blocks") == 2.0
    assert times.ms("decode") is None


def test_the_newest_span_counts_by_a_part() -> None:
    device = Device()
    device.num_passed = 100
    times = StageTimes(device.new_mark)

    with times.span("blocks"):
        pass
    device.busy_ms = 18.0
    with times.span("blocks"):
        pass

    assert times.ms("blocks") == pytest.approx(8.0 + SMOOTHING * 10.0)


def test_what_is_not_done_to_its_end_is_not_measured() -> None:
    times = StageTimes(HostMark)

    with pytest.raises(RuntimeError), times.span("blocks"):
        raise RuntimeError

    assert times.ms("blocks") is None


@pytest.fixture
def long_work() -> Iterator[torch.Tensor]:
    yield torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()


@CUDA
@pytest.mark.gpu
def test_spans_on_cuda_are_queued_without_waiting(long_work: torch.Tensor) -> None:
    times = StageTimes(marks_of(torch.device("cuda")))

    for _ in range(20):
        with times.span("blocks"):
            long_work @ long_work
    torch.cuda.synchronize()
    with times.span("decode"):
        pass

    assert times.ms("blocks") is not None
