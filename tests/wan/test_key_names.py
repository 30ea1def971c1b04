"""Every published layout of names becomes our modules' own, name by name and shape by shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from sdv2_host.wan.dims import TAEW2_1, WAN_1_3B, WAN_14B, WanDims
from sdv2_host.wan.identify import Kind, identify
from sdv2_host.wan.key_names import (
    DIT_IN_BLOCK,
    DIT_OUTSIDE,
    WRAPPERS,
    dit_name,
    taehv_name,
    umt5_name,
    vae_name,
)
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.tensor_file import TensorInfo
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import WanVAE

Shapes = dict[str, tuple[int, ...]]
DIMS = {"1.3B": WAN_1_3B, "14B": WAN_14B}
UMT5_XXL = UMT5Config(
    vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64
)


def on_meta(build: Callable[[], nn.Module]) -> Shapes:
    with torch.device("meta"):
        module = build()
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def listed(path: Path) -> Shapes:
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return {name: tuple(map(int, shape.strip("[]").split(","))) for name, shape in lines}


def renamed(shapes: Shapes, rename: Callable[[str], str]) -> Shapes:
    new = {rename(name): shape for name, shape in shapes.items()}
    assert len(new) == len(shapes), "two tensors got one name"
    return new


def kind_of(shapes: Mapping[str, tuple[int, ...]]) -> Kind:
    infos = {name: TensorInfo(shape, torch.bfloat16) for name, shape in shapes.items()}
    return identify(infos).kind


def diffusers_dit(dims: WanDims) -> nn.Module:
    return WanTransformer3DModel(
        num_attention_heads=dims.num_heads,
        attention_head_dim=dims.head_dim,
        ffn_dim=dims.ffn_dim,
        num_layers=dims.num_layers,
    )


@pytest.mark.parametrize("name", DIMS)
def test_the_published_dit_is_ours(reference: Path, name: str) -> None:
    published = listed(reference / f"keys/dit_{name}.txt")

    assert renamed(published, dit_name) == on_meta(lambda: CausalWanModel(DIMS[name]))


@pytest.mark.parametrize("name", DIMS)
def test_the_dit_of_diffusers_is_ours(name: str) -> None:
    theirs = on_meta(lambda: diffusers_dit(DIMS[name]))

    assert renamed(theirs, dit_name) == on_meta(lambda: CausalWanModel(DIMS[name]))


def test_the_published_vae_is_ours(reference: Path) -> None:
    ours = on_meta(WanVAE)

    assert renamed(listed(reference / "keys/vae.txt"), vae_name) == ours
    assert renamed(listed(reference / "keys/vae_diffusers.txt"), vae_name) == ours


def test_every_pair_of_the_recorded_vae_map_agrees(reference: Path) -> None:
    lines = (reference / "keys/vae_map.txt").read_text().splitlines()
    pairs = [line.split("\t->\t") for line in lines]

    assert [vae_name(theirs) for _, theirs in pairs] == [ours for ours, _ in pairs]


def test_the_vae_of_diffusers_is_ours() -> None:
    assert renamed(on_meta(AutoencoderKLWan), vae_name) == on_meta(WanVAE)


def test_the_published_text_encoder_is_that_of_transformers(reference: Path) -> None:
    theirs = on_meta(lambda: UMT5EncoderModel(UMT5_XXL))
    tied = "encoder.embed_tokens.weight"

    assert renamed(listed(reference / "keys/umt5_hf.txt"), umt5_name) == theirs
    original = renamed(listed(reference / "keys/umt5_enc.txt"), umt5_name)
    assert original | {tied: original["shared.weight"]} == theirs


def test_the_published_taehv_is_ours(reference: Path) -> None:
    published = listed(reference / "keys/taehv.txt")

    assert renamed(published, taehv_name) == on_meta(lambda: TinyVAE(TAEW2_1))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("dit_1.3B", Kind.DIT_1_3B),
        ("dit_14B", Kind.DIT_14B),
        ("vae", Kind.WAN_VAE),
        ("vae_diffusers", Kind.WAN_VAE),
        ("taehv", Kind.TAEHV),
        ("umt5_enc", Kind.UMT5_XXL),
        ("umt5_hf", Kind.UMT5_XXL),
    ],
)
def test_published_files_are_known_by_their_names(reference: Path, names: str, kind: Kind) -> None:
    shapes = listed(reference / f"keys/{names}.txt")

    assert kind_of(shapes) is kind
    assert kind_of({f"module.{name}": shape for name, shape in shapes.items()}) is kind


@pytest.mark.parametrize("name", DIMS)
def test_a_dit_of_diffusers_is_known_by_its_names(name: str) -> None:
    kinds = {"1.3B": Kind.DIT_1_3B, "14B": Kind.DIT_14B}

    assert kind_of(on_meta(lambda: diffusers_dit(DIMS[name]))) is kinds[name]


OURS = [
    *DIT_OUTSIDE,
    "patch_embedding",
    *(f"blocks.{index}.{module}" for index in (0, 7, 39) for module in DIT_IN_BLOCK),
]
THEIRS = [
    *DIT_OUTSIDE.values(),
    "patch_embedding",
    *(f"blocks.{index}.{module}" for index in (0, 7, 39) for module in DIT_IN_BLOCK.values()),
]


def test_names_of_modules_are_renamed_as_those_of_tensors() -> None:
    assert [dit_name(name) for name in THEIRS] == OURS
    assert [dit_name(f"{name}.weight") for name in THEIRS] == [f"{name}.weight" for name in OURS]


@given(st.sampled_from(OURS), st.data())
def test_wrappers_anywhere_in_a_name_do_not_matter(name: str, data: st.DataObject) -> None:
    stack = st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=3)
    wrapped = [part for own in name.split(".") for part in (*data.draw(stack), own)]

    assert dit_name(".".join(wrapped)) == name


@given(st.sampled_from(OURS + THEIRS))
def test_renaming_twice_changes_nothing(name: str) -> None:
    assert dit_name(dit_name(name)) == dit_name(name)


@given(st.text(max_size=60))
def test_any_name_is_renamed_without_an_error(name: str) -> None:
    for rename in (dit_name, vae_name, umt5_name, taehv_name):
        assert isinstance(rename(name), str)
