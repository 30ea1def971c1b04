"""LoRA files that cannot be merged, are damaged or hostile: one line each, nothing executed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.wan.dims import WAN_1_3B, WAN_14B
from sdv2_host.wan.lora import read_lora
from tests.lora_files import comfy, kohya, single, write
from tests.toys import TOY_DIT


def one() -> dict[str, Tensor]:
    """The smallest file that is a LoRA."""
    return single(TOY_DIT)


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


def test_names_in_a_file_cannot_forge_lines_of_a_log(tmp_path: Path) -> None:
    path = write(tmp_path / "ink.safetensors", {"x\nERROR all is lost\x1b[2J" * 40: torch.ones(1)})

    with pytest.raises(ModelError) as refusal:
        read_lora(path, TOY_DIT)

    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 500


def test_any_damage_is_an_error_of_ours_or_still_a_lora(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.safetensors", one()).read_bytes()
    path = tmp_path / "ink.safetensors"
    random = Random(1)
    num_refused = 0

    for _ in range(150):
        data = bytearray(whole[: random.randint(0, len(whole))] if random.random() < 0.3 else whole)
        for _ in range(random.randint(1, 4)):
            if data:
                data[random.randrange(min(len(data), 300))] = random.randrange(256)
        path.write_bytes(data)
        try:
            lora = read_lora(path, TOY_DIT)
        except ModelError:
            num_refused += 1
        else:
            assert all(lora.delta(name).isfinite().all() for name in lora.changes)

    assert num_refused > 100
