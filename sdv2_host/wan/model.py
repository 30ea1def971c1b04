"""The causal Wan DiT: the checkpoint's own key names, any dims, no state.

# B rows  F latent frames  C channels  H W latent size  S tokens of F frames  E dim
# N heads  D head dim  K text tokens

Source: models/wan/causal_model.py of StreamDiffusionV2 (behaviour), Wan 2.1 (architecture).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdv2_host.wan.attention import SelfAttend, attention
from sdv2_host.wan.dims import WanDims
from sdv2_host.wan.fp8 import Linear8, Product8
from sdv2_host.wan.joined import JoinedLinears, Share


class TextKV(NamedTuple):
    """Keys and values of the prompt for one block, computed once per prompt."""

    k_BKND: Tensor
    v_BKND: Tensor


class TextByBlock(Protocol):
    """The prompt's of every block: a list, or what makes them when they are asked for."""

    def __getitem__(self, index: int, /) -> TextKV: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """What travels from block to block, and from device to device."""

    x_BSE: Tensor
    time_BFE: Tensor
    modulation_BF6E: Tensor
    grid: tuple[int, int, int]
    """Frames, rows and columns of tokens."""


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], eps=self.eps).to(x.dtype) * self.weight


class SelfAttention(JoinedLinears):
    """Projections and norms of self-attention."""

    def __init__(self, dims: WanDims) -> None:
        super().__init__()
        self.num_heads = dims.num_heads
        self.q = Share(dims.dim, dims.dim)
        self.k = Share(dims.dim, dims.dim)
        self.v = Share(dims.dim, dims.dim)
        self.o = nn.Linear(dims.dim, dims.dim)
        self.norm_q = RMSNorm(dims.dim, dims.eps)
        self.norm_k = RMSNorm(dims.dim, dims.eps)
        self._join_("q", "k", "v")

    def qkv(self, x_BSE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, S, N, D], not yet rotated."""
        q_BSE, k_BSE, v_BSE = self.products(x_BSE)
        heads = (self.num_heads, -1)
        return (
            self.norm_q(q_BSE).unflatten(-1, heads),
            self.norm_k(k_BSE).unflatten(-1, heads),
            v_BSE.unflatten(-1, heads),
        )


class CrossAttention(JoinedLinears):
    """Projections and norms of attention to the prompt."""

    def __init__(self, dims: WanDims) -> None:
        super().__init__()
        self.num_heads = dims.num_heads
        self.q = nn.Linear(dims.dim, dims.dim)
        self.k = Share(dims.dim, dims.dim)
        self.v = Share(dims.dim, dims.dim)
        self.o = nn.Linear(dims.dim, dims.dim)
        self.norm_q = RMSNorm(dims.dim, dims.eps)
        self.norm_k = RMSNorm(dims.dim, dims.eps)
        self._join_("k", "v")

    def query(self, x_BSE: Tensor) -> Tensor:
        return self.norm_q(self.q(x_BSE)).unflatten(-1, (self.num_heads, -1))

    def text_kv(self, context_BKE: Tensor) -> TextKV:
        k_BKE, v_BKE = self.products(context_BKE)
        # Kept for as long as the prompt: the values without the memory of the keys beside them.
        v_BKND = v_BKE.unflatten(-1, (self.num_heads, -1)).contiguous()
        return TextKV(self.norm_k(k_BKE).unflatten(-1, (self.num_heads, -1)), v_BKND)


class Block(nn.Module):
    def __init__(self, dims: WanDims) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(1, 6, dims.dim) / dims.dim**0.5)
        self.self_attn = SelfAttention(dims)
        self.norm3 = nn.LayerNorm(dims.dim, eps=dims.eps)
        self.cross_attn = CrossAttention(dims)
        self.ffn = nn.Sequential(
            nn.Linear(dims.dim, dims.ffn_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(dims.ffn_dim, dims.dim),
        )
        self.eps = dims.eps

    @torch.no_grad()
    def quantise_(self, product: Product8) -> None:
        """The large linears are in 8 bits. Not the prompt's, which run once per prompt."""
        self.self_attn.quantise_(product)
        self.self_attn.o = Linear8(self.self_attn.o, product)
        self.cross_attn.q = Linear8(self.cross_attn.q, product)
        self.cross_attn.o = Linear8(self.cross_attn.o, product)
        for index in (0, 2):
            linear = self.ffn[index]
            assert isinstance(linear, nn.Linear), "the first and the last of the MLP"
            self.ffn[index] = Linear8(linear, product)

    def text_kv(self, context_BKE: Tensor) -> TextKV:
        return self.cross_attn.text_kv(context_BKE)

    def forward(self, tokens: Tokens, text: TextKV, attend: SelfAttend, index: int) -> Tensor:
        x_BSE = tokens.x_BSE
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (
            self.modulation + tokens.modulation_BF6E
        ).unbind(2)
        num_frames = tokens.grid[0]

        normed = modulate(self._norm(x_BSE), shift, scale, num_frames)
        attn = self.self_attn
        heads_BSND = attend(index, *attn.qkv(normed))
        x_BSE = x_BSE + gated(attn.o(heads_BSND.flatten(2)), gate, num_frames)

        cross = self.cross_attn
        heads_BSND = attend_text(cross.query(self.norm3(x_BSE)), text)
        x_BSE = x_BSE + cross.o(heads_BSND.flatten(2))

        normed = modulate(self._norm(x_BSE), ffn_shift, ffn_scale, num_frames)
        return x_BSE + gated(self.ffn(normed), ffn_gate, num_frames)

    def _norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps)


