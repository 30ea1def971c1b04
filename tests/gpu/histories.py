"""What may happen to an engine, as values: histories are drawn, played and compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdv2_host.look_orders import LookOrder
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, FrameMeta, Layout, Size, StyledChunk

SIZE = Size(32, 32)
LOOKS = ("a", "b")
NUM_ORDERS = 4
"""The host sends the newest few with every snapshot of the parameters."""


class Step(NamedTuple):
    params: Params
    num_latents: int = 1
    layout: Layout | None = None
    order: tuple[str, str] | None = None
    """(verb, name) of a look."""


class Finish(NamedTuple):
    """The pictures in flight are asked for."""


class Reset(NamedTuple):
    """A session begins."""


Action = Step | Finish | Reset
ORDERS = st.tuples(st.sampled_from(["save", "recall", "recall", "forget"]), st.sampled_from(LOOKS))
LAYOUTS = st.sampled_from([None, Layout.SERIAL, Layout.BATCH, Layout.BATCH])


def steps(params: st.SearchStrategy[Params]) -> st.SearchStrategy[Step]:
    orders = st.one_of(st.none(), st.none(), ORDERS)
    return st.builds(Step, params, st.integers(1, 3), LAYOUTS, orders)


def runs(step: Step, count: int) -> list[Action]:
    """So many chunks alike; the look's order comes once."""
    return [step, *[step._replace(order=None)] * (count - 1)]


def look_and_back(first: list[Action], second: list[Action], name: str) -> list[Action]:
    """A look is kept, left and recalled."""
    keep, recall = first[0], second[-1]
    assert isinstance(keep, Step)
    assert isinstance(recall, Step)
    save, back = (keep._replace(order=("save", name)), recall._replace(order=("recall", name)))
    return [*first, save, *second, back]


def histories(
    params: st.SearchStrategy[Params], max_runs: int = 6
) -> st.SearchStrategy[list[Action]]:
    """Parameters that stay for some chunks, ends of sessions and of batches in between."""
    one_run = st.builds(runs, steps(params), st.integers(1, 4))
    there_and_back = st.builds(look_and_back, one_run, one_run, st.sampled_from(LOOKS))
    other = st.sampled_from([Finish(), Reset()]).map(lambda action: [action])
    piece = st.one_of(one_run, one_run, there_and_back, other)
    pieces = st.lists(piece, min_size=1, max_size=max_runs)
    return pieces.map(lambda found: [action for piece in found for action in piece])


@dataclass
class Player:
    """Plays actions on an engine with pictures of frames that are numbered from 1."""

    engine: Engine
    num_given: int = 0
    num_before: int = 0
    """Of them, before this session."""
    is_begun: bool = False
    """The session has had its first chunk."""
    is_reference: bool = False
    """Chunks are as StreamDiffusionV2 has them: two latents, then one each, in one layout."""
    orders: list[LookOrder] = field(default_factory=list)

    def play(self, action: Action) -> StyledChunk | None:
        """What came out; None = nothing can."""
        if isinstance(action, Reset):
            self.engine.reset()
            self.is_begun = False
            self.num_before = self.num_given
            return None
        if isinstance(action, Finish):
            return self.engine.finish()
        if action.order is not None:
            serial = self.orders[-1].serial + 1 if self.orders else 1
            self.orders.append(LookOrder(serial=serial, verb=action.order[0], name=action.order[1]))  # type: ignore[arg-type]
        params = action.params.model_copy(update={"looks": tuple(self.orders[-NUM_ORDERS:])})
        if self.is_reference:
            action = action._replace(num_latents=1 if self.is_begun else 2, layout=None)
        return self.engine.step(self._frames(action), params, action.layout)

    def _frames(self, step: Step) -> list[Frame]:
        count = 4 * step.num_latents + (not self.is_begun) * (1 - 4)
        self.is_begun = True
        numbers = range(self.num_given + 1, self.num_given + count + 1)
        self.num_given += count
        return [Frame(FrameMeta(*SIZE), picture_of(number)) for number in numbers]


def picture_of(number: int) -> NDArray[np.uint8]:
    """Flat but for a stripe that wanders, so that something moves; red and green hold `number`."""
    picture = np.zeros((SIZE.height, SIZE.width, 4), np.uint8)
    picture[..., 0], picture[..., 1] = number % 256, number // 256
    picture[number % SIZE.height, :, 2] = 255
    return picture


def played(
    engine: Engine, history: list[Action], *, is_reference: bool = False
) -> list[StyledChunk]:
    """All that came out."""
    player = Player(engine, is_reference=is_reference)
    return [styled for one in history if (styled := player.play(one)) is not None]


def pictures(styled: list[StyledChunk]) -> NDArray[np.uint8]:
    return np.concatenate(
        [np.empty((0, SIZE.height, SIZE.width, 4), np.uint8)] + [one.frames for one in styled]
    )
