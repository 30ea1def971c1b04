"""Where the blocks of a model go by this project's choice, and by other rules to compare with."""

from __future__ import annotations

from collections.abc import Sequence

from sdv2_host.bench.multi_devices import BAND_SHARES
from sdv2_host.stages.choice import ENOUGH_BYTES, Choice, Device, Need, choose_route, work_of
from sdv2_host.stages.partition import Partition
from sdv2_host.stages.work import UNCOUNTED, DeviceTimes, Route, Work

UNLIMITED = "memory is not counted here"


def chosen(
    devices: list[DeviceTimes],
    num_steps: int,
    route: Route,
    shares: Sequence[float] = BAND_SHARES,
) -> tuple[Work, Choice]:
    """As the product would choose it, with as many decoders as pay; see `choose_route`."""
    known = [Device(str(index), times, ENOUGH_BYTES) for index, times in enumerate(devices)]
    need = Need(0, UNCOUNTED, num_steps)
    choice = choose_route(known, num_steps, need, lambda: UNLIMITED, route, shares)
    return work_of(known, num_steps, route, need, choice.split), choice


def num_blocks_of(work: Work, items: range) -> int:
    """How many different blocks of the model these items run."""
    return len({work.block_of(item) for item in items} - {None})


def even_split(work: Work) -> Partition:
    """Equally many blocks for each device, the first of them more where it does not divide."""
    num_devices = work.num_devices
    counts = [
        work.num_blocks // num_devices + (place < work.num_blocks % num_devices)
        for place in range(num_devices)
    ]
    return _with_blocks(work, counts)


def reference_split(work: Work) -> Partition:
    """One round of the reference's rule from an even split: the time that a device is over the
    mean, in blocks of the mean time, goes to the others; each keeps one at least.

    Source: streamv2v/communication/utils.py, compute_balanced_split.
    """
    even = even_split(work)
    counts = [num_blocks_of(work, even.items_of(place)) for place in range(work.num_devices)]
    total_ms = even.stage_ms(work)
    blocks_ms = [
        sum(
            work.cost_ms[device][item]
            for item in even.items_of(place)
            if work.block_of(item) is not None
        )
        for place, device in enumerate(even.order)
    ]
    one_ms, mean_ms = sum(blocks_ms) / work.num_blocks, sum(total_ms) / len(total_ms)
    counts = [
        max(1, round(count + (mean_ms - ms) / one_ms))
        for count, ms in zip(counts, total_ms, strict=True)
    ]
    while sum(counts) != work.num_blocks:
        if sum(counts) < work.num_blocks:
            counts[counts.index(min(counts))] += 1
        else:
            counts[counts.index(max(counts))] -= 1
    return _with_blocks(work, counts)


def _with_blocks(work: Work, counts: list[int]) -> Partition:
    """So many blocks for each device in turn; the first encodes, the last decodes."""
    cuts = [0]
    for count in counts:
        cuts.append(cuts[-1] + count)
    cuts = [0, *(cut + 1 for cut in cuts[1:-1]), work.num_items]
    return Partition(tuple(range(work.num_devices)), tuple(cuts))
