from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.blend import MAX_PARTS, Part, format_blend, mixed, normalized, parse_blend
from sdv2_host.errors import ParamError


@pytest.mark.parametrize("text", ["neon city", "", "ratio 16:9", "a sign that says 24: red:7"])
def test_a_text_without_a_bar_is_one_prompt_as_it_stands(text: str) -> None:
    assert parse_blend(text) == (Part(text, 1.0),)


def test_weights_are_shares_of_the_whole() -> None:
    assert parse_blend("neon city:3 | watercolor:1") == (
        Part("neon city", 0.75),
        Part("watercolor", 0.25),
    )


def test_a_part_without_a_weight_weighs_one_and_equal_texts_are_one_part() -> None:
    assert parse_blend("a | b:2 | a") == (Part("a", 0.5), Part("b", 0.5))


@pytest.mark.parametrize("text", ["a |", "| a", "a:0 | b:0", "|", " | ".join("abcdefghi")])
def test_what_is_no_blend_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ParamError, match="prompt"):
        parse_blend(text)


def test_a_text_with_a_bar_cannot_be_a_part() -> None:
    with pytest.raises(ParamError, match="separates prompts"):
        format_blend((Part("a|b", 0.5), Part("c", 0.5)))


texts = st.text(st.characters(blacklist_characters="|", blacklist_categories=["Cs"]), min_size=1)
parts = st.lists(
    st.tuples(texts.map(str.strip).filter(lambda t: t and ":" not in t), st.floats(0.05, 100)),
    min_size=2,
    max_size=MAX_PARTS,
    unique_by=lambda item: item[0],
)


@given(parts)
def test_what_is_written_is_read_back(chosen: list[tuple[str, float]]) -> None:
    blend = normalized(Part(*one) for one in chosen)

    again = parse_blend(format_blend(blend))

    assert [part.text for part in again] == [part.text for part in blend]
    assert [part.weight for part in again] == pytest.approx([part.weight for part in blend], 1e-4)


def test_a_mixture_is_the_first_at_one_end_and_the_second_at_the_other() -> None:
    first, second = parse_blend("a:1 | b:1"), parse_blend("b:1 | c:3")

    assert mixed(first, second, 0) == first
    assert mixed(first, second, 1) == second
    assert dict(mixed(first, second, 0.5)) == pytest.approx({"a": 0.25, "b": 0.375, "c": 0.375})
