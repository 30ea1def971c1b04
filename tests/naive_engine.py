"""An engine that says when pictures come and makes none: the oracle of every law about frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.params import Params
from sdv2_host.types import Frame, Layout, ProgressFn, Shape, Size, StyledChunk


@dataclass
class Chunk:
    pictures: list[NDArray[np.uint8]]
    steps_to_go: int


@dataclass
class NaiveEngine:
    """Its pictures are its input, as late as `StreamPipeline.step` promises them.

    A session's first chunk and serial ones are done at once. Others go one step with each chunk
    that comes; another number of steps, another length, the other layout and looks finish all of
    them first.
    """

    layout: Layout = Layout.SERIAL
    step_ms: Mapping[Shape, float] = field(default_factory=dict)
    name: str = "naive"
    size: Size | None = None
    first_chunk_frames: int = 1
    chunk_frames: int = 4
    delay_frames: int = 15
    most_behind: int = 0
    in_flight: list[Chunk] = field(default_factory=list)
    """Oldest first."""
    num_steps: int = 0
    is_begun: bool = False
    newest_order: int = 0
    num_forgotten: int = 0
    """Frames in flight when a session was over."""

    @property
    def num_in_flight(self) -> int:
        """Frames."""
        return sum(len(chunk.pictures) for chunk in self.in_flight)

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        del params, progress

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        chunk = Chunk([to_rgba8(frame) for frame in frames], params.steps)
        is_first, self.is_begun = not self.is_begun, True
        order = params.looks[-1].serial if params.looks else 0
        has_order = order > self.newest_order and not is_first
        self.newest_order = order if has_order else self.newest_order
        is_serial = (layout or self.layout) is Layout.SERIAL
        is_other = self.num_steps != params.steps or any(
            len(one.pictures) != len(frames) for one in self.in_flight
        )
        self.num_steps = params.steps
        done = self._finish() if has_order or is_first or is_serial or is_other else []
        if is_first or is_serial:
            return styled([*done, *chunk.pictures])
        self.in_flight.append(chunk)
        for one in self.in_flight:
            one.steps_to_go -= 1
        while self.in_flight and self.in_flight[0].steps_to_go == 0:
            done += self.in_flight.pop(0).pictures
        return styled(done)

    def collect(self) -> StyledChunk:
        return styled([])

    def finish(self) -> StyledChunk:
        return styled(self._finish())

    def reset(self) -> None:
        self.num_forgotten += self.num_in_flight
        self.in_flight.clear()
        self.is_begun = False
        self.num_steps = 0

    def _finish(self) -> list[NDArray[np.uint8]]:
        done = [picture for chunk in self.in_flight for picture in chunk.pictures]
        self.in_flight.clear()
        return done


def styled(pictures: list[NDArray[np.uint8]]) -> StyledChunk:
    nothing = np.empty((0, 1, 1, 4), np.uint8)
    return StyledChunk(np.stack(pictures) if pictures else nothing, {}, {})
