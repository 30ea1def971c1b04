from __future__ import annotations

import pytest

from sdv2_host.bench.fault_measure import Occurrence, longest_pause, num_missed, outcome, trusted
from sdv2_host.bench.fault_viewer import Sight
from sdv2_host.clock import NS_PER_MS

INTERVAL_MS = 40
LATENCY_MS = 100


def sight(number: int, at_ms: float, source: int, *, is_fresh: bool = True) -> Sight:
    """Source frame n is captured at n intervals."""
    at_ns = round(at_ms * NS_PER_MS)
    source_ns = source * INTERVAL_MS * NS_PER_MS
    return Sight(number, at_ns, at_ns + 1, is_fresh, False, source, source_ns, 64, 64)


def show(sources: list[int]) -> list[Sight]:
    """A publication each interval; a source frame that comes again is held."""
    return [
        sight(
            index + 1,
            LATENCY_MS + INTERVAL_MS * (index + 1),
            source,
            is_fresh=index == 0 or source != sources[index - 1],
        )
        for index, source in enumerate(sources)
    ]


def occurrence(at_ms: float, healed_ms: float, end_ms: float = 10_000) -> Occurrence:
    return Occurrence(*(round(ms * NS_PER_MS) for ms in (at_ms, healed_ms, end_ms)))


def test_a_show_without_a_fault_loses_nothing_and_keeps_its_interval() -> None:
    seen = outcome(show(list(range(1, 50))), occurrence(400, 400), INTERVAL_MS * NS_PER_MS)

    assert (seen.gap_intervals, seen.num_lost, seen.num_wrong, seen.held_ms) == (1.0, 0, 0, None)
    assert seen.recovered_ms == pytest.approx(LATENCY_MS, abs=INTERVAL_MS)


def test_a_held_picture_is_no_gap_and_the_frames_behind_it_are_lost() -> None:
    sources = [*range(1, 11), *[10] * 15, *range(26, 40)]
    fault = occurrence(LATENCY_MS + 10 * INTERVAL_MS + 1, LATENCY_MS + 10 * INTERVAL_MS + 1)

    seen = outcome(show(sources), fault, INTERVAL_MS * NS_PER_MS)

    assert seen.gap_intervals == 1.0
    assert seen.num_lost == 15
    assert seen.held_ms == pytest.approx(INTERVAL_MS - 1)
    assert seen.recovered_ms == pytest.approx(16 * INTERVAL_MS - 1)
    assert seen.fresh_gap_ms == pytest.approx(16 * INTERVAL_MS)


def test_an_output_that_falls_silent_is_a_gap() -> None:
    sights = [sight(n, LATENCY_MS + INTERVAL_MS * n, n) for n in (1, 2, 3)]
    sights += [sight(n, 3 * INTERVAL_MS + LATENCY_MS + INTERVAL_MS * n, n) for n in (4, 5, 6)]

    seen = outcome(sights, occurrence(150, 150), INTERVAL_MS * NS_PER_MS)

    assert seen.gap_intervals == 4.0


def test_what_the_viewer_missed_itself_is_counted_and_is_no_gap_of_the_host() -> None:
    sights = show(list(range(1, 20)))
    del sights[6:9]

    seen = outcome(sights, occurrence(150, 150), INTERVAL_MS * NS_PER_MS)

    assert num_missed(sights) == 3
    assert seen.gap_intervals == 1.0


def test_a_fresh_picture_of_an_older_or_the_same_frame_is_wrong() -> None:
    sights = show([1, 2, 3, 4])
    sights += [sight(5, 400, 4), sight(6, 440, 2), sight(7, 480, 8)]

    seen = outcome(sights, occurrence(100, 100), INTERVAL_MS * NS_PER_MS)

    assert seen.num_wrong == 2


def test_pictures_of_one_colour_are_no_recovery() -> None:
    sights = [one._replace(is_blank=True) for one in show(list(range(1, 20)))]

    assert outcome(sights, occurrence(150, 150), 1).recovered_ms is None


def test_pictures_of_what_was_sent_before_the_healing_are_no_recovery() -> None:
    late = occurrence(150, LATENCY_MS + 18 * INTERVAL_MS, 900)

    assert outcome(show(list(range(1, 20))), late, 1).recovered_ms is None


def test_frames_of_a_new_source_before_its_first_picture_are_lost() -> None:
    sights = show([5, 6, 7])
    newer = sight(4, 900, 3)._replace(source_ns=800 * NS_PER_MS)

    seen = outcome([*sights, newer], occurrence(200, 790), INTERVAL_MS * NS_PER_MS)

    assert (seen.num_lost, seen.num_wrong) == (2, 0)
    assert seen.recovered_ms == pytest.approx(110)


def test_times_that_the_host_cannot_have_written_are_not_believed() -> None:
    true = sight(1, 100, 1)
    forged = [true._replace(publish_ns=true.seen_ns + 5), true._replace(publish_ns=0)]
    long_ago = [one._replace(seen_ns=one.seen_ns + 2 * 10**9) for one in forged]

    assert trusted([true, *long_ago, forged[0]]) == [true]


def test_the_longest_wait_of_a_metronome_meanwhile_counts() -> None:
    pauses = [(0, 90), (100, 180), (190, 250), (300, 900)]

    assert longest_pause(pauses, Occurrence(100, 100, 260), 40) == 2.0
    assert longest_pause([], Occurrence(100, 100, 260), 40) == 1.0
