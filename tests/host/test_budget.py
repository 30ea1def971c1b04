from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.host.budget import Rate, Timed, budget_of
from sdv2_host.status import LatencyBudget, StageMs
from sdv2_host.types import FrameBudget

NOT_KNOWN = Rate(0.0, 0.0, {})
SPANS_MS = {"encode": 20.0, "denoise": 57.0, "decode": 15.0}


def picture(captured_ms: float, wait_ms: float, **other_ms: float) -> Timed:
    parts = dict.fromkeys(FrameBudget._fields, 0) | {"wait_us": round(1000 * wait_ms)}
    parts |= {f"{name}_us": round(1000 * ms) for name, ms in other_ms.items()}
    return Timed(round(1000 * captured_ms), FrameBudget(**parts))


def chunk_of_four(begin_ms: float, **other_ms: float) -> list[Timed]:
    """Captured 22 ms apart, the last one as the engine begins."""
    waits_ms = (66.0, 44.0, 22.0, 0.0)
    return [picture(begin_ms - wait, wait, **other_ms) for wait in waits_ms]


PARTS_US = st.tuples(*[st.integers(0, 10**7)] * len(FrameBudget._fields))


@given(st.lists(PARTS_US, min_size=1, max_size=20))
def test_the_means_of_all_parts_add_up_to_the_mean_latency(rows: list[tuple[int, ...]]) -> None:
    pictures = [Timed(0, FrameBudget(*row)) for row in rows]

    stages = budget_of(pictures, NOT_KNOWN).stages_ms

    latency_ms = np.mean([sum(row) for row in rows]) / 1000
    assert sum(stage.mean for stage in stages) == pytest.approx(latency_ms, abs=0.01)
    assert all(stage.p50 <= stage.p95 <= stage.p99 for stage in stages)


def test_percentiles_of_a_part_are_its_own() -> None:
    pictures = [picture(1000.0 * index, index, decode=7) for index in range(101)]

    stages = budget_of(pictures, NOT_KNOWN).stages_ms

    assert stages.wait == StageMs(50.0, 50.0, 95.0, 99.0)
    assert stages.decode == StageMs(7.0, 7.0, 7.0, 7.0)
    assert stages.encode == StageMs()


def test_without_pictures_nothing_is_said() -> None:
    assert budget_of([], Rate(25.0, 30.0, SPANS_MS)) == LatencyBudget()


def test_the_sentence_names_what_takes_most_how_a_chunk_fills_and_what_limits_the_rate() -> None:
    pictures = [
        one
        for index in range(5)
        for one in chunk_of_four(1000.0 + 100 * index, denoise=57, decode=12)
    ]

    budget = budget_of(pictures, Rate(38.0, 40.0, SPANS_MS))

    assert (budget.slowest, budget.limits_rate) == ("denoise", "denoise")
    assert budget.says == (
        "denoise takes 57 of 102 ms from capture to output; "
        "the chunk of 4 frames spans 66 ms of the input; "
        "denoise limits the rate, 57 ms of each chunk"
    )


def test_what_takes_most_of_the_latency_need_not_limit_the_rate() -> None:
    pictures = chunk_of_four(1000.0, publish=90, denoise=20)

    budget = budget_of(pictures, Rate(38.0, 40.0, SPANS_MS))

    assert (budget.slowest, budget.limits_rate) == ("publish", "denoise")


def test_an_engine_that_could_make_more_waits_for_the_input() -> None:
    budget = budget_of(chunk_of_four(1000.0), Rate(24.0, 41.0, SPANS_MS))

    assert budget.limits_rate == "input"
    assert budget.says.endswith(
        "the chunk of 4 frames waits 66 ms to fill; "
        "the input limits the rate: 24.0 frames a second come through, the engine could make 41"
    )


@pytest.mark.parametrize(
    "rate", [Rate(0.0, 41.0, SPANS_MS), Rate(24.0, 0.0, SPANS_MS), Rate(24.0, 24.0, {})]
)
def test_a_rate_that_is_not_known_is_limited_by_nothing(rate: Rate) -> None:
    budget = budget_of([picture(100.0, 3.0)], rate)

    assert budget.limits_rate == ""
    assert budget.says == "wait takes 3 of 3 ms from capture to output"
