"""What may be written into the parameter `lora`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sdv2_host.errors import ParamError
from sdv2_host.loras import LORA_MAX_CHARS, MAX_LORAS, MAX_STRENGTH, parse_loras
from sdv2_host.param_table import PARAMS
from sdv2_host.param_values import apply, coerce, coerce_all, validate
from sdv2_host.params import Params

READABLE = {
    "": (),
    " , ": (),
    "ink": (("ink", 1.0),),
    "ghibli:0.8, ink": (("ghibli", 0.8), ("ink", 1.0)),
    "a.b-C_9 : -2 ,": (("a.b-C_9", -2.0),),
    "old.safetensors:.5": (("old", 0.5),),
}
BAD = {
    "a path": "../secret",
    "an absolute path": "/etc/passwd",
    "a Windows path": "c:\\models\\ink",
    "a hidden file": ".ink",
    "no name": ":0.5",
    "no strength": "ink:",
    "a word for a strength": "ink:strong",
    "a strength that is no number": "ink:nan",
    "a hexadecimal strength": "ink:0x1",
    "too strong": "ink:2.1",
    "two names without a comma": "ink ghibli",
    "one name twice": "ink:0.5, ink:0.4",
    "a null byte": "ink\0",
    "a name of another script": "тушь",
    "too many": ",".join(f"l{index}" for index in range(MAX_LORAS + 1)),
    "too long": "i" * (LORA_MAX_CHARS + 1),
}


@pytest.mark.parametrize("text", READABLE)
def test_names_and_strengths_are_read(text: str) -> None:
    assert parse_loras(text) == READABLE[text]


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_lora_is_refused_wherever_it_comes_from(case: str) -> None:
    text = BAD[case]

    with pytest.raises(ParamError, match="lora"):
        parse_loras(text)
    with pytest.raises(ParamError, match="lora"):
        coerce(PARAMS["lora"], text)
    with pytest.raises(ParamError, match="lora"):
        validate({"lora": text}, "here")


def test_a_snapshot_cannot_hold_a_path() -> None:
    with pytest.raises(ValidationError):
        Params(lora="../secret")
    assert apply(Params(), coerce_all({"lora": "a/b"}).patch) == Params()


@given(st.text(max_size=60))
def test_whatever_is_accepted_names_a_file_in_its_own_folder(text: str) -> None:
    try:
        wishes = parse_loras(text)
    except ParamError:
        return

    for name, strength in wishes:
        assert name.isascii()
        assert set(name) & set("/\\:\0 ") == set()
        assert not name.startswith(".")
        assert abs(strength) <= MAX_STRENGTH


def test_the_table_states_names_ranges_and_addresses() -> None:
    assert PARAMS["lora"].address == "/sdv2/lora"
    assert PARAMS["lora"].default == ""
    assert PARAMS["lora"].max_chars == LORA_MAX_CHARS
    assert PARAMS["lora_strength"].address == "/sdv2/lora/strength"
    assert (PARAMS["lora_strength"].minimum, PARAMS["lora_strength"].maximum) == (0, 2)
