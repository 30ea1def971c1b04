from __future__ import annotations

import pytest

from sdv2_host.actions import ACTIONS, check_args
from sdv2_host.control.console import Held
from sdv2_host.control.fader import Duration
from sdv2_host.errors import ParamError
from tests.control.fake_stage import fake_console


def test_values_by_name_and_address_are_one_change() -> None:
    console, stage, witness = fake_console()

    result = console.set({"steps": 3, "/sdv2/noise/s_max": 0.9}, "t")

    assert result.values == {"steps": 3, "noise_s_max": 0.9}
    assert [(c.seq, c.values) for c in witness.changes] == [(1, result.values)]
    assert len(stage.applied) == 1


def test_a_value_equal_to_the_present_one_is_no_change() -> None:
    console, _, witness = fake_console()

    result = console.set({"steps": 2.0}, "t")

    assert (result.seq, result.values, witness.changes) == (0, {"steps": 2}, [])


def test_what_is_pushed_along_is_told_too() -> None:
    console, _, witness = fake_console()

    result = console.set({"noise_s_min": 0.8}, "t")

    assert result.values == {"noise_s_min": 0.8, "noise_s_max": 0.8}
    assert witness.changes[0].values == result.values


def test_out_of_range_is_clamped_and_the_rest_applied_without_what_is_wrong() -> None:
    console, _, witness = fake_console()

    result = console.set({"steps": 9, "seed": "abc", "nonsense": 1}, "t")

    assert result.values == {"steps": 4}
    assert result.clamped.keys() == {"steps"}
    assert result.errors.keys() == {"seed", "nonsense"}
    assert [n.level for n in witness.notices] == ["warning"] * 3


def test_whole_applies_nothing_when_one_value_is_wrong() -> None:
    console, stage, _ = fake_console()

    result = console.set({"steps": 3, "seed": float("nan")}, "t", whole=True)

    assert (result.values, stage.applied) == ({}, [])
    assert "seed" in result.errors


def test_pairs_are_set_together_or_not_at_all() -> None:
    console, stage, _ = fake_console()

    console.call("noise_bounds", (0.1, 0.2), "t")
    with pytest.raises(ParamError, match="s_max"):
        console.call("noise_bounds", (0.5, "loud"), "t")

    assert (stage.params.noise_s_min, stage.params.noise_s_max) == (0.1, 0.2)
    assert len(stage.applied) == 1


def test_a_blend_becomes_the_text_of_deck_a() -> None:
    console, stage, _ = fake_console()

    console.call("prompt_blend", ("neon", 3.0, "gold", 1.0), "t")

    assert stage.params.prompt == "neon:0.75 | gold:0.25"


def test_a_transition_takes_the_time_given_in_the_unit_of_the_parameter() -> None:
    console, stage, _ = fake_console()
    console.set({"transition_unit": "chunks"}, "t")

    console.call("prompt_transition", ("neon", 8.0), "t")

    assert stage.applied[-1] == ({"prompt": "neon"}, "t", Duration(8.0, in_chunks=True))


class Beat:
    """A beat that never comes."""

    def __init__(self) -> None:
        self.waiting: dict[str, Held] = {}

    def defer(self, held: Held) -> bool:
        self.waiting[held.kind] = held
        return True

    def forget(self, kind: str) -> None:
        self.waiting.pop(kind, None)


def test_panic_passes_by_the_beat_and_resume_ends_all_that_holds_the_picture() -> None:
    console, stage, _ = fake_console()

    console.deferral = Beat()
    console.set({"freeze": True, "blackout": True}, "t")
    console.call("panic", (), "t")
    assert stage.params.panicked

    console.call("resume", (), "t")

    held = (stage.params.panicked, stage.params.freeze, stage.params.blackout, stage.params.pause)
    assert held == (False,) * 4


def test_a_new_prompt_waits_for_the_beat_and_other_values_do_not() -> None:
    console, stage, _ = fake_console()
    beat = console.deferral = Beat()
    console.set({"prompt": "neon"}, "t")
    console.set({"steps": 3}, "t")
    assert (stage.params.prompt, stage.params.steps) == ("watercolor painting", 3)

    beat.waiting["prompt"].run()

    assert stage.params.prompt == "neon"


def test_what_is_moved_while_a_change_waits_for_the_beat_stays_where_it_was_moved_to() -> None:
    console, stage, _ = fake_console()
    beat = console.deferral = Beat()
    console.set({"steps": 1}, "t")
    console.set({"prompt": "neon", "noise_s_max": 0.6, "steps": 3}, "t")
    console.set({"noise_s_max": 0.9}, "a fader")

    beat.waiting["prompt"].run()

    params = stage.params
    assert (params.prompt, params.noise_s_max, params.steps) == ("neon", 0.9, 3)


def test_a_prompt_that_comes_with_panic_does_not_wait() -> None:
    console, stage, _ = fake_console()
    beat = console.deferral = Beat()

    console.set({"prompt": "neon", "panicked": True}, "t")

    assert (stage.params.prompt, stage.params.panicked) == ("neon", True)
    assert beat.waiting == {}


def test_the_prompt_that_is_there_takes_back_the_one_that_waits() -> None:
    console, _, _ = fake_console()
    beat = console.deferral = Beat()
    console.set({"prompt": "neon"}, "t")

    console.set({"prompt": "watercolor painting"}, "t")

    assert beat.waiting == {}


def test_an_action_without_a_handler_says_so() -> None:
    console, _, witness = fake_console()

    assert not console.try_call("snapshot", (), "t")

    assert "nothing to do that with" in witness.notices[0].text


def test_the_board_tells_only_what_differs() -> None:
    console, _, witness = fake_console()

    console.publish({"preset": "neon", "presets": ["neon"]}, "t")
    console.publish({"preset": "neon"}, "t")

    assert [c.facts for c in witness.changes] == [{"preset": "neon", "presets": ["neon"]}]


@pytest.mark.parametrize(
    ("action", "args", "expected"),
    [
        ("preset_load", ("neon", 2), ("neon", 2.0)),
        ("preset_load", ("neon",), ("neon",)),
        ("output_size", (320.0, "256"), (320, 256)),
        ("prompt_blend", ("a", 1, "b", 2, "c", 3), ("a", 1.0, "b", 2.0, "c", 3.0)),
        ("cue_go", (1.5,), ("1.5",)),
    ],
)
def test_arguments_come_in_the_kind_they_are_taken_in(
    action: str, args: tuple[object, ...], expected: tuple[object, ...]
) -> None:
    assert check_args(ACTIONS[action], args) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("action", "args"),
    [
        ("preset_load", ()),
        ("preset_load", ("neon", -1.0)),
        ("preset_load", ("neon", 1.0, 2.0)),
        ("panic", (1.0,)),
        ("noise_bounds", (0.1, float("nan"))),
        ("output_size", (256, 1e300)),
    ],
)
def test_wrong_arguments_are_named_with_what_is_allowed(
    action: str, args: tuple[object, ...]
) -> None:
    with pytest.raises(ParamError, match=r"/sdv2/.* expected"):
        check_args(ACTIONS[action], args)  # type: ignore[arg-type]
