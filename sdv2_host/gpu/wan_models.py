"""The models of a Wan engine: of which sizes, where they go, from files or with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sdv2_host.config import Config, LinearsName
from sdv2_host.errors import ConfigError, DeviceError
from sdv2_host.gpu.device import device_name, resolve_device, resolve_dtype
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.models import store
from sdv2_host.models.store import ModelFiles
from sdv2_host.types import ProgressFn
from sdv2_host.wan.dims import TAEW2_1, WAN_VAE, TinyVAEDims, WanDims, WanVAEDims
from sdv2_host.wan.fp8 import by_kernel
from sdv2_host.wan.model import Block, CausalWanModel
from sdv2_host.wan.streaming_vae import BandedVAE
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import HybridVAE, TaehvVAE, WanVAE
from sdv2_host.wan.weights import load_dit, load_dit8, load_taehv, load_wan_vae

FP8_CAPABILITY = (8, 9)
"""Of the first NVIDIA cards that multiply 8-bit floating point."""
NOT_LOCATED = "locate answers with every part that it was asked for"


@dataclass(frozen=True, slots=True)
class WanFamily:
    """Sizes of the models that work together."""

    dit: WanDims
    vae: WanVAEDims = WAN_VAE
    taehv: TinyVAEDims = TAEW2_1


@dataclass(frozen=True, slots=True)
class Placement:
    """Where weights go."""

    device: torch.device
    dtype: torch.dtype
    linears: LinearsName = "plain"
    """As in `Config.linears`."""

    @classmethod
    def of(cls, config: Config) -> Placement:
        """What `config` asks for.

        Raises:
            DeviceError: the device is not there, or has no 8-bit units.
            ConfigError: the linears' format does not go with the rest's.
        """
        device = resolve_device(config.device)
        dtype = resolve_dtype(config.dtype, device)
        if config.linears == "fp8":
            check_fp8(device, dtype)
        return cls(device, dtype, config.linears)


def check_fp8(device: torch.device, dtype: torch.dtype) -> None:
    """Linears in 8 bits can run there.

    Raises:
        DeviceError: the device has no units for them.
        ConfigError: `dtype` is not the one that they give.
    """
    is_cuda = device.type == "cuda"
    found = torch.cuda.get_device_capability(device) if is_cuda else (0, 0)
    if found < FP8_CAPABILITY:
        has = f"has {found[0]}.{found[1]}" if is_cuda else "is none"
        raise DeviceError(
            f"--linears fp8 needs an NVIDIA card of compute capability "
            f"{FP8_CAPABILITY[0]}.{FP8_CAPABILITY[1]} or more (RTX 40, L40, H100 and later); "
            f"{device_name(device)} {has}: use --linears plain"
        )
    if dtype != torch.bfloat16:
        given = str(dtype).removeprefix("torch.")
        raise ConfigError(f"--linears fp8 goes with --dtype bfloat16, not with {given}")


def installed_files(config: Config) -> ModelFiles:
    """Where the parts are that the Wan engine of `config` needs.

    Raises:
        ModelError: one is missing, unfinished or damaged; saying how to get it.
    """
    models_dir = store.models_dir(config.models_dir)
    return store.locate(config.engine, models_dir, needs=store.needed_parts(config))


class NoEncoder:
    """In the place of the text encoder, which has a process of its own."""

    def encode(self, prompt: str) -> Tensor:
        raise AssertionError(f"models without an encoder were asked for {prompt!r}")


def load_models(
    vae: str, files: ModelFiles, family: WanFamily, place: Placement, progress: ProgressFn
) -> StreamModels:
    """DiT and autoencoder (`vae` as in `Config.vae`) from their files, without a text encoder.

    Raises:
        ModelError: a file is damaged, or another model.
    """
    assert files.dit is not None, NOT_LOCATED
    to_dit, to_vae = (
        _share(progress, *part) for part in (("the DiT", 0, 0.8), ("the VAE", 0.8, 1))
    )
    if place.linears == "fp8":
        dit = load_dit8(files.dit, family.dit, place.device, place.dtype, to_dit)
    else:
        dit = load_dit(files.dit, family.dit, place.device, place.dtype, to_dit)

    def wan() -> WanVAE:
        assert files.vae is not None, NOT_LOCATED
        return load_wan_vae(files.vae, place.device, place.dtype, to_vae, family.vae)

    def taehv() -> TinyVAE:
        assert files.taehv is not None, NOT_LOCATED
        return load_taehv(files.taehv, place.device, place.dtype, to_vae, family.taehv)

    return StreamModels(dit, _vae_of(vae, wan, taehv, family, place), NoEncoder())


def random_models(vae: str, family: WanFamily, place: Placement) -> StreamModels:
    """The same with random weights, for benches: as large and as fast as the real ones."""
    dit = _random_dit(family.dit, place).eval().requires_grad_(False)
    if place.linears == "fp8":
        dit.quantise_(by_kernel)
    return StreamModels(dit, random_vae(vae, family, place), NoEncoder())


def _random_dit(dims: WanDims, place: Placement) -> CausalWanModel:
    """Block by block in the format that is asked for: all of Wan 14B in float32 is 57 GB."""
    with place.device:
        dit = CausalWanModel(replace(dims, num_layers=0)).to(place.dtype)
        dit.dims = dims
        for _ in range(dims.num_layers):
            dit.blocks.append(Block(dims).to(place.dtype))
    return dit


def random_vae(vae: str, family: WanFamily, place: Placement) -> BandedVAE:
    """The autoencoder of `random_models` alone."""

    def wan() -> WanVAE:
        with place.device:
            return WanVAE(family.vae).to(place.dtype)

    def taehv() -> TinyVAE:
        with place.device:
            return TinyVAE(family.taehv).to(place.dtype).eval().requires_grad_(False)

    return _vae_of(vae, wan, taehv, family, place)


def _vae_of(
    kind: str,
    wan: Callable[[], WanVAE],
    taehv: Callable[[], TinyVAE],
    family: WanFamily,
    place: Placement,
) -> BandedVAE:
    """The autoencoder that `Config.vae` names, of the halves that it needs."""
    if kind == "wan":
        return wan()
    both = TaehvVAE(taehv(), family.vae) if kind == "taehv" else HybridVAE(wan(), taehv())
    return both.to(place.device, place.dtype)


def _share(progress: ProgressFn, what: str, begin: float, end: float) -> Callable[[float], None]:
    """Progress of one part as a part of the whole."""
    return lambda fraction: progress(f"loading {what}", begin + fraction * (end - begin))
