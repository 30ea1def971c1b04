from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdv2_host.errors import RingError
from sdv2_host.host.presenter import Presenter
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter


@pytest.fixture
def stream() -> str:
    """A stream name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def work(run_dir: Path, stream: str) -> Iterator[FrameWriter]:
    with FrameWriter(f"{stream}-wk", slot_count=16, run_dir=run_dir) as writer:
        yield writer


@pytest.fixture
def presenter(run_dir: Path, stream: str) -> Iterator[Presenter]:
    failures: list[RingError] = []
    presenter = Presenter(
        FrameReader(f"{stream}-wk", run_dir=run_dir),
        FrameWriter(f"{stream}-out", slot_count=8, run_dir=run_dir),
        0.0,
        failures.append,
        FrameReader(f"{stream}-in", run_dir=run_dir),
    )
    yield presenter
    presenter.close()
    assert failures == []


@pytest.fixture
def output(run_dir: Path, stream: str) -> Iterator[FrameReader]:
    with FrameReader(f"{stream}-out", run_dir=run_dir) as reader:
        yield reader


@pytest.fixture
def source(run_dir: Path, stream: str) -> Iterator[FrameWriter]:
    with FrameWriter(f"{stream}-in", slot_count=8, run_dir=run_dir) as writer:
        yield writer
