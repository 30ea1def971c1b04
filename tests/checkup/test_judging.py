"""What a soundcheck makes of its measures; the page; the plots."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdv2_host.checkup.charts import (
    HEIGHT,
    MAX_POINTS,
    WIDE,
    Chart,
    Series,
    draw,
    nice_top,
    thinned,
    time_ticks,
)
from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.checkup.judging import Judgement, Readiness, judge
from sdv2_host.checkup.measures import Event, Measures, OutputLog
from sdv2_host.checkup.verdict_page import Facts, charts_of, verdict_page
from tests.checkup.shows import FPS, sample, show, steady

START = "sdv2-host run --name stage1"
CARD = Subject("Graphics card and engine", "card 0")


def judged(measures: Measures | None, *findings: Finding) -> Judgement:
    return judge(measures, findings, START)


def test_a_show_in_which_all_went_well_is_ready_and_says_how_to_start_it() -> None:
    judgement = judged(show())

    assert judgement.readiness is Readiness.READY
    assert judgement.sentences[0] == (
        "Engine tiny at 256x256 styled 30.0 of 30 pictures a second for 100 seconds, each 200 ms "
        "after the camera, 99 % within 200 ms."
    )
    assert judgement.sentences[2] == f"Start the show with: {START}"


def with_pause(seconds: float) -> OutputLog:
    log = OutputLog()
    for number in range(3000):
        log.add(number / FPS + (seconds if number >= 1500 else 0.0), 200.0)
    return log


def growing() -> OutputLog:
    log = OutputLog()
    for number in range(3000):
        log.add(number / FPS, 200.0 + number / 10)
    return log


LEAK = [sample(float(at), host_mib=500.0 + 3 * at) for at in range(100)]
PANIC_REFUSED = Event(60.0, "panic", "no such action", True)
FADER_REFUSED = Event(60.0, "a fader", "noise_s_max = 2", True)

BAD_SHOWS = {
    "half of the pictures": (
        show(steady(100, fresh_every=2)),
        Readiness.CARE,
        "50% of the camera's",
    ),
    "a third": (show(steady(100, fresh_every=3)), Readiness.NOT_READY, "33% of the camera's"),
    "a short pause": (show(with_pause(0.3)), Readiness.CARE, "stood still once, longest 333 ms"),
    "a long pause": (show(with_pause(2.0)), Readiness.NOT_READY, "longest 2033 ms"),
    "late": (show(steady(100, latency_ms=700)), Readiness.CARE, "700 ms after the camera"),
    "later and later": (show(growing()), Readiness.CARE, "latency grew"),
    "a death": (
        show(samples=[sample(0.0), sample(100.0, restarts=1)]),
        Readiness.NOT_READY,
        "the engine died once",
    ),
    "a leak": (show(samples=LEAK), Readiness.CARE, "memory grew by"),
    "heat": (show(samples=[sample(0.0), sample(9.0, celsius=91.0)]), Readiness.CARE, "91 °C"),
    "cut short": (show(ended="the host ended"), Readiness.NOT_READY, "the show stopped after"),
    "panic refused": (show(events=[PANIC_REFUSED]), Readiness.NOT_READY, "panic was not done"),
    "fader refused": (show(events=[FADER_REFUSED]), Readiness.CARE, "a fader was not done"),
}


@pytest.mark.parametrize(("measures", "readiness", "said"), BAD_SHOWS.values(), ids=BAD_SHOWS)
def test_one_thing_that_goes_wrong_is_the_reason_given(
    measures: Measures, readiness: Readiness, said: str
) -> None:
    judgement = judged(measures)

    assert judgement.readiness is readiness
    assert len(judgement.objections) == 1
    assert said in judgement.sentences[1]
    assert judgement.sentences[2].startswith("To do: ")


def test_a_slow_output_that_was_asked_for_is_no_fault() -> None:
    log = OutputLog()
    for number in range(1000):
        log.add(number / 10, 200.0)

    assert judged(show(log, output_fps=10)).readiness is Readiness.READY
    assert judged(show(log)).readiness is Readiness.NOT_READY


def test_the_bottleneck_is_named_where_the_show_is_slow() -> None:
    slow = show(
        steady(100, fresh_every=2),
        limits_rate="denoise",
        says="denoise takes 150 of 200 ms from capture to output",
    )

    assert "15.0 of 30 a second; denoise limits the rate" in judged(slow).sentences[1]
    assert f"<p>{slow.says}.</p>" in verdict_page(judged(slow), slow, [], FACTS)


def test_a_pause_is_told_by_what_was_played_at_that_moment() -> None:
    measures = show(with_pause(2.0), events=[Event(48.0, "preset 'Film Noir'")])

    assert "2033 ms, after preset 'Film Noir'." in judged(measures).sentences[1]


def test_the_doctors_findings_count_and_the_worst_stands_first() -> None:
    warm, gone = CARD.warning("warm", "slow", "air"), CARD.trouble("gone", "no picture", "buy one")

    assert judged(show(), CARD.ok("fine")).readiness is Readiness.READY
    assert judged(show(), warm).readiness is Readiness.CARE
    judgement = judged(show(), warm, gone)
    assert judgement.readiness is Readiness.NOT_READY
    assert judgement.sentences[1] == "But: card 0: gone. (1 more below.)"
    assert judgement.sentences[2] == "To do: buy one."


def test_no_picture_at_all_is_not_ready() -> None:
    judgement = judged(None, CARD.trouble("the host ended", "no show", "read the log"))

    assert judgement.readiness is Readiness.NOT_READY
    assert judgement.sentences[0] == "No picture was ever styled."


def test_what_the_soundcheck_itself_halted_is_not_held_against_the_show() -> None:
    log = OutputLog()
    for number in range(3000):
        at_s = number / FPS
        log.add(at_s, None if 50 <= at_s < 60 else 200.0)
    halted = show(log, events=[Event(50.0, "engine stopped", halted_s=10.0)])

    assert judged(halted).readiness is Readiness.READY
    assert halted.fresh_fps == pytest.approx(FPS)
    assert judged(show(log)).readiness is Readiness.READY  # 90 % of the pictures
    assert show(log).fresh_fps == pytest.approx(0.9 * FPS)


def test_latency_is_the_percentile_of_the_fresh_frames_alone() -> None:
    log = OutputLog()
    values = np.random.default_rng(0).uniform(100, 300, 500)
    for number, value in enumerate(values):
        log.add(number / FPS, float(value))
        log.add(number / FPS + 0.01, None)

    assert show(log).latency.p95 == pytest.approx(np.percentile(values, 95), abs=0.06)


def test_a_start_that_settles_is_no_leak() -> None:
    settling = [sample(float(at), host_mib=min(500.0, 100.0 + 40 * at)) for at in range(100)]

    assert show(samples=settling).memory_growth_mib == 0.0


def parsed(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(draw(chart))


@given(
    st.lists(st.one_of(st.floats(0, 1e6), st.just(math.nan)), max_size=2000),
    st.floats(0.1, 1e5),
)
@example([5e-324], 1.0)
def test_every_plot_stays_inside_its_frame(values: list[float], seconds: float) -> None:
    times = [seconds * index / max(1, len(values)) for index in range(len(values))]

    drawn = parsed(Chart("t", "ms", [Series("s", times, values, "a")], seconds, [0.0], most=500.0))

    numbers = [
        float(number)
        for path in drawn.iter("path")
        for number in re.findall(r"[\d.]+", path.attrib["d"])
    ]
    assert all(0 <= x <= WIDE for x in numbers[::2])
    assert all(0 <= y <= HEIGHT for y in numbers[1::2])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=5000))
def test_a_thinned_line_keeps_its_highest_point(values: list[float]) -> None:
    times = [float(index) for index in range(len(values))]

    points = thinned(times, values)

    assert max(value for _, value in points) == max(values)
    assert len(points) <= 2 * MAX_POINTS
    assert all(values[int(time_s)] == value for time_s, value in points)


@given(st.floats(1e-3, 1e9))
def test_the_scale_has_room_and_not_too_much(largest: float) -> None:
    assert largest <= nice_top(largest) * (1 + 1e-9)
    assert nice_top(largest) <= 1.5 * largest * (1 + 1e-9)


@pytest.mark.parametrize("seconds", [3.0, 36.0, 300.0, 7200.0, 86400.0])
def test_the_axis_has_a_few_round_times(seconds: float) -> None:
    ticks = time_ticks(seconds)

    assert ticks[0] == 0.0
    assert len(ticks) <= 7
    assert ticks[-1] <= seconds


def test_a_hole_in_the_values_is_a_hole_in_the_line() -> None:
    values = [1.0, 2.0, math.nan, 3.0, 4.0]

    drawn = parsed(Chart("t", "ms", [Series("s", [0.0, 1, 2, 3, 4], values, "a")], 5.0))

    assert len(list(drawn.iter("path"))) == 2


FACTS = Facts("today", "sdv2-host soundcheck", {"cpu": "EPYC <3>"})


@pytest.mark.parametrize("measures", [show(), None], ids=["a show", "no picture"])
def test_the_page_is_one_file_that_loads_nothing(measures: Measures | None) -> None:
    page = verdict_page(
        judged(measures, CARD.warning("hot & bright", "", "air")), measures, [], FACTS
    )

    assert "READY" in page
    assert "hot &amp; bright" in page
    assert "EPYC &lt;3&gt;" in page
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)


def test_the_page_shows_a_card_only_where_there_is_one() -> None:
    without = charts_of(show(), [])
    hot = charts_of(show(samples=[sample(0.0, celsius=60.0, gpu_mib=8000.0), sample(1.0)]), [])

    assert [chart.title for chart in hot][: len(without)] == [chart.title for chart in without]
    assert [chart.title for chart in hot][len(without) :] == [
        "Memory of the graphics card",
        "Heat of the graphics card",
    ]


def test_a_name_from_outside_cannot_become_markup() -> None:
    evil = Event(1.0, "<img src=x>", "<script>alert(1)</script>", True)

    page = verdict_page(judged(show(events=[evil])), show(events=[evil]), [], FACTS)

    assert "<img" not in page
    assert "<script" not in page
