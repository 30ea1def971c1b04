"""The best contiguous partition of a list of items over devices that differ.

The rate of a pipeline is that of its slowest stage, so the largest stage time is minimised: over
all cuts, and over all orders of the devices, because the ends carry the autoencoder. A device may
get nothing. Memory is a hard limit. Of partitions with equal slowest stages the one with the least
sum of squares is taken: slack is spread, so that a little noise moves nothing.

Source: StreamDiffusionV2, section 4.2 "DiT block scheduler"; the search over orders is by subsets:
within a time limit, the items that a set of devices can take from the front are the most that one
of them can add to what the others can.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sdv2_host.stages.work import Work

PRECISION = 1e-9
"""Relative, of the largest stage time."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Which device runs which items: device order[i] those from cuts[i] to cuts[i + 1]."""

    order: tuple[int, ...]
    cuts: tuple[int, ...]

    def items_of(self, place: int) -> range:
        return range(self.cuts[place], self.cuts[place + 1])

    def stage_ms(self, work: Work) -> list[float]:
        """Time per chunk of each place in the order."""
        return [
            math.fsum(work.cost_ms[device][item] for item in self.items_of(place))
            for place, device in enumerate(self.order)
        ]

    def slowest_ms(self, work: Work) -> float:
        """The time between two chunks, where nothing but the stages takes time."""
        return max(self.stage_ms(work))


def best_partition(work: Work) -> Partition | None:
    """The partition with the least slowest stage over all cuts and orders; None = memory is short.

    Devices that are alike are not tried in each other's place. Up to 8 that all differ take some
    10 ms, each one more twice as long: a ring can be re-formed with it while the picture waits.
    """
    kinds = _kinds(work)
    order = _order_within(work, kinds, math.inf)
    if order is None:
        return None
    low, high = 0.0, _slowest_ms(work, order)
    while high > 0:
        found = _order_within(work, kinds, (low + high) / 2)
        if found is None:
            low = (low + high) / 2
            # Most often there is nothing between: asked at once, that saves the way there.
            found = _order_within(work, kinds, high * (1 - 10 * PRECISION))
        if found is None:
            break
        order, high = found, _slowest_ms(work, found)
    return best_cuts(work, order)


def best_cuts(work: Work, order: Sequence[int]) -> Partition | None:
    """The best partition with the devices in this order; None = memory is short.

    Two passes: the least slowest stage, then, within it, the least sum of squares.
    """
    if not _is_within(work, order, math.inf):
        return None
    return _least_squares(work, order, _slowest_ms(work, order) * (1 + PRECISION))


def _slowest_ms(work: Work, order: Sequence[int]) -> float:
    """The least slowest stage in this order, which memory allows; too large by PRECISION at most.

    Whether a limit can be kept is known by giving each device as much as it can take.
    """
    low, high = 0.0, max(work.upto_ms(device)[-1] for device in order)
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _is_within(work, order, middle) else (middle, high)
    return high


def _is_within(work: Work, order: Sequence[int], limit_ms: float) -> bool:
    """Whether all items fit into stages of `limit_ms` and into memory."""
    end = 0
    for device in order:
        end = _furthest(work, device, work.upto_ms(device), end, limit_ms)
    return end == work.num_items


def _least_squares(work: Work, order: Sequence[int], limit_ms: float) -> Partition:
    """Dynamic programming over places: the least sum of squares within a limit that can be kept."""
    num_items = work.num_items
    value = [0.0 if end == 0 else math.inf for end in range(num_items + 1)]
    begins: list[list[int]] = []
    for device in order:
        upto = work.upto_ms(device)
        after, begin_of = [math.inf] * (num_items + 1), [-1] * (num_items + 1)
        for begin in range(num_items + 1):
            if math.isinf(value[begin]):
                continue
            for end in range(begin, _furthest(work, device, upto, begin, limit_ms) + 1):
                total = value[begin] + (upto[end] - upto[begin]) ** 2
                if total < after[end]:
                    after[end], begin_of[end] = total, begin
        value = after
        begins.append(begin_of)
    assert not math.isinf(value[num_items]), "a limit that can be kept"
    cuts = [num_items]
    for begin_of in reversed(begins):
        cuts.insert(0, begin_of[cuts[0]])
    return Partition(tuple(order), tuple(cuts))


def _order_within(
    work: Work, kinds: Sequence[Sequence[int]], limit_ms: float
) -> tuple[int, ...] | None:
    """An order of the devices in which all items fit into stages of `limit_ms`; None = there is
    none. Sets of devices that have equally many of each kind are one."""
    upto = [work.upto_ms(alike[0]) for alike in kinds]
    everything = tuple(len(alike) for alike in kinds)
    furthest: dict[tuple[int, ...], int] = {}
    last: dict[tuple[int, ...], int] = {}
    for used in itertools.product(*(range(count + 1) for count in everything)):
        furthest[used] = 0
        for kind, alike in enumerate(kinds):
            if not used[kind]:
                continue
            begin = furthest[_without(used, kind)]
            end = _furthest(work, alike[0], upto[kind], begin, limit_ms)
            if end > furthest[used] or used not in last:
                furthest[used], last[used] = end, kind
    if furthest[everything] < work.num_items:
        return None
    order: list[int] = []
    used = everything
    while any(used):
        kind = last[used]
        order.insert(0, kinds[kind][used[kind] - 1])
        used = _without(used, kind)
    return tuple(order)


def _without(used: tuple[int, ...], kind: int) -> tuple[int, ...]:
    return (*used[:kind], used[kind] - 1, *used[kind + 1 :])


def _kinds(work: Work) -> list[list[int]]:
    """Devices that are the same in time and memory, together."""
    found: dict[object, list[int]] = {}
    for device, cost_ms in enumerate(work.cost_ms):
        room = work.room_bytes[device] if work.room_bytes else None
        found.setdefault((cost_ms, room), []).append(device)
    return list(found.values())


def _furthest(work: Work, device: int, upto: Sequence[float], begin: int, limit_ms: float) -> int:
    """One past the last item that the device can take from `begin` on: nothing, it always can."""
    # More items take more time and more memory, so the first that is too much can be searched for.
    end = bisect.bisect_right(upto, upto[begin] + limit_ms, lo=begin) - 1
    if _fits(work, device, begin, end):
        return end
    ends = range(begin + 1, end)
    return begin + bisect.bisect_left(
        ends, True, key=lambda last: not _fits(work, device, begin, last)
    )


def _fits(work: Work, device: int, begin: int, end: int) -> bool:
    return not work.room_bytes or work.bytes_of(begin, end) <= work.room_bytes[device]
