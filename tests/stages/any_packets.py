"""Headers, leaves and tokens, drawn and made."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from sdv2_host.stages.leaf_header import MAX_BLOCKS, MAX_FRAMES, Header
from sdv2_host.stages.packet import SCALARS, Leaf, LeafShape, Token
from sdv2_host.stages.route import MAX_STEPS

SHAPE = LeafShape(latent_shape=(4, 3, 5), tokens_shape=(6, 8), dtype=torch.float32)
BACK = LeafShape(latent_shape=(4, 3, 5), tokens_shape=None, dtype=torch.float32)

HEADER = Header(
    epoch=1,
    call=0,
    num_rows=1,
    row=0,
    num_frames=1,
    frame=0,
    block=0,
    index=0,
    order=0,
    seed=0,
    text_id=0,
    num_steps=2,
    step=0,
    first_frame=0,
    num_cut=0,
    noise_hold=0.0,
    sink_threshold=-1.0,
    fills_from=0,
    fills_to=0,
    refresh_sinks=False,
    begins_anew=False,
    is_shown=True,
    has_tokens=True,
)

_U64 = st.integers(0, (1 << 64) - 1)
_BIG = ("epoch", "call", "index", "order", "first_frame", "text_id")
_U32 = st.integers(0, (1 << 32) - 1)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def any_header(draw: st.DrawFn, **fixed: Any) -> Header:
    num_rows = draw(st.integers(1, MAX_STEPS))
    num_frames = draw(st.integers(1, MAX_FRAMES))
    num_steps = draw(st.integers(1, MAX_STEPS))
    fields = {
        **{name: draw(_U64) for name in _BIG},
        "num_cut": draw(_U32),
        "fills_from": draw(st.integers(0, MAX_STEPS)),
        "fills_to": draw(st.integers(0, MAX_STEPS)),
        **{name: draw(_FINITE) for name in ("noise_hold", "sink_threshold")},
        **{name: draw(st.booleans()) for name in ("refresh_sinks", "begins_anew", "is_shown")},
        "seed": draw(st.integers(-(1 << 63), (1 << 63) - 1)),
        "num_rows": num_rows,
        "row": draw(st.integers(0, num_rows - 1)),
        "num_frames": num_frames,
        "frame": draw(st.integers(0, num_frames - 1)),
        "block": draw(st.integers(0, MAX_BLOCKS)),
        "num_steps": num_steps,
        "step": draw(st.integers(0, num_steps)),
        "has_tokens": draw(st.booleans()),
    }
    return Header(**(fields | fixed))


def any_bits(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Any bit pattern, NaN and subnormal numbers too."""
    random = torch.Generator().manual_seed(seed)
    size = (torch.Size(shape).numel() * dtype.itemsize,)
    raw = torch.randint(0, 256, size, dtype=torch.uint8, generator=random)
    return raw.view(dtype).view(shape)


def leaf_of(header: Header, shape: LeafShape, seed: int = 0) -> Leaf:
    """Its bits follow from the seed."""
    tokens = None
    if header.has_tokens:
        assert shape.tokens_shape is not None
        tokens = any_bits(shape.tokens_shape, shape.dtype, seed + 2)
    scalars = any_bits((SCALARS,), torch.float32, seed + 1)
    return Leaf(header, scalars, any_bits(shape.latent_shape, shape.dtype, seed), tokens)


def bits_of(packet: Leaf | Token) -> object:
    """Equal for packets that are equal bit for bit."""
    if isinstance(packet, Token):
        return packet
    tensors = [tensor for tensor in packet[1:] if tensor is not None]
    return (
        packet.header,
        packet.tokens_SE is None,
        [(tuple(x.shape), x.dtype, x.flatten().view(torch.uint8).tolist()) for x in tensors],
    )
