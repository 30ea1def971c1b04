"""Parts of chunks in lanes: order, overlap, errors."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial

import pytest
import torch

from sdv2_host.gpu.lanes import Lanes, OneLane, ThreadLanes, threads_of_a_lane

DEADLINE_S = 60.0
PARTS = ("begin", "denoise", "decode")


class Diary:
    """Parts that say what they did, in the order in which they did it."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int]] = []

    def give(self, lanes: Lanes, chunk: int) -> Future[int]:
        def part(name: str, number: int) -> int:
            self.entries.append((name, number))
            return number

        return lanes.give(
            partial(part, "begin", chunk), partial(part, "denoise"), partial(part, "decode")
        )


@pytest.mark.parametrize("make", [OneLane, ThreadLanes])
def test_each_lane_keeps_the_order_and_each_chunk_goes_from_lane_to_lane(make: type[Lanes]) -> None:
    lanes, diary = make(), Diary()

    made = [diary.give(lanes, chunk) for chunk in range(20)]

    assert [one.result(DEADLINE_S) for one in made] == list(range(20))
    for name in PARTS:
        assert [chunk for part, chunk in diary.entries if part == name] == list(range(20))
    for chunk in range(20):
        assert [part for part, other in diary.entries if other == chunk] == list(PARTS)


def test_three_chunks_are_at_work_at_once() -> None:
    lanes = ThreadLanes()
    meet = threading.Barrier(3)

    def wait(is_met: bool) -> None:
        if is_met:
            meet.wait(DEADLINE_S)

    # The first is decoded while the second is denoised and the third begins.
    made = [
        lanes.give(
            partial(wait, chunk == 2),
            lambda _, chunk=chunk: wait(chunk == 1),
            lambda _, chunk=chunk: wait(chunk == 0),
        )
        for chunk in range(3)
    ]

    for one in made:
        one.result(DEADLINE_S)


class PartError(Exception):
    pass


@pytest.mark.parametrize("where", PARTS)
def test_after_a_part_that_raised_no_later_chunk_runs_and_its_error_comes(where: str) -> None:
    lanes, diary = ThreadLanes(), Diary()
    first = diary.give(lanes, 0)

    def part(name: str, *_: object) -> None:
        if name == where:
            raise PartError

    failed = lanes.give(*(partial(part, name) for name in PARTS))
    with pytest.raises(PartError):
        failed.result(DEADLINE_S)
    later = diary.give(lanes, 2)

    assert first.result(DEADLINE_S) == 0
    with pytest.raises(PartError):
        later.result(DEADLINE_S)
    assert 2 not in [chunk for _, chunk in diary.entries]

    lanes.drop()
    assert diary.give(lanes, 3).result(DEADLINE_S) == 3


def test_when_lanes_are_dropped_nothing_runs_any_more() -> None:
    lanes = ThreadLanes()
    may_end = threading.Event()
    ended = []

    def decode(_: object) -> None:
        may_end.wait(DEADLINE_S)
        ended.append(True)

    lanes.give(lambda: None, lambda _: None, decode)
    threading.Timer(0.05, may_end.set).start()
    lanes.drop()

    assert ended == [True]


def test_lanes_share_the_threads_of_the_giver_which_keeps_its_own() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def look(_: object = None) -> None:
        seen.append(torch.get_num_threads())

    try:
        torch.set_num_threads(4)
        lanes = ThreadLanes()
        for count in (4, 1, 8):
            torch.set_num_threads(count)
            lanes.give(look, look, look).result(DEADLINE_S)

            assert torch.get_num_threads() == count
        assert seen == [2, 2, 2, 1, 1, 1, 4, 4, 4]
    finally:
        torch.set_num_threads(before)


def test_threads_end_with_their_lanes() -> None:
    lanes = ThreadLanes()
    lanes.give(lambda: None, lambda _: None, lambda _: None).result(DEADLINE_S)
    threads = [one for pool in lanes._pools for one in pool._threads]

    del lanes

    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_a_lane_has_a_thread_however_few_there_are() -> None:
    assert [threads_of_a_lane(count) for count in (1, 2, 3, 8)] == [1, 1, 1, 4]
