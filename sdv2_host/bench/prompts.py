"""Free-text prompts for a style: phrases in sentence templates, with case and typing slips."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from sdv2_host.bench.styles import STYLES
from sdv2_host.bench.vocabulary import (
    EXTRAS_HELD_OUT,
    EXTRAS_TRAIN,
    SUBJECTS_HELD_OUT,
    SUBJECTS_TRAIN,
    TEMPLATES_HELD_OUT,
    TEMPLATES_TRAIN,
    UNSTYLED_HELD_OUT,
    UNSTYLED_TRAIN,
    WORDS,
)

Split = Literal["train", "held_out"]
UNSTYLED = "unstyled"
"""The name for "leave the picture as it is"; also the classifier's last class."""
TYPO_RATE = 0.08
"""Share of prompts with one typing slip."""


class Grammar(NamedTuple):
    """The words of one split."""

    templates: tuple[str, ...]
    subjects: tuple[str, ...]
    extras: tuple[str, ...]


GRAMMARS: dict[Split, Grammar] = {
    "train": Grammar(TEMPLATES_TRAIN, SUBJECTS_TRAIN, EXTRAS_TRAIN),
    "held_out": Grammar(TEMPLATES_HELD_OUT, SUBJECTS_HELD_OUT, EXTRAS_HELD_OUT),
}


def phrases(style: str, split: Split) -> tuple[str, ...]:
    """What the style is called in a split; `UNSTYLED` for the picture as it is.

    Held-out phrases are half known words in new company, half new forms of known words.
    """
    if style == UNSTYLED:
        return UNSTYLED_TRAIN if split == "train" else UNSTYLED_HELD_OUT
    words = WORDS[style]
    return words.train if split == "train" else words.held_out


def random_prompt(style: str, rng: np.random.Generator, split: Split = "train") -> str:
    """A prompt a person might type for the style (a name in `STYLES`, or `UNSTYLED`).

    The held-out split has templates, subjects and phrases that the training split lacks.
    """
    grammar = GRAMMARS[split]
    names = phrases(style, split)
    if style == UNSTYLED and rng.random() < 0.5:
        return _pick(names, rng) if split == "train" else _pick(grammar.subjects, rng)
    text = _pick(grammar.templates, rng).format(
        style=_style_phrase(style, rng, split),
        style2=_pick(names, rng) or "photo",
        subject=_pick(grammar.subjects, rng),
        extra=_pick(grammar.extras, rng),
    )
    return _retyped(text, rng)


def canonical_prompt(style: str) -> str:
    """The plainest prompt for a style; empty for `UNSTYLED`."""
    return "" if style == UNSTYLED else STYLES[style].prompt


def _style_phrase(style: str, rng: np.random.Generator, split: Split) -> str:
    """A phrase of the split; held-out prompts also put well-known keywords into new sentences."""
    if split == "held_out" and style != UNSTYLED and rng.random() < 0.5:
        return _pick(WORDS[style].train, rng)
    return _pick(phrases(style, split), rng) or "photo"


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _retyped(text: str, rng: np.random.Generator) -> str:
    """The text in some letter case, now and then with a full stop or one slip of the fingers."""
    case = rng.random()
    if case < 0.25:
        text = text[:1].upper() + text[1:]
    elif case < 0.32:
        text = text.upper()
    elif case < 0.38:
        text = text.title()
    if rng.random() < 0.1:
        text += str(rng.choice([".", "!", ","]))
    if rng.random() < TYPO_RATE and len(text) > 6:
        place = int(rng.integers(1, len(text) - 2))
        slip = int(rng.integers(3))
        if slip == 0:
            text = text[:place] + text[place + 1 :]
        elif slip == 1:
            text = text[:place] + text[place] + text[place:]
        else:
            text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text
