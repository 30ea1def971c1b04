"""The most frames that any schedule could have shown in time, knowing all that is to come.

Dynamic programming over (when the engine is free, the first frame not used yet), forward in time:
start a chunk of any shape with the oldest frames that will still be in time, now or when the next
frame comes, or with fewer than it has room for. Older frames first is no restriction: the newer
ones stay for later. Of states that meet within a millisecond the better one is kept. Where chunk
after chunk as the frames come already shows all there is, nothing is searched for. Where the model
is simplified it is in the oracle's favour: a batch is full from its first step on and costs nothing
to leave, frames need not be evenly spaced. So no real schedule shows more than a frame or two
beyond it.

One liberty no host would take: of a fast source it shows eight frames of a tenth of a second, then
none for half a second. `most_without_gaps` may not.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.slo_world import World
from sdv2_host.clock import NS_PER_MS
from sdv2_host.types import Shape


class Option(NamedTuple):
    num_frames: int
    step_ms: float
    late_ms: float
    """From the start of its step to the pictures of a chunk."""


class _State(NamedTuple):
    """Better is more."""

    num_shown: int
    minus_free_ms: float
    """When the engine is free."""


def most_in_time(step_ms: Mapping[Shape, float], world: World, bound_ms: float) -> int:
    """Frames whose pictures could have come within `bound_ms` of them, before the world's end."""
    options = _options(step_ms)
    simply = shown_one_by_one(options, world, bound_ms)
    return searched(options, world, bound_ms) if simply is None else simply


def shown_one_by_one(options: list[Option], world: World, bound_ms: float) -> int | None:
    """What the soonest kind of chunk shows, each as soon as it is full; None = perhaps not all."""
    num_frames, work_ms, late_ms = min(options, key=lambda one: one.late_ms)
    if any(one.num_frames % num_frames for one in options):
        return None
    arrivals_ms = [at / NS_PER_MS for at in world.arrivals_ns]
    duration_ms = world.duration_ns / NS_PER_MS
    num_possible = sum(world.end_ms(at, late_ms) <= duration_ms for at in arrivals_ms)
    num_shown, free_ms = 0, 0.0
    while num_shown < num_possible:
        last = min(num_shown + num_frames, num_possible) - 1
        first_ms, last_ms = arrivals_ms[num_shown], arrivals_ms[last]
        start_ms = max(free_ms, last_ms)
        shown_ms = world.end_ms(start_ms, late_ms)
        if shown_ms > min(first_ms + bound_ms, duration_ms):
            return None
        num_shown, free_ms = last + 1, world.end_ms(start_ms, work_ms)
    return num_shown


def searched(options: list[Option], world: World, bound_ms: float) -> int:
    """The same by looking at all schedules."""
    arrivals_ms = [at / NS_PER_MS for at in world.arrivals_ns]
    duration_ms = world.duration_ns / NS_PER_MS
    fastest_ms = min(one.late_ms for one in options) * min(world.slowness)
    best: list[dict[int, _State]] = [{} for _ in range(int(duration_ms) + 1)]
    best[0][0] = _State(0, 0.0)
    most = 0
    for cell in range(len(best)):
        # Frames that nothing can show in time any more make no difference.
        expired = bisect.bisect_left(arrivals_ms, cell + fastest_ms - bound_ms)
        states, best[cell] = _undominated(best[cell], expired), {}
        for first, (num_shown, minus_now) in states:
            now_ms = -minus_now
            num_come = bisect.bisect_right(arrivals_ms, now_ms)
            if num_come < len(arrivals_ms):
                _offer(best, max(arrivals_ms[num_come], cell + 1), first, num_shown)
            for num_frames, work_ms, late_ms in options:
                shown_ms = world.end_ms(now_ms, late_ms)
                begin = max(first, bisect.bisect_left(arrivals_ms, shown_ms - bound_ms))
                after = min(begin + num_frames, num_come)
                if begin < after and shown_ms <= duration_ms:
                    num_now = num_shown + after - begin
                    most = max(most, num_now)
                    _offer(best, world.end_ms(now_ms, work_ms), after, num_now)
    return most


