"""The prompt grammar: deterministic, varied, and its held-out half is unseen."""

from __future__ import annotations

import numpy as np
import pytest

from sdv2_host.bench.prompts import (
    GRAMMARS,
    UNSTYLED,
    canonical_prompt,
    phrases,
    random_prompt,
)
from sdv2_host.bench.styles import STYLES
from sdv2_host.picture_params import PROMPT_MAX_CHARS

NAMES = (*STYLES, UNSTYLED)


@pytest.mark.parametrize("style", STYLES)
def test_a_style_has_many_phrases_and_its_own_prompt_among_them(style: str) -> None:
    train = phrases(style, "train")

    assert len(set(train)) >= 15
    assert canonical_prompt(style) in train


@pytest.mark.parametrize("style", NAMES)
def test_held_out_phrases_were_never_trained_on(style: str) -> None:
    assert not set(phrases(style, "train")) & set(phrases(style, "held_out"))


def test_no_phrase_names_two_styles() -> None:
    every = [
        phrase for name in NAMES for phrase in {*phrases(name, "train"), *phrases(name, "held_out")}
    ]

    assert len(every) == len(set(every))


@pytest.mark.parametrize("part", ["templates", "subjects", "extras"])
def test_held_out_sentences_share_no_parts_with_training(part: str) -> None:
    assert not set(getattr(GRAMMARS["train"], part)) & set(getattr(GRAMMARS["held_out"], part))


@pytest.mark.parametrize("style", STYLES)
def test_held_out_prompts_are_not_training_prompts(style: str) -> None:
    rng = np.random.default_rng(0)
    train = {random_prompt(style, rng, "train").lower() for _ in range(1500)}

    held_out = [random_prompt(style, rng, "held_out").lower() for _ in range(200)]

    assert not train & set(held_out)


@pytest.mark.parametrize("style", STYLES)
def test_a_held_out_phrase_shares_letters_with_a_known_one(style: str) -> None:
    known = " ".join(phrases(style, "train"))
    grams = {known[i : i + 4] for i in range(len(known) - 3)}

    shared = [
        any(phrase[i : i + 4] in grams for i in range(len(phrase) - 3))
        for phrase in phrases(style, "held_out")
    ]

    assert all(shared)


@pytest.mark.parametrize("style", NAMES)
def test_the_same_seed_gives_the_same_prompts(style: str) -> None:
    first = [random_prompt(style, np.random.default_rng(s)) for s in range(50)]
    second = [random_prompt(style, np.random.default_rng(s)) for s in range(50)]

    assert first == second
    assert len(set(first)) > 12
    assert all(len(prompt) <= PROMPT_MAX_CHARS for prompt in first)
