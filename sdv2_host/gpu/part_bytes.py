"""What each part of a stream takes on the device that holds it, before anything is loaded.

The figures come from dry runs (`gpu/dry_run.py`) of the DiT and of the autoencoder's halves, each
alone: over several devices they are on different ones.

# B rows  F latent frames  T pixel frames  C channels  H W size
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sdv2_host.config import Config
from sdv2_host.gpu.device import DeviceMemory, device_memory
from sdv2_host.gpu.dry_run import META, LiveBytes, RealKernels, StreamBytes, dry_run, tensor_bytes
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.memory_plan import CONTEXT_BYTES, FRAGMENTATION
from sdv2_host.gpu.partial_vae import half_modules
from sdv2_host.gpu.tiny_engine import tiny_spec
from sdv2_host.gpu.wan_models import NoEncoder, Placement, WanFamily, random_vae
from sdv2_host.gpu.wan_spec import WAN_DIMS, wan_spec
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Layout
from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX, WanDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.streaming_vae import Decoded, Encoded, StreamingVAE, VAECache
from sdv2_host.wan.tiny_weights import open_tiny


class PartBytes(NamedTuple):
    shared: int
    """On every device: embeddings and head, and what a call with every step in it takes."""
    encoder: int
    """Weights, what it remembers, and what it takes beyond such a call while it runs."""
    block: int
    """Weights, and the keys and values of as many prompts as are kept."""
    row: int
    """Keys and values of one block at one denoising step."""
    decoder: int
    """As `encoder`."""
    num_rows: int
    """Steps that a block keeps keys and values of: the most that can be asked for."""


class _Half(NamedTuple):
    lasting: int
    """Weights and memory."""
    running: int
    """The most beside them."""


def room_bytes(device: torch.device) -> int:
    """What a process can have of the device now for parts of a stream."""
    return room_of(device_memory(device), device.type)


def room_of(memory: DeviceMemory, kind: str) -> int:
    """What is free but for what torch and the driver will take, which is an estimate; 0 = not even
    that."""
    return max(0, memory.free - CONTEXT_BYTES.get(kind, 0))


def plan_parts(config: Config, dtype: torch.dtype) -> PartBytes:
    """Of the engine that `config` names; seconds, and nothing is allocated.

    Raises:
        ModelError: the embedded model's file is missing or damaged.
    """
    if config.engine == "tiny":
        with open_tiny() as file:
            spec = replace(tiny_spec(file.card, config.size), device=META, dtype=dtype)
            return part_bytes(file.dit.dims, file.vae, spec)
    spec = wan_spec(config, META, dtype, for_planning=True)
    dims = WAN_DIMS[config.engine]
    vae = random_vae(config.vae, WanFamily(dims), Placement(META, dtype))
    return part_bytes(dims, vae, spec)


def part_bytes(dims: WanDims, vae: StreamingVAE, spec: StreamSpec) -> PartBytes:
    """Of models of these sizes; `vae` and `spec.device` must be on meta."""
    # Blocks are alike. Not so from one to two; see `dry_run.at_depth`.
    two, three = (_dit_alone(replace(dims, num_layers=depth), spec) for depth in (2, 3))
    weights = three.dit - two.dit
    kv_bytes = three.kv_cache - two.kv_cache
    text = (three.text_kv - two.text_kv) * spec.num_prompts
    fixed = two.dit - 2 * weights + two.kv_cache - 2 * kv_bytes
    encoder, decoder = _vae_halves(vae, spec)

    def end(half: _Half) -> int:
        return half.lasting + _loose(max(0, half.running - two.activations))

    return PartBytes(
        shared=fixed + _loose(two.activations),
        encoder=end(encoder),
        block=weights + text,
        row=_loose(kv_bytes // spec.num_rows),
        decoder=end(decoder),
        num_rows=spec.num_rows,
    )


def _loose(num_bytes: int) -> int:
    """With what torch's allocator cannot hand out again."""
    return int(num_bytes * (1 + FRAGMENTATION))


def _dit_alone(dims: WanDims, spec: StreamSpec) -> StreamBytes:
    """With every step in one call, as in a ring."""
    with META:
        dit = CausalWanModel(dims).to(spec.dtype)
    batch = replace(spec, layout=Layout.BATCH)
    models = StreamModels(dit, NoPictures(dims, spec), NoEncoder())
    return dry_run(models, batch, spec.num_rows)


@torch.inference_mode()
def _vae_halves(vae: StreamingVAE, spec: StreamSpec) -> tuple[_Half, _Half]:
    frames_BTCHW = torch.empty(1, FRAMES_PER_LATENT, 3, spec.height_px, spec.width_px, device=META)
    frames_BTCHW = frames_BTCHW.to(spec.dtype)
    cells = (spec.height_px // LATENT_STRIDE_PX, spec.width_px // LATENT_STRIDE_PX)
    cache = vae.init_cache(1, spec.height_px, spec.width_px, META, spec.dtype)
    z_BFCHW = vae.encode(frames_BTCHW, cache, is_first=False).z_BFCHW
    assert z_BFCHW.shape[-2:] == cells, "a latent cell stands for 8x8 pixels"
    encoders, decoders = half_modules(vae)

    def half(modules: list[nn.Module], memory: list[Tensor], run: Callable[[], object]) -> _Half:
        weights = [weight for module in modules for weight in module.parameters()]
        with LiveBytes(META, [*weights, *memory, frames_BTCHW, z_BFCHW]) as live, RealKernels():
            run()
        return _Half(tensor_bytes(weights) + _loose(tensor_bytes(memory)), live.peak)

    return (
        half(encoders, cache.encoder, lambda: vae.encode(frames_BTCHW, cache, is_first=False)),
        half(decoders, cache.decoder, lambda: vae.decode(z_BFCHW, cache, is_first=False)),
    )


class NoPictures(nn.Module):
    """An autoencoder that takes nothing but the pictures themselves."""

    def __init__(self, dims: WanDims, spec: StreamSpec) -> None:
        super().__init__()
        self._channels = dims.in_dim
        self._spec = spec

    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VAECache:
        del batch, height_px, width_px, device, dtype
        return VAECache([], [])

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        num_latents = (frames_BTCHW.shape[1] - is_first) // FRAMES_PER_LATENT + is_first
        height, width = (side // LATENT_STRIDE_PX for side in frames_BTCHW.shape[-2:])
        shape = (1, num_latents, self._channels, height, width)
        return Encoded(frames_BTCHW.new_empty(shape), cache)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        num_frames = 1 if is_first else FRAMES_PER_LATENT * z_BFCHW.shape[1]
        shape = (1, num_frames, 3, self._spec.height_px, self._spec.width_px)
        return Decoded(z_BFCHW.new_empty(shape), cache)
