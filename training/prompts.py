"""Prompts as tensors: drawn and embedded on the device, so that no step waits for words.

# P prompts  W words  G character n-grams of a word
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdv2_host.bench.prompts import random_prompt
from sdv2_host.bench.styles import STYLES
from sdv2_host.wan.text import MAX_GRAMS_PER_WORD, TinyTextEncoder, word_buckets

PLAIN_PROMPTS = (
    "",
    "",
    "photo",
    "no style",
    "natural camera picture",
    "unchanged",
    "realistic video",
)
"""For a target that is the source itself."""


class Prompts(NamedTuple):
    """Prompts that the text encoder has cut into n-grams."""

    buckets_PWG: Tensor
    share_PWG: Tensor
    """Of each n-gram in its word; 0 = none there."""
    mask_PW: Tensor
    """Where there is a word."""


def cut(text: TinyTextEncoder, prompts: list[str]) -> Prompts:
    """What `embed` needs of the prompts, on the encoder's device."""
    shape = (len(prompts), text.dims.text_len, MAX_GRAMS_PER_WORD)
    # Where there is no n-gram, any bucket will do; many of one would wait for each other.
    buckets = torch.arange(math.prod(shape)).view(shape) % text.dims.num_buckets
    share = torch.zeros(shape)
    for row, prompt in enumerate(prompts):
        for place, word in enumerate(text.words(prompt)):
            found = word_buckets(word, text.dims.num_buckets)
            buckets[row, place, : len(found)] = torch.tensor(found)
            share[row, place, : len(found)] = 1 / len(found)
    device = text.position.device
    return Prompts(buckets.to(device), share.to(device), (share.sum(2) > 0).to(device))


def embed(text: TinyTextEncoder, prompts: Prompts) -> Tensor:
    """What `text` makes of them, without a look at how many words there are."""
    grams_PWGE = text.grams.weight.index_select(0, prompts.buckets_PWG.flatten()).unflatten(
        0, prompts.buckets_PWG.shape
    )
    bags_PWE = (grams_PWGE * prompts.share_PWG.unsqueeze(-1).to(grams_PWGE.dtype)).sum(2)
    rows_PWE = text.project(bags_PWE) * prompts.mask_PW.unsqueeze(-1)
    return text.between_words(rows_PWE, prompts.mask_PW)


def prompt_bank(text: TinyTextEncoder, per_style: int, seed: int) -> Prompts:
    """So many training prompts of each style, style by style, then as many of none."""
    words = np.random.default_rng(seed)
    lines = [random_prompt(style, words, "train") for style in STYLES for _ in range(per_style)]
    lines += [PLAIN_PROMPTS[i % len(PLAIN_PROMPTS)] for i in range(per_style)]
    return cut(text, lines)