class Head(nn.Module):
    def __init__(self, dims: WanDims) -> None:
        super().__init__()
        out = dims.out_dim * dims.patch[0] * dims.patch[1] * dims.patch[2]
        self.head = nn.Linear(dims.dim, out)
        self.modulation = nn.Parameter(torch.randn(1, 2, dims.dim) / dims.dim**0.5)
        self.eps = dims.eps

    def forward(self, x_BSE: Tensor, time_BFE: Tensor) -> Tensor:
        shift, scale = (self.modulation.unsqueeze(1) + time_BFE.unsqueeze(2)).unbind(2)
        normed = F.layer_norm(x_BSE, x_BSE.shape[-1:], eps=self.eps)
        return self.head(modulate(normed, shift, scale, time_BFE.shape[1]))


def attend_text(q_BSND: Tensor, text: TextKV) -> Tensor:
    """Cross-attention to one prompt for all rows, one per row, or one per row and frame."""
    num_rows, num_prompts = q_BSND.shape[0], text.k_BKND.shape[0]
    if num_prompts == 1 and num_rows > 1:
        k_BKND = text.k_BKND.expand(num_rows, -1, -1, -1)
        return attention(q_BSND, k_BKND, text.v_BKND.expand(num_rows, -1, -1, -1))
    per_prompt = q_BSND.flatten(0, 1).unflatten(0, (num_prompts, -1))
    return attention(per_prompt, text.k_BKND, text.v_BKND).reshape(q_BSND.shape)


def modulate(x_BSE: Tensor, shift_BFE: Tensor, scale_BFE: Tensor, num_frames: int) -> Tensor:
    """x * (1 + scale) + shift, each frame's pair over that frame's tokens."""
    x_BFNE = x_BSE.unflatten(1, (num_frames, -1))
    return (x_BFNE * (1 + scale_BFE.unsqueeze(2)) + shift_BFE.unsqueeze(2)).flatten(1, 2)


def gated(x_BSE: Tensor, gate_BFE: Tensor, num_frames: int) -> Tensor:
    """x * gate, each frame's gate over that frame's tokens."""
    return (x_BSE.unflatten(1, (num_frames, -1)) * gate_BFE.unsqueeze(2)).flatten(1, 2)


def time_features(t: Tensor, dim: int) -> Tensor:
    """[..., dim] sinusoids of the timestep 0..1000, computed in float64 as the reference does."""
    half, dtype = dim // 2, finest_dtype(t.device)
    exponents = torch.arange(half, dtype=dtype, device=t.device) / half
    angles = t.to(dtype).unsqueeze(-1) * 10000.0**-exponents
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def finest_dtype(device: torch.device) -> torch.dtype:
    """float64, but float32 on Apple GPUs, which have nothing finer."""
    return torch.float32 if device.type == "mps" else torch.float64


