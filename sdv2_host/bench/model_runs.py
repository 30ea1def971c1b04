"""An engine is played as the host plays it, through `Engine` alone, and timed by its pictures.

Pictures may come with the step that was given their frames, with a later one, or in between by
`collect`. So a chunk's time is that between the last pictures of two neighbouring chunks, and the
latency of a frame is that from its arrival to its picture.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns, sleep_until_ns
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, StyledChunk

NUM_SESSIONS, FEWEST_SESSIONS, SESSIONS_S = 5, 2, 10.0
"""Of first pictures; fewer than the first number when they take longer than so many seconds."""
NUM_FILLING = 6
"""Chunks before any that is timed: they fill the cache, and lanes of an engine that has some."""
COLLECT_EVERY_S = 0.001


@dataclass(frozen=True, slots=True)
class Given:
    """What an engine is played with, over and over."""

    clip: Sequence[Frame]
    """Its end goes on at its beginning."""
    params: Params

    def frames(self, first: int, count: int) -> list[Frame]:
        return [self.clip[(first + index) % len(self.clip)] for index in range(count)]


@dataclass(slots=True)
class FreeRun:
    """As fast as the engine goes, with a full cache."""

    chunk_ms: list[float] = field(default_factory=list)
    """From a chunk's last picture to the next one's."""
    step_ms: list[float] = field(default_factory=list)
    """That the caller of `step` was held up."""
    spans_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    num_frames: int = 0


@dataclass(slots=True)
class PacedRun:
    """With frames that arrive at a rate, the newest of which are taken."""

    latency_ms: list[float] = field(default_factory=list)
    """Of every picture, from when its frame arrived."""
    num_dropped: int = 0


def first_pictures_ms(engine: Engine, given: Given) -> list[float]:
    """Of some sessions, from the first frame given to the first picture. The engine is warm."""
    times_ms: list[float] = []
    while len(times_ms) < FEWEST_SESSIONS or (
        len(times_ms) < NUM_SESSIONS and sum(times_ms) < SESSIONS_S * 1000
    ):
        engine.reset()
        begin_ns = now_ns()
        styled = engine.step(given.frames(0, engine.first_chunk_frames), given.params)
        if not len(styled.frames):
            styled = engine.finish()
        times_ms.append((now_ns() - begin_ns) / NS_PER_MS)
        assert len(styled.frames), "an engine that has finished owes nothing"
    return times_ms


class Session:
    """A stream from its beginning. Fields: per session."""

    def __init__(self, engine: Engine, given: Given) -> None:
        self.engine = engine
        self.given = given
        self._num_given = 0
        engine.reset()

    @classmethod
    def filled(cls, engine: Engine, given: Given) -> Session:
        """One that is under way: its cache is full."""
        session = cls(engine, given)
        for _ in range(1 + NUM_FILLING):
            session.step()
        return session

    @property
    def next_frames(self) -> int:
        """What the next step takes."""
        return self.engine.chunk_frames if self._num_given else self.engine.first_chunk_frames

    def step(self) -> StyledChunk:
        frames = self.given.frames(self._num_given, self.next_frames)
        self._num_given += len(frames)
        return self.engine.step(frames, self.given.params)


def run_freely(session: Session, is_over: Callable[[int, float], bool]) -> FreeRun:
    """On from where the session is, until `is_over`, which is told the number of chunks whose
    pictures came, and seconds."""
    run, chunk_frames = FreeRun(), session.engine.chunk_frames
    begin_ns = last_ns = now_ns()
    while not is_over(len(run.chunk_ms), (last_ns - begin_ns) / NS_PER_S):
        start_ns = now_ns()
        styled = session.step()
        done_ns = now_ns()
        run.step_ms.append((done_ns - start_ns) / NS_PER_MS)
        for name, span_ms in styled.spans_ms.items():
            run.spans_ms[name].append(span_ms)
        run.num_frames += len(styled.frames)
        num_new = run.num_frames // chunk_frames - len(run.chunk_ms)
        # Chunks whose pictures came together share the time since the one before them.
        run.chunk_ms += [(done_ns - last_ns) / NS_PER_MS / max(num_new, 1)] * num_new
        last_ns = done_ns if num_new else last_ns
    run.seconds = (last_ns - begin_ns) / NS_PER_S
    return run


def run_paced(
    engine: Engine, given: Given, input_fps: float, is_over: Callable[[int, float], bool]
) -> PacedRun:
    """Frames arrive at `input_fps` from a new session's beginning on; where the engine is behind,
    the newest are taken and older ones dropped, as the host does."""
    session, run = Session(engine, given), PacedRun()
    owed: deque[int] = deque()
    begin_ns = now_ns()
    gap_ns = NS_PER_S / input_fps

    def shown(styled: StyledChunk) -> None:
        at_ns = now_ns()
        for _ in range(len(styled.frames)):
            run.latency_ms.append((at_ns - owed.popleft()) / NS_PER_MS)

    def wait(until_ns: int) -> None:
        while owed and now_ns() < until_ns:
            shown(engine.collect())
            time.sleep(COLLECT_EVERY_S)
        sleep_until_ns(until_ns)

    next_frame, num_chunks = 0, 0
    while not is_over(num_chunks, (now_ns() - begin_ns) / NS_PER_S):
        count = session.next_frames
        newest = int((now_ns() - begin_ns) / gap_ns)
        first = max(next_frame, newest - count + 1)
        run.num_dropped += first - next_frame
        arrived_ns = [begin_ns + int(frame * gap_ns) for frame in range(first, first + count)]
        wait(arrived_ns[-1])
        owed.extend(arrived_ns)
        shown(session.step())
        next_frame = first + count
        num_chunks += 1
    shown(engine.finish())
    return run
