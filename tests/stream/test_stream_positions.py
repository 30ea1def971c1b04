from __future__ import annotations

import pytest

from sdv2_host.stream.cache_plan import CacheGeometry, plan_row
from sdv2_host.stream.positions import PositionMode, key_positions, reset_index

FAR = (1, 1023, 1024, 1025, 99_999, 100_000)


@pytest.mark.parametrize("num_chunks", FAR)
def test_a_full_cache_keeps_its_positions_for_ever(num_chunks: int) -> None:
    geometry = CacheGeometry(num_sinks=2, window=3)

    plan = plan_row(geometry, PositionMode.RELATIVE, 0, num_chunks + 5, 1)

    assert sorted(plan.key_positions) == [0, 1, 2, 3, 4]
    assert plan.key_positions[:2] == (0, 1)
    assert plan.query_positions == (4,)


def test_relative_positions_are_the_true_ones_until_the_cache_is_full() -> None:
    geometry = CacheGeometry(num_sinks=2, window=3)

    for num_written in range(5):
        plan = plan_row(geometry, PositionMode.RELATIVE, 0, num_written, 1)

        assert plan.key_positions == tuple(range(num_written + 1))
        assert plan.query_positions == (num_written,)


def test_older_frames_of_the_window_stand_before_newer_ones() -> None:
    geometry = CacheGeometry(num_sinks=1, window=4)

    for num_written in range(6, 40):
        held = geometry.frames_held(num_written)
        positions = key_positions(held, PositionMode.RELATIVE)

        assert [p for _, p in sorted(zip(held, positions, strict=True))] == [0, 1, 2, 3, 4]


def test_reset_mode_counts_as_the_reference_does() -> None:
    index = 0

    for frame in range(100_000):
        assert reset_index(frame) == index
        index = 5 if index + 1 == 50 else index + 1


def test_reset_mode_stays_in_range_where_the_reference_table_ends() -> None:
    geometry = CacheGeometry(num_sinks=3, window=3)

    plans = [plan_row(geometry, PositionMode.RESET, 0, n, 1) for n in range(900, 1200)]

    assert all(0 <= p < 50 for plan in plans for p in plan.key_positions)
    assert all(plan.key_positions[:3] == (0, 1, 2) for plan in plans)
