"""The output stage without threads or rings: time goes on by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.host.output_mix import OutputMix
from sdv2_host.host.playout import Playout
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Size

BEGIN_NS = NS_PER_S


class Output(NamedTuple):
    at_ns: int
    frame: Frame
    """The styled one behind the picture."""
    is_fresh: bool
    answered: int
    """Number of the frame that this is the turn of."""
    picture: NDArray[np.uint8]
    params: Params
    safe_level: float
    is_lockstep: bool
    """It is the turn of a lock-step frame, or that frame once more."""


@dataclass
class OneClockOutput:
    """Does what `Presenter._turn` does, once a millisecond."""

    playout: Playout
    mix: OutputMix = field(default_factory=lambda: OutputMix(Params()))
    now_ns: int = BEGIN_NS
    due_ns: int = 0
    num_offered: int = 0
    lockstep: list[int] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    def play(self, params: Params) -> None:
        self.mix.play(params, self.now_ns)
        self.playout.freeze(params.freeze)

    def offer(self, size: Size, ahead_ms: int) -> None:
        """A styled frame and, where it is wanted, the input it was made from."""
        number = self.num_offered = self.num_offered + 1
        if self.mix.needs_dry(self.now_ns):
            source = FrameMeta(*size, frame=number)
            self.mix.offer(Frame(source, dry_picture(size)), size, self.now_ns)
        self.due_ns = max(self.due_ns + 1, self.now_ns + ahead_ms * NS_PER_MS)
        meta = FrameMeta(*size, source_frame=number, present_ts_ns=self.due_ns)
        self.playout.offer(Frame(meta, styled_picture(size)))

    def answer(self, size: Size) -> None:
        """A lock-step frame."""
        number = self.num_offered = self.num_offered + 1
        self.lockstep.append(number)
        meta = FrameMeta(*size, source_frame=number, flags=FrameFlags.LOCKSTEP)
        self.playout.offer(Frame(meta, styled_picture(size)))

    def run(self, for_ms: int) -> None:
        for _ in range(for_ms):
            while self._turn() and self.playout.next_lockstep is not None:
                pass
            self.now_ns += NS_PER_MS

    def _turn(self) -> bool:
        shown = self.playout.decide(self.now_ns)
        if shown is None:
            return False
        picture = self.mix.compose(shown.frame, self.now_ns)
        level = self.mix.safe_level(self.now_ns)
        turn = shown.turn_of or shown.frame.meta
        output = Output(
            self.now_ns,
            shown.frame,
            shown.is_fresh,
            turn.source_frame,
            picture,
            self.mix.params,
            level,
            FrameFlags.LOCKSTEP in turn.flags,
        )
        self.outputs.append(output)
        return True


STYLED, DRY = 200, 60


def styled_picture(size: Size) -> NDArray[np.uint8]:
    return opaque(size, STYLED)


def dry_picture(size: Size) -> NDArray[np.uint8]:
    return opaque(size, DRY)


def opaque(size: Size, level: int) -> NDArray[np.uint8]:
    picture = np.full((size.height, size.width, 4), level, np.uint8)
    picture[..., 3] = 255
    return picture
