"""Text encoders behind one seam: a prompt in, rows for the DiT's cross-attention out.

The tiny encoder takes any words in any spelling: a word is the mean of its hashed character
3- to 5-grams, so it needs no vocabulary file and a misspelt word lands near the right one.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdv2_host.wan.dims import TinyTextDims

MAX_GRAMS_PER_WORD = 48
_PUNCTUATION = str.maketrans(dict.fromkeys("\"'()[]{}<>.,;:!?/\\|_*#&+=~^`-–—", " "))


class TextEncoder(Protocol):
    """Prompt -> [1, text_len, text_dim], rows past the prompt's end zero."""

    def encode(self, prompt: str) -> Tensor: ...


def word_buckets(word: str, num_buckets: int) -> list[int]:
    """Hash buckets of the word's character n-grams, with its ends marked."""
    marked = f"<{word}>"
    grams = [marked]
    for length in (3, 4, 5):
        grams += [marked[i : i + length] for i in range(len(marked) - length + 1)]
    return [zlib.crc32(gram.encode()) % num_buckets for gram in grams[:MAX_GRAMS_PER_WORD]]


class TinyTextEncoder(nn.Module):
    """Hashed n-grams, one self-attention layer; trained together with the DiT."""

    def __init__(self, dims: TinyTextDims) -> None:
        super().__init__()
        self.dims = dims
        self.grams = nn.EmbeddingBag(dims.num_buckets, dims.bucket_dim, mode="mean")
        self.project = nn.Linear(dims.bucket_dim, dims.text_dim)
        self.position = nn.Parameter(torch.zeros(dims.text_len, dims.text_dim))
        self.norm = nn.LayerNorm(dims.text_dim)
        self.qkv = nn.Linear(dims.text_dim, dims.text_dim * 3)
        self.out = nn.Linear(dims.text_dim, dims.text_dim)
        self.final = nn.LayerNorm(dims.text_dim)

    def words(self, prompt: str) -> list[str]:
        """The words that count: lower case, no punctuation, the first `text_len`."""
        return prompt.casefold().translate(_PUNCTUATION).split()[: self.dims.text_len]

    def forward(self, prompts: list[str]) -> Tensor:
        """[B, text_len, text_dim]; rows past each prompt's last word are zero."""
        lines = [self.words(prompt) for prompt in prompts]
        device = self.position.device
        buckets: list[int] = []
        offsets: list[int] = []
        mask = torch.zeros(len(lines), self.dims.text_len, dtype=torch.bool)
        for row, line in enumerate(lines):
            mask[row, : len(line)] = True
            for word in line:
                offsets.append(len(buckets))
                buckets += word_buckets(word, self.dims.num_buckets)
        mask = mask.to(device)
        x = torch.zeros(
            len(lines),
            self.dims.text_len,
            self.dims.text_dim,
            device=device,
            dtype=self.out.weight.dtype,
        )
        if not buckets:
            return x
        bags = self.grams(
            torch.tensor(buckets, device=device), torch.tensor(offsets, device=device)
        )
        return self.between_words(x.masked_scatter(mask.unsqueeze(-1), self.project(bags)), mask)

    def between_words(self, x: Tensor, mask: Tensor) -> Tensor:
        """Words [B, text_len, text_dim] that have seen each other. Rows without a word, where the
        mask [B, text_len] is False, are zero before and after."""
        x = x + self.position
        q, k, v = (
            part.unflatten(-1, (self.dims.num_heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm(x)).chunk(3, dim=-1)
        )
        # An empty prompt has no word to look at; letting it see row 0 keeps softmax finite, and
        # its rows are zeroed below.
        visible = mask | (torch.arange(mask.shape[1], device=mask.device) == 0)
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None, None, :])
        x = self.final(x + self.out(heads.transpose(1, 2).flatten(2)))
        return x * mask.unsqueeze(-1)

    def encode(self, prompt: str) -> Tensor:
        return self([prompt])
