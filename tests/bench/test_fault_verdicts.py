from __future__ import annotations

from dataclasses import replace

from sdv2_host.bench.fault_kinds import BY_NAME
from sdv2_host.bench.fault_measure import Outcome
from sdv2_host.bench.fault_stage import Belongings
from sdv2_host.bench.fault_verdicts import POOL_THREADS, Round, Shown, growth, summary, verdicts

GOOD = Round(0, Outcome(1.2, 40.0, 50.0, 900.0, 12, 0), False, None, 1.0, "")
SHOW = Shown([GOOD, GOOD], {}, [], [], "tiny", "tiny")
KILL = BY_NAME["kill"]


def round_with(**changes: float | None) -> Round:
    return replace(GOOD, seen=replace(GOOD.seen, **changes))  # type: ignore[arg-type]


def test_a_show_that_recovers_in_time_has_nothing_said_of_it() -> None:
    assert verdicts(KILL, 2, SHOW) == []


def test_each_broken_promise_is_named() -> None:
    bad = [round_with(gap_intervals=2.01), round_with(num_wrong=3), round_with(recovered_ms=None)]
    shown = Shown(bad, {"files": 2}, ["segment lfr.0"], [], "passthrough", "tiny")

    assert verdicts(KILL, 20, shown) == [
        "round 3 of 20 never recovered",
        "gap over 2 intervals in 1 rounds",
        "3 fresh pictures out of order or doubled",
        "2 more files in the host",
        "left: segment lfr.0",
        "engine passthrough is in use, not tiny",
    ]


def test_of_a_host_that_is_gone_its_end_is_told_and_no_engine() -> None:
    shown = replace(SHOW, engine="", gone="The host has ended: killed by SIGKILL.")

    assert verdicts(KILL, 2, shown) == ["the host is gone: The host has ended: killed by SIGKILL."]


def test_a_host_that_is_gone_keeps_no_cadence() -> None:
    shown = replace(SHOW, rounds=[round_with(gap_intervals=90.0)])

    assert verdicts(BY_NAME["daemon"], 1, shown) == []


def test_who_has_to_do_something_must_be_told() -> None:
    disk = BY_NAME["disk-full"]
    told = replace(SHOW, said=["WARNING cannot write x: No space left on device; check the disk"])

    assert verdicts(disk, 2, SHOW) == ["nobody was told: No space left on device"]
    assert verdicts(disk, 2, told) == []


def test_a_reader_that_comes_later_must_find_a_picture() -> None:
    lost = replace(GOOD, wants_newcomer=True)
    found = replace(lost, newcomer_ms=400.0)

    assert verdicts(BY_NAME["ring-out"], 1, replace(SHOW, rounds=[lost])) == [
        "a reader that comes now finds no picture"
    ]
    assert verdicts(BY_NAME["ring-out"], 1, replace(SHOW, rounds=[found])) == []


def test_growth_is_all_but_the_threads_of_a_pool_that_fills_once() -> None:
    before = Belongings(10, 5, 2, 3)

    assert growth(before, Belongings(10, 5 + POOL_THREADS, 1, 3)) == {}
    assert growth(before, Belongings(12, 6 + POOL_THREADS, 2, 4)) == {
        "files": 2,
        "threads": 1 + POOL_THREADS,
        "segments": 1,
    }


def test_the_summary_has_median_and_worst_of_those_that_are_known() -> None:
    rounds = [round_with(held_ms=None), round_with(held_ms=20.0), round_with(held_ms=60.0)]

    told = summary(replace(SHOW, rounds=rounds))

    assert told["held_ms"] == {"median": 40.0, "worst": 60.0}
    assert told["recovered"] == 3
    assert told["newcomer_ms"] is None
