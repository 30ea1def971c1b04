"""Whatever container a model comes in, the same module comes out, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file

from sdv2_host.errors import ModelError
from sdv2_host.wan.checkpoint import open_checkpoint
from sdv2_host.wan.dims import WanDims
from sdv2_host.wan.identify import Kind, identify, identify_file
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.tensor_file import TensorInfo
from sdv2_host.wan.tiny_weights import TINY_PATH
from sdv2_host.wan.weights import load_dit, open_dit
from tests.toys import TOY_DIT
from tests.wan.containers import CONTAINERS, State, random_like, save_pt, save_st


@pytest.fixture
def state() -> State:
    return random_like(CausalWanModel(TOY_DIT).state_dict())


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_dit(tmp_path: Path, state: State, container: str) -> None:
    path = CONTAINERS[container](state, tmp_path)

    loaded = load_dit(path, TOY_DIT)

    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_recorded_generator_loads(reference: Path) -> None:
    path = reference / "vectors/generator.safetensors"
    dims = WanDims(dim=256, num_heads=2, ffn_dim=512, num_layers=3)

    loaded = load_dit(path, dims)

    stored = load_file(path)
    assert all(torch.equal(v, stored[f"model.{k}"]) for k, v in loaded.state_dict().items())


def test_generator_goes_before_its_average_and_that_before_state_dict(
    tmp_path: Path, state: State
) -> None:
    other = {name: value + 1 for name, value in state.items()}
    ema = save_pt({"state_dict": other, "generator_ema": state}, tmp_path / "ema.pt")
    both = save_pt({"generator_ema": other, "generator": state}, tmp_path / "both.pt")

    for path in (ema, both):
        assert torch.equal(
            load_dit(path, TOY_DIT).patch_embedding.bias, state["patch_embedding.bias"]
        )


@pytest.mark.parametrize(
    "container", ["pt, fsdp", "shards", "diffusers pipeline", "pt, old format"]
)
def test_an_open_dit_can_be_read_again_under_our_names(
    tmp_path: Path, state: State, container: str
) -> None:
    with open_dit(CONTAINERS[container](state, tmp_path), TOY_DIT) as checkpoint:
        assert checkpoint.entries.keys() == state.keys()
        for _ in range(2):
            for name, value in state.items():
                assert torch.equal(checkpoint.read(name), value)


def test_a_tensor_outlives_its_checkpoint(tmp_path: Path, state: State) -> None:
    with open_checkpoint(save_pt(state, tmp_path / "a.pt")) as pickled:
        from_pt = pickled.read("head.head.weight")
    with open_checkpoint(save_st(state, tmp_path / "a.safetensors")) as safe:
        from_safetensors = safe.read("head.head.weight")

    assert torch.equal(from_pt, state["head.head.weight"])
    assert torch.equal(from_safetensors, state["head.head.weight"])


def test_opening_says_shapes_and_types_without_reading(tmp_path: Path) -> None:
    path = save_pt({"a.b": torch.zeros(2, 3, dtype=torch.bfloat16)}, tmp_path / "a.pt")

    with open_checkpoint(path) as checkpoint:
        assert dict(checkpoint.entries) == {"a.b": TensorInfo((2, 3), torch.bfloat16)}


def test_a_folder_of_diffusers_itself_loads(tmp_path: Path) -> None:
    dit = WanTransformer3DModel(
        num_attention_heads=TOY_DIT.num_heads,
        attention_head_dim=TOY_DIT.head_dim,
        text_dim=TOY_DIT.text_dim,
        freq_dim=TOY_DIT.freq_dim,
        ffn_dim=TOY_DIT.ffn_dim,
        num_layers=TOY_DIT.num_layers,
    )
    dit.save_pretrained(tmp_path / "whole/transformer")
    dit.save_pretrained(tmp_path / "shards/transformer", max_shard_size="20KB")

    assert len(list((tmp_path / "shards/transformer").glob("*.safetensors"))) > 1
    for path in (tmp_path / "whole", tmp_path / "shards", tmp_path / "shards/transformer"):
        loaded = load_dit(path, TOY_DIT)
        assert torch.equal(loaded.head.head.weight, dit.proj_out.weight)
        assert torch.equal(loaded.blocks[1].norm3.bias, dit.blocks[1].norm2.bias)


def test_the_embedded_model_is_known_and_is_no_wan_dit(tmp_path: Path) -> None:
    assert identify_file(TINY_PATH) is Kind.TINY
    with pytest.raises(ModelError, match="tiny model: run it with --engine tiny"):
        load_dit(TINY_PATH, TOY_DIT)


@pytest.mark.parametrize(
    ("changed", "description"),
    [
        ({"img_emb.proj.0.weight": torch.zeros(1)}, "an image-to-video Wan DiT"),
        ({"patch_embedding.weight": torch.zeros(24, 36, 1, 2, 2)}, "an image-to-video Wan DiT"),
        ({"patch_embedding.weight": torch.zeros(24, 48, 1, 2, 2)}, "with 48 input channels"),
        ({"vace_blocks.0.modulation": torch.zeros(1)}, "a VACE Wan DiT"),
        ({"scaled_fp8": torch.zeros(1)}, "in scaled float8"),
        ({}, "a Wan DiT of other sizes"),
        ({"blocks.0.self_attn.q.lora_A.weight": torch.zeros(1)}, "a LoRA file"),
    ],
)
def test_other_wan_files_are_told_apart(state: State, changed: State, description: str) -> None:
    infos = {n: TensorInfo(tuple(v.shape), v.dtype) for n, v in (state | changed).items()}

    assert description in identify(infos).description
