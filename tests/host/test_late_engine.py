"""Pictures of an engine that goes on between two steps are shown when they are done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdv2_host.params import Params
from sdv2_host.types import Frame, Layout, StyledChunk
from tests.host.one_turn_worker import number_in, one_turn_worker
from tests.naive_engine import NaiveEngine, styled


@dataclass
class LateEngine(NaiveEngine):
    """Never returns in a step what it was given in it."""

    done: list[NDArray[np.uint8]] = field(default_factory=list)

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        before = self.collect()
        self.done = list(super().step(frames, params, layout).frames)
        return before

    def collect(self) -> StyledChunk:
        done, self.done = self.done, []
        return styled(done)


def test_pictures_do_not_wait_for_the_next_frames(tmp_path: Path) -> None:
    with one_turn_worker(tmp_path, Layout.SERIAL) as worker:
        worker.engine = LateEngine()
        worker.send(1)
        worker.turn()
        assert worker.shown == []

        worker.turn()
        assert [number_in(frame) for frame in worker.shown] == [1]

        worker.send(4)
        worker.turn()
        worker.turn()
        assert [number_in(frame) for frame in worker.shown] == [1, 2, 3, 4, 5]


def test_pictures_that_are_done_come_before_those_of_the_next_frames(tmp_path: Path) -> None:
    with one_turn_worker(tmp_path, Layout.SERIAL) as worker:
        worker.engine = LateEngine()
        worker.send(1)
        for _ in range(5):
            worker.turn()
            worker.send(4)
        worker.turn()
        worker.turn()

        assert [number_in(frame) for frame in worker.shown] == [*range(1, 22)]
