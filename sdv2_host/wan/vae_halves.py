"""The two halves of the Wan 2.1 autoencoder: their layers in order, and what these remember.

Source: Wan-AI/Wan2.1 wan/modules/vae.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, repeat

import torch
from torch import Tensor, nn

from sdv2_host.wan.bands import WHOLE, Reach, Rows, plan_band
from sdv2_host.wan.dims import LATENT_STRIDE_PX, WanVAEDims
from sdv2_host.wan.streaming_vae import Band
from sdv2_host.wan.vae_layers import (
    AttentionBlock,
    CausalConv,
    Downsample,
    Layers,
    ResidualBlock,
    RMSNorm,
    Upsample,
)


def encoder_layers(dims: WanVAEDims) -> Layers:
    widths = [dims.base * mult for mult in (1, *dims.dim_mult)]
    downsamples: list[nn.Module] = []
    # No change of size behind the last stage.
    for (dim_in, dim_out), in_time in zip(
        pairwise(widths), (*dims.temporal_downsample, None), strict=True
    ):
        downsamples += _residual_blocks(dim_in, dim_out, dims.num_res_blocks)
        downsamples += [] if in_time is None else [Downsample(dim_out, in_time)]
    return Layers(
        conv1=CausalConv(3, widths[0], (3, 3, 3)),
        downsamples=Layers(*downsamples),
        middle=_middle(widths[-1]),
        head=_head(widths[-1], dims.z_dim * 2),
    )


def decoder_layers(dims: WanVAEDims) -> Layers:
    widths = [dims.base * mult for mult in reversed((*dims.dim_mult, dims.dim_mult[-1]))]
    upsamples: list[nn.Module] = []
    dim_in = widths[0]
    for dim_out, in_time in zip(
        widths[1:], (*reversed(dims.temporal_downsample), None), strict=True
    ):
        upsamples += _residual_blocks(dim_in, dim_out, dims.num_res_blocks + 1)
        upsamples += [] if in_time is None else [Upsample(dim_out, in_time)]
        dim_in = dim_out // 2
    return Layers(
        conv1=CausalConv(dims.z_dim, widths[0], (3, 3, 3)),
        middle=_middle(widths[0]),
        upsamples=Layers(*upsamples),
        head=_head(widths[-1], 3),
    )


def fresh_memories(encoder: Layers, like: Tensor, size: tuple[int, int, int]) -> list[Tensor]:
    """Zeros for an encoder of pictures of this size (rows, height, width)."""
    batch, height, width = size
    memories = []
    for layer in encoder.modules():
        if isinstance(layer, Downsample):
            height, width = height // 2, width // 2  # at once: its time convolution runs last
        elif isinstance(layer, CausalConv) and layer.num_past:
            memories.append(_zeros(like, layer, (batch, height, width)))
    return memories


def fresh_band(decoder: Layers, rows: Rows, size: tuple[int, int, int], like: Tensor) -> Band:
    """For these rows of pictures of this size (rows, height, width), with zeros for memories.

    The middle sees all of a picture, so up to its end every band is the whole.
    """
    batch, height_px, width_px = size
    start, middle, growing = _decoder_parts(decoder)
    plan = plan_band(rows, height_px, map(_reach, growing))
    latent_rows = Rows(0, height_px // LATENT_STRIDE_PX)
    given = [*repeat(latent_rows, 1 + len(middle)), *plan.inputs]
    memories, width = [], width_px // LATENT_STRIDE_PX
    for part, part_rows in zip([start, *middle, *growing], given, strict=True):
        shape = (batch, part_rows.num, width)
        memories += [_zeros(like, layer, shape) for layer in _remembering(part)]
        width *= _reach(part).scale
    # Of the middle's two blocks that say what goes on, the second is the last to see everything.
    return Band((WHOLE, plan.inputs[0].where, *plan.kept), memories)


def _residual_blocks(dim_in: int, dim_out: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(dim_out if index else dim_in, dim_out) for index in range(count)]


def _middle(dim: int) -> Layers:
    return Layers(ResidualBlock(dim, dim), AttentionBlock(dim), ResidualBlock(dim, dim))


def _head(dim_in: int, dim_out: int) -> Layers:
    return Layers(RMSNorm(dim_in), nn.SiLU(inplace=True), CausalConv(dim_in, dim_out, (3, 3, 3)))


def _decoder_parts(decoder: Layers) -> tuple[nn.Module, list[nn.Module], list[nn.Module]]:
    """(First convolution, blocks of the middle, what comes after it), in the order they run."""
    start, middle, upsamples, head = decoder.children()
    return start, list(middle.children()), [*upsamples.children(), head]


def _reach(part: nn.Module) -> Reach:
    if isinstance(part, Upsample):
        return Reach(neighbours=1, scale=2)
    return Reach(neighbours=sum(layer.padding[0] for layer in _convolutions(part)))


def _convolutions(part: nn.Module) -> Iterator[CausalConv]:
    return (layer for layer in part.modules() if isinstance(layer, CausalConv))


def _remembering(part: nn.Module) -> Iterator[CausalConv]:
    """Layers with a memory, in the order they run."""
    return (layer for layer in _convolutions(part) if layer.num_past)


def _zeros(like: Tensor, layer: CausalConv, size: tuple[int, int, int]) -> Tensor:
    """A layer's memory of pictures of this size, at its entrance."""
    batch, height, width = size
    zeros = like.new_zeros(layer.num_past * batch, layer.dim_in, height, width)
    return zeros.contiguous(memory_format=torch.channels_last)