class CausalWanModel(nn.Module):
    """Predicts the flow (noise - clean) of noisy latents, given timesteps and a prompt."""

    def __init__(self, dims: WanDims) -> None:
        super().__init__()
        self.dims = dims
        self.patch_embedding = nn.Conv3d(
            dims.in_dim, dims.dim, kernel_size=dims.patch, stride=dims.patch
        )
        self.text_embedding = nn.Sequential(
            nn.Linear(dims.text_dim, dims.dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(dims.dim, dims.dim),
        )
        self.time_embedding = nn.Sequential(
            nn.Linear(dims.freq_dim, dims.dim), nn.SiLU(), nn.Linear(dims.dim, dims.dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dims.dim, dims.dim * 6))
        self.blocks = nn.ModuleList(Block(dims) for _ in range(dims.num_layers))
        self.head = Head(dims)

    def quantise_(self, product: Product8) -> None:
        """The large linears of all blocks are in 8 bits, multiplied by `product`. Once, when the
        model is loaded and in its place: a model in 8 bits cannot be cast or trained."""
        for block in self.blocks:
            assert isinstance(block, Block)
            block.quantise_(product)

    def scales(self) -> dict[str, Tensor]:
        """By weight in 8 bits, the scales [O, 1] of its rows, to be written in place with it."""
        found: dict[str, Tensor] = {}
        for path, module in self.named_modules():
            if isinstance(module, Linear8):
                found[f"{path}.weight"] = module.scale_O1
            elif isinstance(module, JoinedLinears):
                found |= {f"{path}.{name}.weight": one for name, one in module.scales().items()}
        return found

    def text_kv(self, text_BKT: Tensor) -> list[TextKV]:
        """Keys and values of a prompt embedding [B, text_len, text_dim], one pair per block.

        Padding rows take part in attention as in the reference: they are not zero after the
        text MLP's biases.
        """
        context_BKE = self.text_embedding(text_BKT)
        blocks: list[Block] = list(self.blocks)  # type: ignore[arg-type]
        return [block.text_kv(context_BKE) for block in blocks]

    def embed(self, x_BFCHW: Tensor, t_BF: Tensor) -> Tokens:
        """Patches and timesteps as tokens. t is 0..1000, per row and frame."""
        num_rows, num_frames, channels, height, width = x_BFCHW.shape
        patch_h, patch_w = self.dims.patch[1:]
        # A stride-equals-kernel convolution is a linear map of patches: exact, and much faster.
        patches = x_BFCHW.reshape(
            num_rows, num_frames, channels, height // patch_h, patch_h, width // patch_w, patch_w
        ).permute(0, 1, 3, 5, 2, 4, 6)
        x_BSE = F.linear(
            patches.flatten(4).flatten(1, 3),
            self.patch_embedding.weight.flatten(1),
            self.patch_embedding.bias,
        )
        features = time_features(t_BF, self.dims.freq_dim).to(x_BSE.dtype)
        time_BFE = self.time_embedding(features)
        modulation = self.time_projection(time_BFE).unflatten(-1, (6, self.dims.dim))
        grid = (num_frames, height // patch_h, width // patch_w)
        return Tokens(x_BSE, time_BFE, modulation, grid)

    def run_blocks(
        self,
        tokens: Tokens,
        text_kv: TextByBlock,
        attend: SelfAttend,
        first: int = 0,
        last: int | None = None,
    ) -> Tokens:
        """Tokens after blocks first..last-1; `text_kv` and `attend` are indexed by block."""
        for index in range(first, len(self.blocks) if last is None else last):
            x_BSE = self.blocks[index](tokens, text_kv[index], attend, index)
            tokens = replace(tokens, x_BSE=x_BSE)
        return tokens

    def unembed(self, tokens: Tokens) -> Tensor:
        """Flow [B, F, C, H, W] from the last block's tokens."""
        num_frames, grid_h, grid_w = tokens.grid
        patch_h, patch_w = self.dims.patch[1:]
        out = self.head(tokens.x_BSE, tokens.time_BFE)
        out = out.unflatten(-1, (patch_h, patch_w, self.dims.out_dim))
        out = out.unflatten(1, (num_frames, grid_h, grid_w)).permute(0, 1, 6, 2, 4, 3, 5)
        return out.flatten(5, 6).flatten(3, 4)

    def forward(
        self, x_BFCHW: Tensor, t_BF: Tensor, text_kv: TextByBlock, attend: SelfAttend
    ) -> Tensor:
        tokens = self.run_blocks(self.embed(x_BFCHW, t_BF), text_kv, attend)
        return self.unembed(tokens)