def most_without_gaps(
    step_ms: Mapping[Shape, float], world: World, bound_ms: float, longest_gap: int
) -> int:
    """`most_in_time` of schedules that never skip so many frames of the source that two shown ones
    are further apart than that.

    The same search, slower: which frame was shown last now makes a difference, and which ones a
    chunk takes. Steps end up to a millisecond early.
    """
    options = _options(step_ms)
    arrivals_ms = [at / NS_PER_MS for at in world.arrivals_ns]
    duration_ms = world.duration_ns / NS_PER_MS
    unreached = np.full(len(arrivals_ms) + 1, -1, np.int32)
    best = {0: unreached.copy()}
    best[0][0] = 0
    most = 0
    for cell in range(int(duration_ms)):
        if cell not in best:
            continue
        shown = best.pop(cell)
        firsts = _worth_a_look(shown)
        num_come = bisect.bisect_right(arrivals_ms, cell)
        if num_come < len(arrivals_ms):
            waited = best.setdefault(max(int(arrivals_ms[num_come]), cell + 1), unreached.copy())
            waited[firsts] = np.maximum(waited[firsts], shown[firsts])
        for num_frames, work_ms, late_ms in options:
            shown_ms = world.end_ms(cell, late_ms)
            if shown_ms > duration_ms:
                continue
            expired = bisect.bisect_left(arrivals_ms, shown_ms - bound_ms)
            after = best.setdefault(int(world.end_ms(cell, work_ms)), unreached.copy())
            for first in firsts:
                begin = max(first, expired)
                if begin >= min(first + longest_gap, num_come):
                    continue
                soonest = min(begin + num_frames, num_come)
                latest = min(first + num_frames * longest_gap, num_come)
                num_now = shown[first] + soonest - begin
                # Any frame from the soonest to the latest can be the chunk's last.
                np.maximum(after[soonest : latest + 1], num_now, out=after[soonest : latest + 1])
                most = max(most, int(num_now))
    return most


def _worth_a_look(shown: NDArray[np.int32]) -> list[int]:
    """The reached states but those that another with fewer frames left is as many frames ahead of:
    it can show all that they can from there on, and its last frame is nearer to those."""
    reached = np.flatnonzero(shown >= 0)
    ahead = shown[reached] - reached
    best_later = np.maximum.accumulate(ahead[:0:-1])[::-1]
    kept: list[int] = reached[:-1][ahead[:-1] > best_later].tolist() + reached[-1:].tolist()
    return kept


def _options(step_ms: Mapping[Shape, float]) -> list[Option]:
    """The shapes but those that another of as many frames beats."""
    options = [
        Option(shape.chunk_frames, ms, ms * (1 + shape.late_chunks))
        for shape, ms in step_ms.items()
    ]
    return [one for one in options if not any(_is_better(other, one) for other in options)]


def _is_better(one: Option, other: Option) -> bool:
    return (
        one != other
        and one.num_frames == other.num_frames
        and one.step_ms <= other.step_ms
        and one.late_ms <= other.late_ms
    )


def _offer(best: list[dict[int, _State]], free_ms: float, first: int, num_shown: int) -> None:
    cell = int(free_ms)
    if cell < len(best):
        state = _State(num_shown, -free_ms)
        best[cell][first] = max(state, best[cell].get(first, state))


def _undominated(states: dict[int, _State], expired: int) -> list[tuple[int, _State]]:
    """Without those that have shown no more frames and have fewer left."""
    merged: dict[int, _State] = {}
    for first, state in states.items():
        place = max(first, expired)
        merged[place] = max(state, merged.get(place, state))
    kept: list[tuple[int, _State]] = []
    for first, state in sorted(merged.items()):
        if not kept or state.num_shown > kept[-1][1].num_shown:
            kept.append((first, state))
    return kept
