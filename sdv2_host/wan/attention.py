"""Attention without state. Whoever calls the model brings a `SelfAttend` that owns the past.

# B rows  S query tokens  K key tokens  N heads  D head dim
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.wan.rope import Rotary, rotate


def attention(q_BSND: Tensor, k_BKND: Tensor, v_BKND: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(D)) v as [B, S, N, D]; `mask` broadcasts to [B, N, S, K]."""
    out_BNSD = F.scaled_dot_product_attention(
        q_BSND.transpose(1, 2), k_BKND.transpose(1, 2), v_BKND.transpose(1, 2), attn_mask=mask
    )
    return out_BNSD.transpose(1, 2)


class SelfAttend(Protocol):
    """Self-attention of one block. `q` and `k` are normalised, not yet rotated."""

    def __call__(
        self, block_index: int, q_BSND: Tensor, k_BSND: Tensor, v_BSND: Tensor
    ) -> Tensor: ...


class WholeAttend:
    """All frames of the call at once, under a mask (`block_causal_mask`) or none.

    The naive oracle of every cached path, and what training uses. `rotary` holds the angles of
    the call's S tokens, for queries and keys alike.
    """

    def __init__(self, rotary: Rotary, mask_SS: Tensor | None) -> None:
        self._rotary = rotary
        self._mask_SS = mask_SS

    def __call__(self, block_index: int, q_BSND: Tensor, k_BSND: Tensor, v_BSND: Tensor) -> Tensor:
        del block_index
        q_BSND = rotate(q_BSND, self._rotary)
        k_BSND = rotate(k_BSND, self._rotary)
        return attention(q_BSND, k_BSND, v_BSND, self._mask_SS)


def block_causal_mask(
    num_frames: int, tokens_per_frame: int, device: torch.device | str = "cpu"
) -> Tensor:
    """[S, S] booleans: a token sees its own frame and all earlier ones."""
    frame_S = torch.arange(num_frames, device=device).repeat_interleave(tokens_per_frame)
    return frame_S[:, None] >= frame_S[None, :]
