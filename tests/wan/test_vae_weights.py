"""The Wan autoencoder's weights: the published names, and a memory order that nothing loses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdv2_host.wan.dims import WAN_VAE, WanVAEDims
from sdv2_host.wan.vae import WanVAE
from sdv2_host.wan.vae_layers import CausalConv, channels_innermost

TOY = WanVAEDims(base=2, num_res_blocks=1)


def make(dtype: torch.dtype = torch.double) -> WanVAE:
    torch.manual_seed(0)
    return WanVAE(TOY).to(dtype)


def test_names_and_shapes_equal_the_published_file(reference: Path) -> None:
    lines = (reference / "keys/vae.txt").read_text().splitlines()
    published = dict(line.split("\t") for line in lines if line)

    with torch.device("meta"):
        vae = WanVAE(WAN_VAE)

    assert all(weight.is_meta for weight in vae.parameters())
    assert {k: str(list(v.shape)) for k, v in vae.state_dict().items()} == published
    assert len(published) == 194


def first_latents(vae: WanVAE) -> Tensor:
    frames = torch.linspace(-1, 1, 5 * 3 * 16 * 32, dtype=torch.double).view(1, 5, 3, 16, 32)
    cache = vae.init_cache(1, 16, 32, dtype=torch.double)
    return vae.encode(frames, cache, is_first=True).z_BFCHW


def shares_memory(conv: CausalConv) -> bool:
    """The 2-D weight is the parameter's memory, as a dense channels_last tensor."""
    stacked = conv.stacked_weight()
    return stacked.data_ptr() == conv.weight.data_ptr() and stacked.is_contiguous(
        memory_format=torch.channels_last
    )


def all_in_order(vae: nn.Module) -> bool:
    causal = [m for m in vae.modules() if isinstance(m, CausalConv)]
    flat = [m for m in vae.modules() if isinstance(m, nn.Conv2d)]
    assert len(causal) > 10
    assert len(flat) > 5
    return all(shares_memory(conv) for conv in causal) and all(
        conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in flat
    )


def test_stacked_weights_are_views_whatever_torch_does_to_the_module() -> None:
    vae = make()
    weights = {name: weight.contiguous() for name, weight in vae.state_dict().items()}
    with torch.device("meta"):
        on_meta = WanVAE(TOY)
    emptied = on_meta.to_empty(device="cpu")
    for name, weight in emptied.named_parameters():
        weight.copy_(weights[name])
    assigned = WanVAE(TOY)
    assigned.load_state_dict(weights, assign=True)

    assert all_in_order(vae)
    assert all_in_order(make(dtype=torch.bfloat16))
    assert all_in_order(copy.deepcopy(vae))
    assert all_in_order(emptied)
    assert all_in_order(assigned)
    for name, weight in emptied.double().state_dict().items():
        assert torch.equal(weight, weights[name].float().double())
    for name, weight in assigned.state_dict().items():
        assert torch.equal(weight, weights[name])


def test_a_weight_in_another_order_is_refused_until_restored() -> None:
    vae, frames = make(), torch.rand(1, 5, 3, 16, 32, dtype=torch.double)
    expected = vae.encode(
        frames, vae.init_cache(1, 16, 32, dtype=torch.double), is_first=True
    ).z_BFCHW
    for name, weight in list(vae.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        setattr(vae.get_submodule(owner), leaf, nn.Parameter(weight.contiguous()))

    with pytest.raises(RuntimeError, match="view"):
        first_latents(vae)
    vae.restore_()

    assert all_in_order(vae)
    assert torch.equal(
        vae.encode(frames, vae.init_cache(1, 16, 32, dtype=torch.double), is_first=True).z_BFCHW,
        expected,
    )


def test_channels_innermost_changes_no_value() -> None:
    for shape in ((4, 3, 3, 3, 3), (4, 3, 3, 1, 1), (4, 3, 1, 1, 1), (4, 3, 3, 3)):
        weight = torch.randn(shape)

        assert torch.equal(channels_innermost(weight), weight)


def test_the_normalisation_survives_every_move() -> None:
    exact = WanVAE(TOY).double().latent_scale.mean
    with torch.device("meta"):
        vae = WanVAE(TOY)

    emptied = vae.to_empty(device="cpu").to(torch.bfloat16).double()

    assert torch.equal(emptied.latent_scale.mean, exact)
    assert exact.flatten().tolist() == list(WAN_VAE.latent_mean)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim_mult": (1, 2, 4)}, "expected 4 and 8"),
        ({"temporal_downsample": (True, True)}, "one entry less"),
        ({"latent_mean": (0.0,)}, "z_dim = 16"),
    ],
    ids=str,
)
def test_dims_that_do_not_fit_wans_latents_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        WanVAEDims(**changes)
