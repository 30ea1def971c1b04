"""What real senders send (design/control.md, 1.1), as the parameters take it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.errors import ParamError
from sdv2_host.param_table import BY_ADDRESS, PARAMS, ParamValue
from sdv2_host.param_values import apply, coerce, coerce_all, from_norm, to_norm, validate
from sdv2_host.params import Params

TAKEN = {
    "an int as a float, from a CHOP": ("steps", 3.0, 3),
    "between two ints": ("steps", 2.6, 3),
    "a number as a text": ("steps", "3", 3),
    "a switch as a float": ("freeze", 1.0, True),
    "a switch as an int": ("freeze", 0, False),
    "a fader on a switch, below its middle": ("freeze", 0.49, False),
    "a fader on a switch, above its middle": ("freeze", 0.51, True),
    "a switch as words": ("freeze", "true", True),
    "a choice in another case": ("safe", " Black ", "black"),
    "a number as a prompt": ("prompt", 5, "5"),
    "a side that is no multiple of 16": ("width", 500.0, 496),
    "as started": ("width", 0, 0),
}
CLAMPED = {
    "a fader that overshoots": ("noise_s_max", 1.0000001, 1.0),
    "a fader that undershoots": ("noise_s_min", -0.5, 0.0),
    "more steps than there are": ("steps", 99, 4),
    "a side that is too small": ("height", 3, 64),
    "a huge int": ("seed", 10**300, 2**31 - 1),
    "a prompt that is too long": ("prompt", "x" * 2001, "x" * 2000),
}
REFUSED = {
    "words for a number": ("steps", "many"),
    "no number": ("mix", math.nan),
    "infinity": ("mix", math.inf),
    "an int beyond all floats": ("mix", 10**400),
    "not among the choices": ("safe", "red"),
    "a blend that is none": ("prompt", "neon | "),
}


@pytest.mark.parametrize(("name", "raw", "value"), TAKEN.values(), ids=TAKEN)
def test_what_senders_send_is_taken(name: str, raw: ParamValue, value: ParamValue) -> None:
    taken = coerce(PARAMS[name], raw).value

    assert (taken, type(taken)) == (value, type(value))


@pytest.mark.parametrize(("name", "raw", "value"), CLAMPED.values(), ids=CLAMPED)
def test_out_of_range_is_clamped_live_and_refused_in_a_file(
    name: str, raw: ParamValue, value: ParamValue
) -> None:
    assert coerce(PARAMS[name], raw) == (value, True)

    told = coerce_all({PARAMS[name].address: raw})
    assert told.patch == {name: value}
    assert PARAMS[name].address in told.clamped[name]
    with pytest.raises(ParamError, match=rf"^show\.toml: {name} = "):
        validate({name: raw}, "show.toml")


@pytest.mark.parametrize(("name", "raw"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_and_the_rest_taken(name: str, raw: ParamValue) -> None:
    result = coerce_all({name: raw, "beats_per_bar": 3})

    assert result.patch == {"beats_per_bar": 3}
    assert list(result.errors) == [name]


VALUES = st.one_of(
    st.text(max_size=50), st.booleans(), st.integers(), st.floats(), st.none(), st.binary()
)


@given(st.lists(st.dictionaries(st.sampled_from([*PARAMS, *BY_ADDRESS]), VALUES, max_size=5)))
def test_after_any_messages_the_parameters_are_within_their_table(
    messages: list[dict[str, object]],
) -> None:
    params = Params()
    for raw in messages:
        params = apply(params, coerce_all(raw).patch)

    assert Params.model_validate(params.model_dump()) == params
    assert params.noise_s_min <= params.noise_s_max
    for name, spec in PARAMS.items():
        value = getattr(params, name)
        assert type(value) is spec.kind
        assert coerce(spec, value) == (value, False)


@given(st.sampled_from([spec for spec in PARAMS.values() if spec.minimum is not None]), st.data())
def test_a_fader_goes_over_the_whole_range_and_back(spec: object, data: st.DataObject) -> None:
    assert spec in PARAMS.values()
    position = data.draw(st.floats(0, 1))

    assert to_norm(spec, from_norm(spec, position)) == pytest.approx(position, abs=1e-9)  # type: ignore[arg-type]


def test_a_bound_that_is_moved_past_the_other_pushes_it() -> None:
    assert apply(Params(), {"noise_s_min": 0.9}).noise_s_max == 0.9
    assert apply(Params(), {"noise_s_max": 0.1}).noise_s_min == 0.1


def test_an_unknown_name_names_the_known_ones() -> None:
    with pytest.raises(ParamError, match=r"here: unknown parameter 'step', known are prompt"):
        validate({"step": 3}, "here")

    assert "unknown parameter 'step'" in coerce_all({"step": 3}).errors["step"]
