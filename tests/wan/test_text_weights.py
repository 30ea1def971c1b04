"""The tiny text encoder and the model file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdv2_host.errors import ModelError
from sdv2_host.wan.dims import TINY_VAE, TinyTextDims, WanDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder, word_buckets
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.tiny_weights import TinyModels, load_tiny, save_tiny

TEXT = TinyTextDims(num_buckets=64, bucket_dim=8, text_len=4, text_dim=12, num_heads=2)


@pytest.fixture
def encoder() -> TinyTextEncoder:
    torch.manual_seed(0)
    return TinyTextEncoder(TEXT).eval().requires_grad_(False)


@pytest.fixture
def model_file(tmp_path: Path, encoder: TinyTextEncoder) -> Path:
    dims = WanDims(
        dim=24, num_heads=2, ffn_dim=24, num_layers=1, text_dim=12, text_len=4, freq_dim=8
    )
    path = tmp_path / "tiny.safetensors"
    save_tiny(TinyModels(CausalWanModel(dims), TinyVAE(TINY_VAE), encoder, {"name": "test"}), path)
    return path


def test_prompts_together_equal_prompts_alone(encoder: TinyTextEncoder) -> None:
    prompts = ["neon", "", "a very long line of many words", "Crème brûlée 火"]

    together = encoder(prompts)
    alone = torch.cat([encoder.encode(prompt) for prompt in prompts])

    assert torch.allclose(together, alone, atol=1e-6)


def test_rows_past_the_last_word_are_zero(encoder: TinyTextEncoder) -> None:
    rows = encoder.encode("neon rain")[0]

    assert rows[:2].abs().sum() > 0
    assert not rows[2:].any()


def test_an_empty_prompt_is_all_zero_and_finite(encoder: TinyTextEncoder) -> None:
    assert not encoder.encode(" ?! ").any()


def test_case_and_punctuation_do_not_matter(encoder: TinyTextEncoder) -> None:
    assert torch.equal(encoder.encode("NEON, rain!"), encoder.encode("neon rain"))


def test_a_misspelt_word_shares_most_of_its_buckets() -> None:
    right, wrong = (set(word_buckets(word, 4096)) for word in ("watercolor", "watercolour"))

    assert len(right & wrong) >= len(right) / 2


def test_a_saved_model_loads_with_the_same_weights(model_file: Path) -> None:
    models = load_tiny(model_file)
    stored = load_file(model_file)

    assert models.card == {"name": "test"}
    assert all(
        torch.equal(value, stored[f"dit.{name}"].float())
        for name, value in models.dit.state_dict().items()
    )


def test_a_missing_file_says_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.safetensors is missing.*reinstall"):
        load_tiny(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)

    with pytest.raises(ModelError, match="not an sdv2-host model file"):
        load_tiny(path)


def test_missing_and_foreign_tensors_are_named(model_file: Path) -> None:
    tensors = load_file(model_file)
    tensors["dit.extra"] = tensors.pop("dit.head.modulation")
    metadata = {"dims": json.dumps(_dims_of(model_file)), "card": "{}"}
    save_file(tensors, model_file, metadata=metadata)

    with pytest.raises(ModelError, match=r"1 missing: head\.modulation; 1 unexpected: extra"):
        load_tiny(model_file)


def _dims_of(path: Path) -> dict[str, object]:
    header_bytes = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + header_bytes])
    return dict(json.loads(header["__metadata__"]["dims"]))
