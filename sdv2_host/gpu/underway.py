"""Underway: chunks that lanes were given and whose pictures are not out yet, oldest first."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import NamedTuple

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.gpu.chunk_work import ChunkWork, Finished, Made
from sdv2_host.gpu.lanes import Lanes
from sdv2_host.gpu.overlap import BUSY_LANES, Pace
from sdv2_host.params import Params
from sdv2_host.types import Frame, Layout


class _Given(NamedTuple):
    made: Future[Made]
    given_ns: int


class Underway:
    """Used by the engine's thread.

    Fields: the lanes; the chunks; of the newest that is out, when that was, how long it was on its
    way, and how much of that another was too.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._given: deque[_Given] = deque()
        self._previous_done_ns = 0
        self._life_ms = 0.0
        self._shared_ms = 0.0

    def give(
        self, work: ChunkWork, frames: list[Frame], params: Params, layout: Layout | None
    ) -> None:
        """A chunk is on its way."""
        begun_ns = now_ns()
        made = self._lanes.give(
            lambda: work.begin(frames, params, layout), work.denoise, work.decode
        )
        self._given.append(_Given(made, begun_ns))

    def give_rest(self, work: ChunkWork) -> None:
        """What the batch still owes is on its way."""
        begun_ns = now_ns()
        made = self._lanes.give(lambda: None, lambda _: work.drain(), work.decode_drained)
        self._given.append(_Given(made, begun_ns))

    def take(self, most_behind: int) -> list[Finished]:
        """Chunks that are done, oldest first; waits while more than `most_behind` are not.

        Raises:
            Exception: what a part raised, once all chunks before it were taken; then nothing is
                under way.
        """
        finished: list[Finished] = []
        while self._given:
            made, given_ns = self._given[0]
            if len(self._given) <= most_behind and not _is_done(made):
                break
            if finished and made.done() and made.exception() is not None:
                break
            try:
                one = made.result().finished()
            except BaseException:
                if finished:
                    break
                self.drop()
                raise
            self._given.popleft()
            self._observe(given_ns, now_ns())
            finished.append(one)
        return finished

    def _observe(self, given_ns: int, done_ns: int) -> None:
        before_ns = max(0, self._previous_done_ns - given_ns)
        after_ns = done_ns - self._given[0].given_ns if self._given else 0
        self._life_ms = (done_ns - given_ns) / NS_PER_MS
        self._shared_ms = min(self._life_ms, (before_ns + after_ns) / NS_PER_MS)
        self._previous_done_ns = done_ns

    def interval_ms(self, pace: Pace) -> float:
        """What the newest chunk that is out took of the time of lanes that always have work.

        While it shared them, as many chunks went on at once as there can be; while it was alone,
        the work of one went on, which takes `pace` as long.
        """
        alone_ms = self._life_ms - self._shared_ms
        return self._shared_ms / BUSY_LANES + alone_ms * pace.interval_ms / pace.alone_ms

    def drop(self) -> None:
        """Nothing is under way, and nobody gets what was."""
        self._lanes.drop()
        self._given.clear()


def _is_done(made: Future[Made]) -> bool:
    return made.done() and (made.exception() is not None or made.result().is_done)
