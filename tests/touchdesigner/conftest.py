from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdv2_host.client.cuda_driver import CudaDriver
from sdv2_host.ipc.frame_ring import default_run_dir
from tests.client.fake_cuda import FakeCuda
from tests.client.fake_host import FakeHost
from tests.touchdesigner.touch_stage import TouchStage, touch_stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[TouchStage]:
    with touch_stage(tmp_path) as made:
        yield made


@pytest.fixture
def host(stage: TouchStage) -> Iterator[FakeHost]:
    """A made-up host that the stage's component has found."""
    with FakeHost(stage.host, default_run_dir()) as made:
        stage.until(lambda: stage.status.port == made.port and stage.status.facts, "found")
        yield made


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    """A card on which everything was done as its driver asks for."""
    made = FakeCuda(app_context_is_current=False)
    yield made
    gc.collect()
    assert made.violations == []


@pytest.fixture
def driver(cuda: FakeCuda) -> CudaDriver:
    return CudaDriver(cuda)
