"""LoRA files: every style names the right weight, and what does not fit is refused."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_musubi_wan_lora_to_diffusers,
    _convert_non_diffusers_wan_lora_to_diffusers,
)
from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.wan.dims import WAN_1_3B, WAN_14B
from sdv2_host.wan.lora import LoraReader, LoraTarget, read_lora
from tests.lora_files import (
    RANK,
    STYLES,
    diffusers_name,
    factors,
    kohya,
    linears,
    tensors_of,
    write,
)
from tests.toys import TOY_DIT

SHAPES = LoraTarget.of(TOY_DIT).shapes
ALPHA = 3.0
FULL = {"rtol": 1e-6, "atol": 1e-6}


def comfy(name: str) -> str:
    return f"diffusion_model.{name}"


def one(name: str = "blocks.0.self_attn.q", rank: int = RANK) -> dict[str, Tensor]:
    """The smallest file that is a LoRA."""
    num_out, num_in = linears(TOY_DIT)[name]
    up, down = torch.ones(num_out, rank), torch.ones(rank, num_in)
    return {f"{comfy(name)}.lora_A.weight": down, f"{comfy(name)}.lora_B.weight": up}


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


NAN = float("nan")
Q = comfy("blocks.0.self_attn.q")
REFUSED: dict[str, tuple[dict[str, Tensor], str]] = {
    "DoRA": ({f"{Q}.dora_scale": torch.ones(24, 1)}, "DoRA"),
    "LoKr": ({f"{Q}.lokr_w1": torch.ones(2, 2)}, "LoKr"),
    "LoHa": ({f"{Q}.hada_w1_a": torch.ones(2, 2)}, "LoHa"),
    "OFT": ({f"{Q}.oft_blocks": torch.ones(2, 2)}, "OFT"),
    "another network": ({"lora_unet_double_blocks_0_img_attn_proj.alpha": torch.ones(1)}, "no Wan"),
    "an unknown role": ({f"{Q}.lora_C.weight": torch.ones(2, 2)}, "no Wan"),
    "a block too many": (one() | {comfy("blocks.9.ffn.0.diff_b"): torch.ones(32)}, "2 blocks"),
    "no down": ({f"{Q}.lora_B.weight": torch.ones(24, 2)}, "does not fit"),
    "no up": ({f"{Q}.lora_A.weight": torch.ones(2, 24)}, "does not fit"),
    "alpha alone": (one() | {comfy("blocks.1.ffn.0.alpha"): torch.ones(())}, "does not fit"),
    "ranks differ": (one() | {f"{Q}.lora_B.weight": torch.ones(24, 3)}, "does not fit"),
    "rank 0": (
        {f"{Q}.lora_A.weight": torch.ones(0, 24), f"{Q}.lora_B.weight": torch.ones(24, 0)},
        "does not fit",
    ),
    "alpha of many": (one() | {f"{Q}.alpha": torch.ones(2)}, "does not fit"),
    "factors of a norm": (
        {
            comfy("blocks.0.norm3.lora_A.weight"): torch.ones(1, 1),
            comfy("blocks.0.norm3.lora_B.weight"): torch.ones(24, 1),
        },
        "does not fit",
    ),
    "a difference of another shape": ({f"{Q}.diff": torch.ones(24, 23)}, "does not fit"),
    "a transposed difference": ({comfy("blocks.0.ffn.0.diff"): torch.ones(24, 32)}, "not fit"),
    "not a number": (one() | {f"{Q}.lora_B.weight": torch.full((24, 2), NAN)}, "not finite"),
    "infinite alpha": (one() | {f"{Q}.alpha": torch.tensor(float("inf"))}, "not finite"),
    "integers": (
        one() | {f"{Q}.lora_B.weight": torch.ones(24, 2, dtype=torch.int32)},
        "floating point",
    ),
    "one weight in two styles": (
        one() | {f"{kohya('blocks.0.self_attn.q')}.lora_up.weight": torch.ones(24, 2)},
        "twice",
    ),
    "only image-to-video": ({comfy("img_emb.proj.1.diff"): torch.ones(2)}, "changes no weight"),
    "nothing": ({}, "changes no weight"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_merged_is_refused_by_name(case: str, tmp_path: Path) -> None:
    tensors, words = REFUSED[case]
    path = write(tmp_path / "ink.safetensors", tensors)

    with pytest.raises(ModelError, match=words) as refusal:
        read_lora(path, TOY_DIT)

    assert str(refusal.value).startswith("ink.safetensors ")
    assert "\n" not in str(refusal.value)


BAD_METADATA = {
    "not JSON": {"lora_adapter_metadata": "{"},
    "deep JSON": {"lora_adapter_metadata": "[" * 100_000},
    "a list": {"lora_adapter_metadata": "[]"},
    "DoRA": {"lora_adapter_metadata": '{"transformer.use_dora": true}'},
    "alpha in words": {"lora_alpha": "much"},
    "infinite alpha": {"lora_alpha": "1e999"},
    "a list of alphas": {"lora_adapter_metadata": '{"transformer.lora_alpha": [1]}'},
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_metadata_that_makes_no_sense_is_refused(case: str, tmp_path: Path) -> None:
    path = write(tmp_path / "ink.safetensors", one(), BAD_METADATA[case])

    with pytest.raises(ModelError, match=r"ink\.safetensors"):
        read_lora(path, TOY_DIT)


def test_a_lora_of_another_size_says_which_model_it_is_for(tmp_path: Path) -> None:
    big = {
        f"{Q}.lora_A.weight": torch.ones(1, WAN_14B.dim),
        f"{Q}.lora_B.weight": torch.ones(WAN_14B.dim, 1),
    }
    path = write(tmp_path / "big.safetensors", big)
    small = replace(WAN_1_3B, num_layers=1)

    with pytest.raises(ModelError, match=r"is for Wan 14B \(dim 5120\), this model is Wan 1\.3B"):
        read_lora(path, small)
    with pytest.raises(ModelError, match=r"is for Wan 14B .* a model of dim 24"):
        read_lora(path, TOY_DIT)


class Trap:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    for name in ("evil.pt", "evil.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap(marker)))

    with pytest.raises(ModelError, match="convert it to safetensors"):
        read_lora(tmp_path / "evil.pt", TOY_DIT)
    with pytest.raises(ModelError, match="damaged"):
        read_lora(tmp_path / "evil.safetensors", TOY_DIT)

    assert not marker.exists()


def test_broken_files_are_one_line(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.safetensors", one()).read_bytes()
    broken = {
        "empty": b"",
        "short": whole[:-40],
        "header only": whole[:8],
        "huge header": (2**62).to_bytes(8, "little") + whole[8:],
        "noise": bytes(range(256)) * 8,
        "longer": whole + b"0" * 64,
    }

    for name, data in broken.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(ModelError, match="damaged"):
            read_lora(path, TOY_DIT)
    with pytest.raises(ModelError, match="not there"):
        read_lora(tmp_path / "absent.safetensors", TOY_DIT)
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    with pytest.raises(ModelError, match="not there"):
        read_lora(folder, TOY_DIT)
