"""An autoencoder of which one half, both or none have memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from sdv2_host.gpu.wan_models import NOT_LOCATED, Placement, WanFamily
from sdv2_host.models.store import ModelFiles
from sdv2_host.wan.filling import META, Progress
from sdv2_host.wan.partial import PartialModule, share
from sdv2_host.wan.streaming_vae import BandedVAE, StreamingVAE
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import HybridVAE, TaehvVAE, WanVAE
from sdv2_host.wan.weights import VAE, open_taehv

_WAN_ENCODER = ("encoder", "conv1")
_WAN_DECODER = ("latent_scale", "conv2", "decoder")


class Half(NamedTuple):
    """Parts of a module that are needed together."""

    module: PartialModule[Any]
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartialVAE:
    vae: BandedVAE
    encoder: Half
    decoder: Half

    def hold_(self, encodes: bool, decodes: bool, progress: Progress | None = None) -> None:
        """The halves asked for have memory, and no other.

        Raises:
            ModelError: the file cannot be read, or a number is not finite.
        """
        halves = [(self.encoder, encodes), (self.decoder, decodes)]
        needed = [half for half, is_needed in halves if is_needed]
        for half, is_needed in halves:
            if not is_needed:
                half.module.drop_(half.parts)
        for index, half in enumerate(needed):
            half.module.bring_(half.parts, share(progress, index, len(needed)))


def partial_wan_vae(
    kind: str, files: ModelFiles, family: WanFamily, place: Placement
) -> PartialVAE:
    """The autoencoder that `Config.vae` names, without memory yet; its files stay open.

    Raises:
        ModelError: a file is damaged, or another model.
    """
    if kind == "wan":
        wan = _partial_wan(files, family, place)
        return PartialVAE(wan.module, Half(wan, _WAN_ENCODER), Half(wan, _WAN_DECODER))
    tiny = _partial_tiny(files, family, place)
    decoder = Half(tiny, ("decoder",))
    if kind == "taehv":
        taehv = TaehvVAE(tiny.module, family.vae)
        _place_scale_(taehv, place)
        return PartialVAE(taehv, Half(tiny, ("encoder",)), decoder)
    wan = _partial_wan(files, family, place)
    hybrid = HybridVAE(wan.module, tiny.module)
    _place_scale_(hybrid, place)
    return PartialVAE(hybrid, Half(wan, _WAN_ENCODER), decoder)


def half_modules(vae: StreamingVAE) -> tuple[list[nn.Module], list[nn.Module]]:
    """What encodes, and what decodes."""
    if isinstance(vae, HybridVAE):
        return half_modules(vae.encoder)[0], half_modules(vae.tiny)[1]
    if isinstance(vae, TaehvVAE):
        return half_modules(vae.tiny)
    if isinstance(vae, WanVAE):
        return [vae.encoder, vae.conv1], [vae.conv2, vae.decoder]
    assert isinstance(vae, TinyVAE), "an autoencoder of another kind"
    return [vae.encoder], [vae.decoder]


def _partial_wan(files: ModelFiles, family: WanFamily, place: Placement) -> PartialModule[WanVAE]:
    assert files.vae is not None, NOT_LOCATED
    with META:
        vae = WanVAE(family.vae)
    return PartialModule(vae, VAE.open(files.vae), place.device, place.dtype)


def _partial_tiny(files: ModelFiles, family: WanFamily, place: Placement) -> PartialModule[TinyVAE]:
    assert files.taehv is not None, NOT_LOCATED
    with META:
        vae = TinyVAE(family.taehv)
    return PartialModule(vae, open_taehv(files.taehv, family.taehv), place.device, place.dtype)


def _place_scale_(taehv: TaehvVAE, place: Placement) -> None:
    """The latents' scale is no part of a file, and each half needs it."""
    taehv.latent_scale.to(dtype=place.dtype).to_empty(device=place.device)
