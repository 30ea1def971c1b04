"""Small shows, recorded of an engine whose pictures are its input."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sdv2_host.config import Config
from sdv2_host.host.show_engine import OpenPart, RecordedEngine
from sdv2_host.host.show_part import ShowPart
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta
from tests.naive_engine import NaiveEngine

CLOSE_S = 60.0
MS = 1_000_000


def frames_of(first: int, count: int, width: int = 24, height: int = 16) -> list[Frame]:
    """Numbered from `first`, 33 ms apart, of noise."""
    shape = (height, width, 4)
    return [
        Frame(
            FrameMeta(width, height, frame=number, capture_ts_ns=number * 33 * MS),
            np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8),
        )
        for number in range(first, first + count)
    ]


def recorded_engine(open_part: OpenPart = ShowPart) -> RecordedEngine:
    return RecordedEngine(NaiveEngine(), Config(engine="passthrough"), Params(), open_part)


def record_steps(show: Path, num_steps: int = 3, open_part: OpenPart = ShowPart) -> RecordedEngine:
    """So many chunks; all is on the disk."""
    engine = recorded_engine(open_part)
    for index in range(num_steps):
        first = 1 if not index else 4 * index - 2
        engine.step(frames_of(first, 4 if index else 1), Params(show=str(show), seed=index))
    engine.close(CLOSE_S)
    return engine


def wait_for(condition: Callable[[], bool]) -> None:
    ticks = threading.Event()
    for _ in range(int(CLOSE_S / 0.01)):
        if condition():
            return
        ticks.wait(0.01)
    raise AssertionError("it never came")
