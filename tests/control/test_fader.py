from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.blend import Part
from sdv2_host.clock import NS_PER_S
from sdv2_host.control.fader import AT_ONCE, Duration, Fader
from sdv2_host.params import Params, prompts_of

S = NS_PER_S
START = Params(prompt="a", noise_s_max=0.4)


def changed(**values: object) -> Params:
    return START.model_copy(update=values)


def weights(params: Params) -> dict[str, float]:
    return {part.text: pytest.approx(part.weight, abs=1e-6) for part in prompts_of(params)}


def test_a_change_without_time_is_there_at_once() -> None:
    fader = Fader(START)

    fader.go(changed(noise_s_max=0.9), {"noise_s_max": AT_ONCE}, 0, 0)

    assert fader.at(0, 0) == changed(noise_s_max=0.9)
    assert not fader.is_moving


def test_a_number_is_halfway_at_half_time_and_exact_at_the_end() -> None:
    fader = Fader(START)

    fader.go(changed(noise_s_max=0.8), {"noise_s_max": Duration(2)}, 10 * S, 0)

    assert fader.at(11 * S, 0).noise_s_max == pytest.approx(0.6)
    assert fader.at(12 * S, 0) == changed(noise_s_max=0.8)
    assert not fader.is_moving


def test_prompts_fade_as_weights_and_end_as_plain_text() -> None:
    fader = Fader(START)

    fader.go(changed(prompt="b"), {"prompt": Duration(4)}, 0, 0)

    assert weights(fader.at(1 * S, 0)) == {"a": 0.75, "b": 0.25}
    assert fader.at(4 * S, 0) == changed(prompt="b")


def test_a_transition_in_chunks_counts_chunks_and_no_seconds() -> None:
    fader = Fader(START)

    fader.go(changed(prompt="b"), {"prompt": Duration(4, in_chunks=True)}, 0, 10)

    assert weights(fader.at(1000 * S, 11)) == {"a": 0.75, "b": 0.25}
    assert prompts_of(fader.at(1000 * S, 14)) == (Part("b", 1.0),)


def test_a_transition_turned_to_another_prompt_goes_on_from_where_it_stands() -> None:
    fader = Fader(START)
    fader.go(changed(prompt="b"), {"prompt": Duration(2)}, 0, 0)

    fader.go(changed(prompt="c"), {"prompt": Duration(2)}, 1 * S, 0)

    assert weights(fader.at(1 * S, 0)) == {"a": 0.5, "b": 0.5}
    assert weights(fader.at(2 * S, 0)) == {"a": 0.25, "b": 0.25, "c": 0.5}


def test_the_crossfader_moved_by_hand_does_not_cut_a_transition_off() -> None:
    decks = START.model_copy(update={"prompt_b": "x"})
    fader = Fader(decks)
    target = decks.model_copy(update={"prompt": "b"})
    fader.go(target, {"prompt": Duration(2)}, 0, 0)

    fader.go(target.model_copy(update={"crossfade": 0.5}), {"crossfade": AT_ONCE}, 1 * S, 0)

    assert weights(fader.at(1 * S, 0)) == {"a": 0.5, "b": 0.25, "x": 0.25}
    assert weights(fader.at(2 * S, 0)) == {"b": 0.5, "x": 0.5}


def test_what_cannot_fade_changes_at_once() -> None:
    fader = Fader(START)

    fader.go(changed(steps=4), {"steps": Duration(5)}, 0, 0)

    assert fader.at(0, 0).steps == 4


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 3), st.floats(0, 2)), max_size=12)
)
def test_weights_on_air_always_sum_to_one_and_it_always_arrives(
    turns: list[tuple[str, float, float]],
) -> None:
    fader, now = Fader(START), 0
    for text, seconds, wait in turns:
        fader.go(changed(prompt=text), {"prompt": Duration(seconds)}, now, 0)
        now += int(wait * S)
        assert sum(p.weight for p in prompts_of(fader.at(now, 0))) == pytest.approx(1)

    assert fader.at(now + 10 * S, 0) == fader.target
