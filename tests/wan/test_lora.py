"""LoRA files: every style names the right weight, as diffusers reads them too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_musubi_wan_lora_to_diffusers,
    _convert_non_diffusers_wan_lora_to_diffusers,
)
from torch import Tensor

from sdv2_host.wan.identify import Kind, identify
from sdv2_host.wan.lora import LoraReader, LoraTarget, read_lora
from sdv2_host.wan.lora_names import is_lora_key
from sdv2_host.wan.tensor_file import TensorInfo
from tests.lora_files import (
    RANK,
    STYLES,
    comfy,
    diffusers_name,
    factors,
    linears,
    single,
    tensors_of,
    write,
)
from tests.toys import TOY_DIT

SHAPES = LoraTarget.of(TOY_DIT).shapes
ALPHA = 3.0
FULL = {"rtol": 1e-6, "atol": 1e-6}


def one() -> dict[str, Tensor]:
    """The smallest file that is a LoRA."""
    return single(TOY_DIT)


@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("style", STYLES)
def test_every_style_changes_the_weight_it_names(
    style: str, alpha: float | None, tmp_path: Path
) -> None:
    parts = factors(TOY_DIT)
    path = write(tmp_path / "ink.safetensors", tensors_of(style, parts, alpha))

    lora = read_lora(path, TOY_DIT)

    scale = 1.0 if alpha is None else alpha / RANK
    assert lora.name == "ink"
    assert lora.changes.keys() == {f"{name}.weight" for name in parts}
    for name, (up, down) in parts.items():
        torch.testing.assert_close(lora.delta(f"{name}.weight"), scale * up @ down, **FULL)


def deltas_of_converted(converted: dict[str, Tensor]) -> dict[str, Tensor]:
    """By diffusers name of the weight."""
    ups = {k: v for k, v in converted.items() if k.endswith(".lora_B.weight")}
    return {
        key.removesuffix(".lora_B.weight"): up @ converted[key.replace("lora_B", "lora_A")]
        for key, up in ups.items()
    }


def test_kohya_files_give_what_diffusers_makes_of_them(tmp_path: Path) -> None:
    tensors = tensors_of("kohya", factors(TOY_DIT, outside=False), ALPHA)
    path = write(tmp_path / "ink.safetensors", tensors)

    lora = read_lora(path, TOY_DIT)
    theirs = deltas_of_converted(_convert_musubi_wan_lora_to_diffusers(dict(tensors)))

    assert len(theirs) == len(lora.changes) == TOY_DIT.num_layers * 10
    for name in lora.changes:
        key = "transformer." + diffusers_name(name.removesuffix(".weight"))
        torch.testing.assert_close(lora.delta(name), theirs[key], **FULL)


@pytest.mark.parametrize("style", ["comfy", "comfy, kohya's factors"])
def test_original_names_give_what_diffusers_makes_of_them(style: str, tmp_path: Path) -> None:
    tensors = tensors_of(style, factors(TOY_DIT), None)
    tensors |= {
        f"{comfy(name)}.diff_b": torch.randn(num_out)
        for name, (num_out, _) in linears(TOY_DIT).items()
    }
    path = write(tmp_path / "ink.safetensors", tensors)

    lora = read_lora(path, TOY_DIT)
    converted = _convert_non_diffusers_wan_lora_to_diffusers(dict(tensors))

    theirs = deltas_of_converted(converted)
    assert len(theirs) * 2 == len(lora.changes)
    for name in linears(TOY_DIT):
        key = "transformer." + diffusers_name(name)
        torch.testing.assert_close(lora.delta(f"{name}.weight"), theirs[key], **FULL)
        assert torch.equal(lora.delta(f"{name}.bias"), converted[f"{key}.lora_B.bias"])


def test_full_differences_reach_every_kind_of_weight(tmp_path: Path) -> None:
    changes = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    keys = {
        name: name.removesuffix(".weight") + ".diff"
        if not name.endswith(".bias")
        else name.removesuffix(".bias") + ".diff_b"
        for name in changes
    }
    tensors = {comfy(keys[name]): change for name, change in changes.items()}

    lora = read_lora(write(tmp_path / "fast.safetensors", tensors), TOY_DIT)

    assert lora.changes.keys() == SHAPES.keys()
    for name, change in changes.items():
        assert torch.equal(lora.delta(name), change)


def test_modulation_has_a_suffix_of_its_own_in_some_files(tmp_path: Path) -> None:
    block, head = torch.randn(1, 6, TOY_DIT.dim), torch.randn(1, 2, TOY_DIT.dim)
    tensors = {comfy("blocks.1.diff_m"): block, comfy("head.diff_m"): head[0]}

    lora = read_lora(write(tmp_path / "fast.safetensors", tensors), TOY_DIT)

    assert torch.equal(lora.delta("blocks.1.modulation"), block)
    assert torch.equal(lora.delta("head.modulation"), head)


def test_diffusers_modulation_and_norms_have_their_own_names(tmp_path: Path) -> None:
    block, head = torch.randn(1, 6, TOY_DIT.dim), torch.randn(1, 2, TOY_DIT.dim)
    norm, norm_q = torch.randn(TOY_DIT.dim), torch.randn(TOY_DIT.dim)
    tensors = {
        "transformer.blocks.1.scale_shift_table.diff": block,
        "transformer.scale_shift_table.diff": head,
        "transformer.blocks.0.norm2.diff": norm,
        "transformer.blocks.0.attn2.norm_q.diff": norm_q,
    }

    lora = read_lora(write(tmp_path / "fast.safetensors", tensors), TOY_DIT)

    assert torch.equal(lora.delta("blocks.1.modulation"), block)
    assert torch.equal(lora.delta("head.modulation"), head)
    assert torch.equal(lora.delta("blocks.0.norm3.weight"), norm)
    assert torch.equal(lora.delta("blocks.0.cross_attn.norm_q.weight"), norm_q)


@pytest.mark.parametrize("is_flat", [False, True])
def test_the_patch_convolution_takes_matrices_and_kernels(is_flat: bool, tmp_path: Path) -> None:
    shape = SHAPES["patch_embedding.weight"]
    up, down = torch.randn(shape[0], RANK), torch.randn(RANK, *shape[1:])
    diff = torch.randn(shape)
    tensors = {
        "diffusion_model.patch_embedding.lora_down.weight": down.flatten(1) if is_flat else down,
        "diffusion_model.patch_embedding.lora_up.weight": (
            up if is_flat else up[:, :, None, None, None]
        ),
        "diffusion_model.patch_embedding.diff": diff.flatten(1) if is_flat else diff,
    }

    lora = read_lora(write(tmp_path / "ink.safetensors", tensors), TOY_DIT)

    expected = (up @ down.flatten(1)).reshape(shape) + diff
    torch.testing.assert_close(lora.delta("patch_embedding.weight"), expected, **FULL)


def test_a_bias_of_the_up_projection_is_scaled_like_it(tmp_path: Path) -> None:
    bias = torch.randn(TOY_DIT.dim)
    tensors = one() | {
        comfy("blocks.0.self_attn.q.lora_B.bias"): bias,
        comfy("blocks.0.self_attn.q.diff_b"): torch.ones(TOY_DIT.dim),
        comfy("blocks.0.self_attn.q.alpha"): torch.tensor(ALPHA),
    }

    lora = read_lora(write(tmp_path / "ink.safetensors", tensors), TOY_DIT)

    delta = lora.delta("blocks.0.self_attn.q.bias")
    torch.testing.assert_close(delta, bias * ALPHA / RANK + 1, **FULL)


METADATA = {
    "PEFT, one alpha": ("comfy", {"lora_alpha": "6"}, 6 / RANK),
    "diffusers' adapter": (
        "diffusers",
        {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 6})},
        6 / RANK,
    ),
    "an alpha of its own": (
        "diffusers",
        {
            "lora_adapter_metadata": json.dumps(
                {"transformer.lora_alpha": 6, "transformer.alpha_pattern": {"attn1.to_q": 5}}
            )
        },
        5 / RANK,
    ),
    "rank stabilised": (
        "diffusers",
        {
            "lora_adapter_metadata": json.dumps(
                {"transformer.lora_alpha": 6, "transformer.use_rslora": True}
            )
        },
        6 / RANK**0.5,
    ),
    "kohya's own": ("kohya", {"ss_network_alpha": "6"}, 6 / RANK),
    # Converters multiply the factors by it and keep the metadata.
    "kohya's, kept by a converter": ("comfy", {"ss_network_alpha": "6"}, 1.0),
    "none": ("comfy", {"format": "pt", "ss_network_alpha": "None"}, 1.0),
}


@pytest.mark.parametrize("case", METADATA)
def test_alpha_in_the_metadata_counts_where_no_tensor_states_it(case: str, tmp_path: Path) -> None:
    style, metadata, scale = METADATA[case]
    name = "blocks.0.self_attn.q"
    parts = {name: factors(TOY_DIT)[name]}
    path = write(tmp_path / "ink.safetensors", tensors_of(style, parts, None), metadata)
    stated = write(tmp_path / "stated.safetensors", tensors_of(style, parts, 4.0))

    delta = read_lora(path, TOY_DIT).delta(f"{name}.weight")

    up, down = parts[name]
    torch.testing.assert_close(delta, scale * up @ down, **FULL)
    from_tensor = read_lora(stated, TOY_DIT).delta(f"{name}.weight")
    torch.testing.assert_close(from_tensor, 4.0 / RANK * up @ down, **FULL)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_change_is_computed_in_float32_from_any_format(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors = {key: value.to(dtype) for key, value in one().items()}

    delta = read_lora(write(tmp_path / "ink.safetensors", tensors), TOY_DIT).delta(
        "blocks.0.self_attn.q.weight"
    )

    assert delta.dtype is torch.float32
    assert torch.equal(delta, torch.full_like(delta, RANK))


def test_image_to_video_and_text_encoder_keys_are_counted_and_left_out(tmp_path: Path) -> None:
    others = {
        comfy("blocks.0.cross_attn.k_img.lora_A.weight"): torch.ones(2, 2),
        "lora_unet_blocks_0_cross_attn_v_img.lora_down.weight": torch.ones(2, 2),
        "transformer.blocks.0.attn2.add_k_proj.lora_A.weight": torch.ones(2, 2),
        comfy("img_emb.proj.1.diff"): torch.ones(2),
        "lora_te1_text_model_0.lora_down.weight": torch.ones(2, 2),
    }

    lora = read_lora(write(tmp_path / "ink.safetensors", one() | others), TOY_DIT)

    assert lora.changes.keys() == {"blocks.0.self_attn.q.weight"}
    assert lora.num_ignored == len(others)


def test_reading_in_pieces_equals_reading_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "ink.safetensors", tensors_of("kohya", factors(TOY_DIT), ALPHA))
    whole = read_lora(path, TOY_DIT)

    reader = LoraReader(path, LoraTarget.of(TOY_DIT))
    num_pieces = 0
    while not reader.is_done:
        left = reader.read_(1)
        assert left < 0
        num_pieces += 1

    assert num_pieces == len(whole.changes)
    assert all(torch.equal(reader.lora.delta(name), whole.delta(name)) for name in whole.changes)


@pytest.mark.parametrize(
    "key",
    [
        "blocks.0.self_attn.q.lora_down.weight",
        "transformer.blocks.0.attn1.to_q.lora_A.default.weight",
        "transformer.blocks.0.attn1.to_q.lora.down.weight",
        "transformer.blocks.0.attn1.to_q.lora_linear_layer.up.weight",
        "diffusion_model.blocks.0.norm3.w_norm",
        "diffusion_model.blocks.0.self_attn.q.diff_b",
        "blocks.0.diff_m",
        "blocks.0.self_attn.q.dora_scale",
        "blocks.0.self_attn.q.lokr_w1",
    ],
)
def test_a_file_with_any_tensor_that_the_reader_knows_is_a_lora(key: str) -> None:
    assert identify({key: TensorInfo((4, 4), torch.float32)}).kind is Kind.LORA


def test_no_published_checkpoint_is_taken_for_a_lora(reference: Path) -> None:
    lists = sorted((reference / "keys").glob("*.txt"))

    names = [line.split("\t")[0] for path in lists for line in path.read_text().splitlines()]

    assert len(names) > 1000
    assert not [name for name in names if is_lora_key(name)]
