"""What a device takes for the parts of a chunk, measured by running them a few times.

# B rows  F latent frames  T pixel frames  C channels  H W size  K text tokens  E text dim
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sdv2_host.config import Config
from sdv2_host.gpu.attention_choice import AttentionKernel, attention_for
from sdv2_host.gpu.part_bytes import room_bytes
from sdv2_host.gpu.timing import ChunkSpans
from sdv2_host.stages.rank_models import RankModels, build_rank_models, spec_of
from sdv2_host.stages.work import DeviceTimes
from sdv2_host.stream.cache_plan import RowCall
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import ProgressFn
from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX
from sdv2_host.wan.model import Block, CausalWanModel, TextKV
from sdv2_host.wan.streaming_vae import StreamingVAE

REPEATS = 3
"""Of each measurement, after one that loads kernels; the least counts, as what disturbs one only
adds."""
SPAN = "measured"


class MeasuredModels(NamedTuple):
    """What a rank begins with, and what its driver plans with."""

    models: RankModels
    """No block is held yet, of the autoencoder both halves: which is needed, its place will say."""
    spec: StreamSpec
    times: DeviceTimes
    attention: AttentionKernel
    """What they were measured with."""
    room_bytes: int
    """Before anything was loaded."""


def build_measured_models(
    config: Config, device: torch.device, progress: ProgressFn
) -> MeasuredModels:
    """The models of the engine that `config` names, and how fast they are on this device.

    Raises:
        ModelError: a file is missing, damaged, or another model.
        ConfigError: the engine has no blocks.
        DeviceError: what computes attention is not for this device.
    """
    room = room_bytes(device)
    spec = spec_of(config, device)
    models = build_rank_models(config, device, [0], progress)
    progress("measuring the device", 0.0)
    attention = attention_for(config, models.dit.dims, spec)
    with attention.held():
        times = measure_device(models.dit, models.vae, spec, block=0)
    models.drop_([0])
    return MeasuredModels(models, spec, times, attention, room)


class _Cells(NamedTuple):
    height: int
    width: int


@torch.inference_mode()
def measure_device(
    dit: CausalWanModel, vae: StreamingVAE, spec: StreamSpec, block: int
) -> DeviceTimes:
    """Times of the device that the models are on, with a full cache. Waits for the device.

    Both halves of `vae` must be held, and of `dit` this block: the others are like it.
    """
    cells = _Cells(spec.height_px // LATENT_STRIDE_PX, spec.width_px // LATENT_STRIDE_PX)
    frames_BTCHW = _zeros(spec, 1, FRAMES_PER_LATENT, 3, spec.height_px, spec.width_px)
    z_BFCHW = _zeros(spec, 1, 1, dit.dims.in_dim, *cells)
    cache = vae.init_cache(1, spec.height_px, spec.width_px, spec.device, spec.dtype)
    encode_ms = _least_ms(
        spec.device, lambda: vae.encode(frames_BTCHW, cache, is_first=False).z_BFCHW
    )
    decode_ms = _least_ms(
        spec.device, lambda: vae.decode(z_BFCHW, cache, is_first=False).frames_BTCHW
    )
    first_ms, both_ms = (
        _least_ms(spec.device, _block_call(dit, spec, cells, block, num_rows))
        for num_rows in (1, 2)
    )
    saving = 1 - (both_ms - first_ms) / first_ms
    return DeviceTimes(
        encode_ms,
        (first_ms,) * dit.dims.num_layers,
        decode_ms,
        min(max(saving, 0.0), 1.0),
    )


def _block_call(
    dit: CausalWanModel, spec: StreamSpec, cells: _Cells, block: int, num_rows: int
) -> Callable[[], Tensor]:
    """One block for so many rows of one latent frame each, as a stream would run it."""
    dims = dit.dims
    tokens_per_frame = dims.tokens_per_frame(spec.height_px, spec.width_px)
    kv = RollingKVCache.fresh(
        spec.geometry,
        num_blocks=1,
        num_rows=num_rows,
        frame_shape=(tokens_per_frame, dims.num_heads, dims.head_dim),
        device=spec.device,
        dtype=spec.dtype,
        positions=spec.positions,
    )
    kv.advance_([RowCall(row, spec.geometry.num_slots, 0) for row in range(num_rows)])
    patch_h, patch_w = dims.patch[1:]
    grid = (cells.height // patch_h, cells.width // patch_w)
    rotary = RotaryBook(dims.head_dim, grid, spec.device, spec.dtype)
    x_BFCHW = _zeros(spec, num_rows, 1, dims.in_dim, *cells)
    tokens = dit.embed(x_BFCHW, torch.full((num_rows, 1), 500.0, device=spec.device))
    calls = [RowCall(row, 1, spec.geometry.num_slots) for row in range(num_rows)]
    attend = kv.open_(calls, rotary).begin_(tokens.x_BSE)
    layer = dit.blocks[block]
    assert isinstance(layer, Block)
    context_BKE = dit.text_embedding(_zeros(spec, 1, dims.text_len, dims.text_dim))
    text: TextKV = layer.text_kv(context_BKE)

    def run() -> Tensor:
        out_BSE: Tensor = layer(tokens, text, attend, 0)
        return out_BSE

    return run


def _least_ms(device: torch.device, run: Callable[[], Tensor]) -> float:
    times_ms = []
    for _ in range(1 + REPEATS):
        spans = ChunkSpans(device)
        with spans.span(SPAN):
            out = run()
        out.flatten()[0].item()  # the device is done: what is timed next begins on an idle one
        times_ms.append(spans.read_ms()[SPAN])
    return min(times_ms[1:])


def _zeros(spec: StreamSpec, *shape: int) -> Tensor:
    return torch.zeros(shape, device=spec.device, dtype=spec.dtype)
