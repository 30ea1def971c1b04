"""What a fault did to a show, from what a viewer saw. Pure: no clock, no process."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sdv2_host.bench.fault_viewer import Sight
from sdv2_host.clock import NS_PER_MS, NS_PER_S

MAX_LAG_NS = NS_PER_S
"""Between publication and sight: more is no time that the host has written."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """When a fault was there, in ns of `clock.now_ns`."""

    injected_ns: int
    healed_ns: int
    """From here on the show can be whole again: the same, where nothing has to be healed."""
    end_ns: int
    """What comes later is not looked at."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one occurrence. None = there was none in the time."""

    gap_intervals: float
    """Longest time between two publications, fresh or held, in intervals of the output."""
    fresh_gap_ms: float
    """Longest time between two fresh pictures."""
    held_ms: float | None
    """From the fault to the first publication of a held picture."""
    recovered_ms: float | None
    """From the healing to the first picture of what the source sent after it."""
    num_lost: int
    """Frames of the source from the last picture before to the first after that have none."""
    num_wrong: int
    """Fresh pictures of a frame that is not newer than the one before."""


def is_recovery(sight: Sight, healed_ns: int) -> bool:
    """Whether this is a styled picture of something that was sent after the healing."""
    return sight.is_fresh and not sight.is_blank and healed_ns <= sight.source_ns < sight.publish_ns


def trusted(sights: Sequence[Sight]) -> list[Sight]:
    """Without what nobody can have published at that time: forged by somebody else's writing."""
    return [one for one in sights if 0 <= one.seen_ns - one.publish_ns < MAX_LAG_NS]


def outcome(sights: Sequence[Sight], when: Occurrence, interval_ns: int) -> Outcome:
    """What became of the show. `sights` are in the order in which they were seen."""
    before = [one for one in sights if one.publish_ns < when.injected_ns]
    during = [one for one in sights if when.injected_ns <= one.publish_ns <= when.end_ns]
    shown = [*before[-1:], *during]
    fresh = [one for one in before if one.is_fresh][-1:] + [one for one in during if one.is_fresh]
    gaps = [b.publish_ns - a.publish_ns for a, b in itertools.pairwise(shown) if _follows(a, b)]
    fresh_gaps = [b.publish_ns - a.publish_ns for a, b in itertools.pairwise(fresh)]
    back = next((one for one in during if is_recovery(one, when.healed_ns)), None)
    until_ns = back.publish_ns if back is not None else when.end_ns
    held = next((one for one in during if not one.is_fresh and one.publish_ns < until_ns), None)
    pairs = list(itertools.pairwise(one for one in fresh if one.publish_ns <= until_ns))
    return Outcome(
        gap_intervals=max(gaps, default=0) / interval_ns,
        fresh_gap_ms=max(fresh_gaps, default=0) / NS_PER_MS,
        held_ms=_ms(held.publish_ns - when.injected_ns) if held is not None else None,
        recovered_ms=_ms(back.publish_ns - when.healed_ns) if back is not None else None,
        num_lost=sum(_left_out(a, b) for a, b in pairs),
        num_wrong=sum(b.source_ns <= a.source_ns for a, b in itertools.pairwise(fresh)),
    )


def longest_pause(pauses: Sequence[tuple[int, int]], when: Occurrence, interval_ns: int) -> float:
    """Of a metronome meanwhile, in intervals: what a process that does nothing had to wait."""
    spans = [end - begin for begin, end in pauses if when.injected_ns <= end <= when.end_ns]
    return max(spans, default=interval_ns) / interval_ns


def num_missed(sights: Sequence[Sight]) -> int:
    """Publications that the viewer itself did not see."""
    pairs = itertools.pairwise(sights)
    return sum(max(0, b.frame - a.frame - 1) for a, b in pairs if b.frame > a.frame)


def _follows(before: Sight, after: Sight) -> bool:
    """Nothing was published between the two: of what the viewer missed it cannot tell."""
    return after.frame == before.frame + 1


def _left_out(before: Sight, after: Sight) -> int:
    """Frames of the source between the two. One that begins at 1 again is another source."""
    if after.source_frame <= before.source_frame:
        return max(0, after.source_frame - 1)
    return after.source_frame - before.source_frame - 1


def _ms(span_ns: int) -> float:
    return span_ns / NS_PER_MS
