from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.control.console import Change, Held, Notice
from sdv2_host.control.tempo import Conductor, Tempo
from sdv2_host.param_table import ParamValue
from sdv2_host.status import Percentiles
from tests.control.fake_stage import fake_console

S = NS_PER_S


def test_four_taps_make_the_tempo_and_one_slip_moves_it_little() -> None:
    tempo = Tempo()
    taps = [tempo.tap(at) for at in (0, S // 2, S, 3 * S // 2)]

    assert taps == [None, None, None, pytest.approx(120)]
    tempo = Tempo()
    slip = [tempo.tap(at) for at in (0, S // 2, S, 3 * S // 2 + S // 5, 2 * S, 5 * S // 2)]
    assert slip[-1] == pytest.approx(120)


def test_after_a_pause_taps_begin_anew() -> None:
    tempo = Tempo()
    for at in (0, S, 2 * S, 3 * S):
        tempo.tap(at)

    assert tempo.tap(20 * S) is None


def test_a_tap_moves_the_beat_onto_it() -> None:
    tempo = Tempo(bpm=60.0)

    tempo.tap(10 * S + S // 4)

    assert tempo.next_ns("beat", 10 * S) == 10 * S + S // 4


@given(
    st.floats(20, 300),
    st.integers(1, 16),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.sampled_from(["beat", "bar", "2 bars", "4 bars"]),
)
def test_the_next_boundary_is_the_first_that_is_not_in_the_past(
    bpm: float, beats_per_bar: int, beat0: int, after: int, unit: str
) -> None:
    tempo = Tempo(bpm, beats_per_bar, beat0)
    bars = {"beat": 1.0, "bar": beats_per_bar, "2 bars": 2 * beats_per_bar}
    length = bars.get(unit, 4 * beats_per_bar) * tempo.beat_ns

    due = tempo.next_ns(unit, after)

    assert after <= due <= after + length + 2
    off = (due - beat0) / length
    assert off == pytest.approx(round(off), abs=1e-4)


@given(st.floats(20, 300), st.floats(20, 300), st.integers(0, 10**12))
def test_another_tempo_keeps_the_phase_of_the_beat(bpm: float, other: float, now: int) -> None:
    tempo = Tempo(bpm)
    phase = (now - tempo.beat0_ns) / tempo.beat_ns

    tempo.set(other, 4, now)

    assert (now - tempo.beat0_ns) / tempo.beat_ns == pytest.approx(phase, abs=1e-3, rel=1e-6)


class Camera:
    """Notes when values changed."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, dict[str, ParamValue]]] = []

    def on_change(self, change: Change) -> None:
        if change.values:
            self.changes.append((now_ns(), change.values))

    def on_notice(self, notice: Notice) -> None: ...


def conducted(latency_ms: float, bpm: float, quantize: str):  # type: ignore[no-untyped-def]
    console, stage, _ = fake_console()
    stage.status = replace(stage.status, latency_ms=Percentiles(latency_ms))
    conductor = Conductor(console)
    console.register(conductor.handlers())
    console.set({"bpm": bpm, "quantize": quantize}, "t")
    conductor.follow(console.params)
    console.deferral = conductor
    console.listen(conductor)
    camera = Camera()
    console.listen(camera)
    return console, conductor, camera


def test_a_prompt_is_changed_one_latency_before_the_beat() -> None:
    async def run() -> None:
        console, conductor, camera = conducted(120, 300, "beat")
        asked = now_ns()
        console.set({"prompt": "neon"}, "t")
        assert camera.changes == []
        async with asyncio.timeout(10):
            while not camera.changes:
                await asyncio.sleep(0.001)

        made, values = camera.changes[0]
        assert values == {"prompt": "neon"}
        seen = made + 120 * NS_PER_MS
        late = (seen - conductor.tempo.beat0_ns) % conductor.tempo.beat_ns
        assert late < 60 * NS_PER_MS, "the timer of a busy machine"
        assert made - asked <= conductor.tempo.beat_ns + 60 * NS_PER_MS

    asyncio.run(run())


def test_a_newer_prompt_takes_the_place_of_one_that_waits() -> None:
    async def run() -> None:
        console, _, camera = conducted(0, 300, "bar")
        for prompt in ("one", "two", "three"):
            console.set({"prompt": prompt}, "t")
        async with asyncio.timeout(10):
            while not camera.changes:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.3)

        assert [values for _, values in camera.changes] == [{"prompt": "three"}]

    asyncio.run(run())


def test_both_decks_may_wait_and_change_in_the_order_of_asking() -> None:
    async def run() -> None:
        console, _, camera = conducted(0, 300, "beat")
        console.set({"prompt": "one"}, "t")
        console.set({"prompt_b": "two"}, "t")
        async with asyncio.timeout(10):
            while len(camera.changes) < 2:
                await asyncio.sleep(0.005)

        assert [values for _, values in camera.changes] == [{"prompt": "one"}, {"prompt_b": "two"}]

    asyncio.run(run())


def test_what_waits_goes_with_the_beat_when_the_beat_moves() -> None:
    async def run() -> None:
        console, conductor, _ = conducted(0, 20, "4 bars")
        console.set({"prompt": "neon"}, "t")

        console.set({"bpm": 300}, "t")
        conductor.tempo.beat0_ns = now_ns() - round(16 * conductor.tempo.beat_ns) + S // 20
        console.set({"beats_per_bar": 4, "bpm": 299}, "t")
        async with asyncio.timeout(3):  # 4 bars at 20 per minute are 48 s
            while console.params.prompt != "neon":
                await asyncio.sleep(0.005)

    asyncio.run(run())


def test_what_shows_at_the_output_is_changed_on_the_beat_itself() -> None:
    async def run() -> None:
        _, conductor, _ = conducted(400, 60, "beat")
        conductor._clock = lambda: 10 * S
        conductor.tempo.beat0_ns = 10 * S + S // 10
        through_model = Held("a", "a", lambda: None)

        assert conductor._due_ns(through_model) == 10 * S + S // 10 + S - 400 * NS_PER_MS
        assert conductor._due_ns(through_model._replace(is_output=True)) == 10 * S + S // 10

    asyncio.run(run())


def test_nothing_waits_any_more_at_the_end() -> None:
    async def run() -> None:
        console, conductor, camera = conducted(0, 300, "beat")
        console.set({"prompt": "neon"}, "t")

        conductor.close()
        await asyncio.sleep(0.3)

        assert camera.changes == []

    asyncio.run(run())


def test_what_waits_is_done_when_nobody_wants_to_wait_any_more() -> None:
    async def run() -> None:
        console, _, _ = conducted(0, 20, "4 bars")
        console.set({"prompt": "neon"}, "t")

        console.set({"quantize": "off"}, "t")
        await asyncio.sleep(0.01)

        assert console.params.prompt == "neon"

    asyncio.run(run())


def test_panic_and_other_values_do_not_wait() -> None:
    async def run() -> None:
        console, _, _ = conducted(0, 20, "4 bars")

        console.call("panic", (), "t")
        console.set({"steps": 4}, "t")

        assert (console.params.panicked, console.params.steps) == (True, 4)

    asyncio.run(run())


def test_taps_set_the_parameter() -> None:
    async def run() -> None:
        console, conductor, _ = conducted(0, 60, "off")
        times = iter([0, S // 2, S, 3 * S // 2])
        conductor._clock = lambda: next(times)
        for _ in range(3):
            console.call("tap", (), "t")
        conductor._clock = lambda: 3 * S // 2
        console.call("tap", (), "t")

        assert console.params.bpm == pytest.approx(120)

    asyncio.run(run())
