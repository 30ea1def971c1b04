"""The prompts of a stream at one place: keys and values of its own blocks, made when first asked.

# L text tokens  E text width  K text tokens  D head dim  N heads
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from sdv2_host.wan.model import Block, CausalWanModel, TextKV


class PlaceText:
    """One prompt, or blend of prompts. `TextByBlock`: a block that moved here is no matter."""

    def __init__(self, dit: CausalWanModel, embedding_1LE: Tensor) -> None:
        like = next(dit.text_embedding.parameters())
        self._dit = dit
        self._context_BKE = dit.text_embedding(embedding_1LE.to(like.device, like.dtype))
        self._by_block: dict[int, TextKV] = {}

    def __getitem__(self, index: int, /) -> TextKV:
        found = self._by_block.get(index)
        if found is None:
            block: Block = self._dit.blocks[index]  # type: ignore[assignment]
            found = self._by_block[index] = block.text_kv(self._context_BKE)
        return found

    def keep(self, blocks: Collection[int]) -> None:
        """Of others nothing is remembered."""
        self._by_block = {b: kv for b, kv in self._by_block.items() if b in blocks}


class PlaceTexts:
    """Texts by the number that their rows carry. Lifetime: process."""

    def __init__(self, dit: CausalWanModel) -> None:
        self._dit = dit
        self._texts: dict[int, PlaceText] = {}

    def __contains__(self, text_id: int) -> bool:
        return text_id in self._texts

    def __getitem__(self, text_id: int, /) -> PlaceText:
        return self._texts[text_id]

    @torch.inference_mode()
    def add(self, text_id: int, embedding_1LE: Tensor) -> None:
        if text_id not in self._texts:
            self._texts[text_id] = PlaceText(self._dit, embedding_1LE)

    def keep(self, text_ids: Collection[int]) -> None:
        """Of others there is no row on its way that is not done."""
        self._texts = {number: text for number, text in self._texts.items() if number in text_ids}

    def keep_blocks(self, blocks: Collection[int]) -> None:
        for text in self._texts.values():
            text.keep(blocks)
