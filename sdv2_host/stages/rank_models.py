"""The models of one rank: the blocks it runs, the half of the autoencoder it needs, and no more.

What every rank holds is small: the embeddings of patches, of time and of text, and the head. The
other blocks wait in the model's file or in host memory (`Config.spare_weights`) and can be brought
at any time, so that blocks can move and a rank's death needs no other to be loaded anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.banked_text import banked_text
from sdv2_host.gpu.device import resolve_dtype
from sdv2_host.gpu.partial_vae import Half, PartialVAE, partial_wan_vae
from sdv2_host.gpu.tiny_engine import tiny_spec
from sdv2_host.gpu.wan_models import NOT_LOCATED, Placement, WanFamily, installed_files
from sdv2_host.gpu.wan_spec import WAN_DIMS, wan_spec
from sdv2_host.models.store import ModelFiles
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import ProgressFn
from sdv2_host.wan.dims import WanDims
from sdv2_host.wan.filling import CPU, META, load_
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.partial import PartialModule
from sdv2_host.wan.streaming_vae import StreamingVAE
from sdv2_host.wan.text import TextEncoder
from sdv2_host.wan.tiny_weights import open_tiny
from sdv2_host.wan.weights import DIT


class Ends(NamedTuple):
    """Which halves of the autoencoder a rank needs: the entry encodes, the exit decodes."""

    encodes: bool
    decodes: bool


BOTH_ENDS = Ends(encodes=True, decodes=True)


class RankModels(NamedTuple):
    """All on one device, in one type; what is not held is on the meta device."""

    dit: CausalWanModel
    vae: StreamingVAE
    bring_: Callable[[Iterable[int]], None]
    """These blocks have their weights, beside those that have. From a file this waits for the disk
    and the device; from host memory for nothing."""
    drop_: Callable[[Iterable[int]], None]
    """These blocks have no memory."""
    hold_vae_: Callable[[Ends], None]
    """Of the autoencoder these halves have memory, and no other. A route is planned for ranks that
    hold what their place needs; one that is built without saying so holds both."""


class PartialModels(NamedTuple):
    """Without memory yet; their files are open."""

    dit: PartialModule[CausalWanModel]
    vae: PartialVAE


def build_rank_models(
    config: Config,
    device: torch.device,
    blocks: Iterable[int],
    progress: ProgressFn,
    ends: Ends = BOTH_ENDS,
) -> RankModels:
    """The models of the engine that `config` names, with these blocks, on this device.

    Raises:
        ModelError: a file is missing, damaged, or another model.
        ConfigError: the engine has no blocks.
    """
    if config.engine == "tiny":
        return rank_models(partial_tiny_models(config, device), blocks, progress, ends)
    place = Placement(device, resolve_dtype(config.dtype, device))
    family = WanFamily(_wan_dims(config))
    models = partial_wan_models(config, installed_files(config), family, place)
    return rank_models(models, blocks, progress, ends)


def rank_models(
    models: PartialModels, blocks: Iterable[int], progress: ProgressFn, ends: Ends = BOTH_ENDS
) -> RankModels:
    """With these blocks, these halves of the autoencoder, and what every rank holds."""
    dit, vae = models
    shared = [name for name, _ in dit.module.named_children() if name != "blocks"]
    dit.bring_([*shared, *_names(blocks)], partial(progress, "loading the DiT"))
    vae.hold_(*ends, partial(progress, "loading the VAE"))
    return RankModels(
        dit.module,
        vae.vae,
        bring_=lambda blocks: dit.bring_(_names(blocks)),
        drop_=lambda blocks: dit.drop_(_names(blocks)),
        hold_vae_=lambda ends: vae.hold_(*ends),
    )


def partial_wan_models(
    config: Config, files: ModelFiles, family: WanFamily, place: Placement
) -> PartialModels:
    """Of these files, of these sizes.

    Raises:
        ModelError: a file is damaged, or another model.
    """
    assert files.dit is not None, NOT_LOCATED
    with META:
        dit = CausalWanModel(family.dit)
    spares = _spares(config, dit, place.device)
    return PartialModels(
        PartialModule(dit, DIT.open(files.dit), place.device, place.dtype, spares),
        partial_wan_vae(config.vae, files, family, place),
    )


def partial_tiny_models(config: Config, device: torch.device) -> PartialModels:
    """Of the embedded model, in float32 on any device.

    Raises:
        ModelError: the file is missing, damaged, or not this model.
    """
    file = open_tiny()
    # As in one process, and before there is memory: an order of axes is kept when it is filled.
    file.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    spares = _spares(config, file.dit, device)
    dit, vae = file.weights_of("dit"), file.weights_of("vae")
    halves = PartialModule(file.vae, vae, device, torch.float32)
    return PartialModels(
        PartialModule(file.dit, dit, device, torch.float32, spares),
        PartialVAE(file.vae, Half(halves, ("encoder",)), Half(halves, ("decoder",))),
    )


def spec_of(config: Config, device: torch.device) -> StreamSpec:
    """The stream that `config` asks for, on this device.

    Raises:
        ModelError: the embedded model's file is missing or damaged.
        ConfigError: the engine has no blocks.
    """
    if config.engine == "tiny":
        with open_tiny() as file:
            return replace(tiny_spec(file.card, config.size), device=device)
    _wan_dims(config)
    return wan_spec(config, device, resolve_dtype(config.dtype, device))


def build_ring_text(config: Config) -> TextEncoder:
    """The text encoder of the driver, on the CPU: ranks are sent what it makes of a prompt.

    A Wan engine's rows come from the prompt bank, in bfloat16 as they lie there.

    Raises:
        ModelError: the embedded model's file is missing or damaged.
        ConfigError: the engine has no blocks.
    """
    if config.engine == "tiny":
        with open_tiny() as file:
            return load_(file.text, file.weights_of("text"), CPU, torch.float32)
    _wan_dims(config)
    return banked_text(config)


def _wan_dims(config: Config) -> WanDims:
    if config.engine not in WAN_DIMS:
        raise ConfigError(
            f"--engine {config.engine} has no model to spread over devices: "
            f"use --engine tiny, {' or '.join(WAN_DIMS)}, or one device"
        )
    return WAN_DIMS[config.engine]


def _names(blocks: Iterable[int]) -> list[str]:
    return [f"blocks.{block}" for block in blocks]


def _spares(config: Config, dit: CausalWanModel, device: torch.device) -> list[str]:
    """Blocks that wait in host memory; where that is the device's own, they wait in the file."""
    if config.spare_weights == "file" or device.type == "cpu":
        return []
    return _names(range(dit.dims.num_layers))
