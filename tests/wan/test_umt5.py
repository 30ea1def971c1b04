"""Our UMT5: only real tokens through the model, the numbers of a padded and masked run."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import ftfy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from sdv2_host.errors import ModelError
from sdv2_host.prompts import clean_prompt
from sdv2_host.wan.filling import CPU
from sdv2_host.wan.umt5 import TEXT_LEN, Umt5Encoder, load_tokenizer, load_umt5, read_sizes
from tests.tiny_umt5 import TOY_SIZES, toy_tokenizer, toy_umt5, write_encoder, write_tokenizer

LIMIT = 1e-5
PROMPTS = [
    "",
    "neon rain",
    "  neon \n rain ",
    "Crème brûlée 火 ｎｅｏｎ",
    "neon rain, a night of water color " * 100,
]


@pytest.fixture(scope="module")
def stock() -> UMT5EncoderModel:
    return toy_umt5()


@pytest.fixture(scope="module")
def encoder(stock: UMT5EncoderModel) -> Umt5Encoder:
    return Umt5Encoder(stock, toy_tokenizer())


def padded_run(model: UMT5EncoderModel, ids_1L: Tensor, mask_1L: Tensor) -> Tensor:
    """[1, L, E] as the reference: everything through the model, then zeroes past the end."""
    rows = model(input_ids=ids_1L, attention_mask=mask_1L).last_hidden_state
    return rows * mask_1L.unsqueeze(-1)


def reference_tokens(folder: Path, prompt: str) -> tuple[Tensor, Tensor]:
    """(ids, mask), each [1, 512], as wan/modules/tokenizers.py makes them."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token="</s>"
    )
    cleaned = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
    cleaned = re.sub(r"\s+", " ", cleaned).strip()
    out = tokenizer(
        [cleaned],
        return_tensors="pt",
        padding="max_length",
        truncation=True,
        max_length=512,
        add_special_tokens=True,
    )
    return out.input_ids, out.attention_mask


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt[:12])
def test_a_prompt_encodes_as_in_a_padded_and_masked_run(
    tmp_path: Path, stock: UMT5EncoderModel, encoder: Umt5Encoder, prompt: str
) -> None:
    ids, mask = reference_tokens(write_tokenizer(tmp_path), prompt)
    expected = padded_run(stock, ids, mask)

    ours = encoder.encode(prompt)

    assert ours.shape == (1, TEXT_LEN, TOY_SIZES.d_model)
    assert encoder.tokens(prompt) == ids[0, : int(mask.sum())].tolist()
    assert relative_error(ours, expected) < LIMIT


def relative_error(ours: Tensor, expected: Tensor) -> float:
    return float((ours - expected).abs().max() / expected.abs().max())


def test_the_rows_of_the_bank_are_the_rows_of_the_encoding(encoder: Umt5Encoder) -> None:
    ids = encoder.tokens("neon rain")

    rows = encoder.encode_tokens(ids)

    assert len(rows) == len(ids) == 3
    assert torch.equal(rows, encoder.encode("neon rain")[0, :3])
    assert not encoder.encode("neon rain")[0, 3:].any()


def test_a_long_prompt_is_cut_and_keeps_its_end_mark(encoder: Umt5Encoder) -> None:
    ids = encoder.tokens("neon " * 2000)

    assert len(ids) == TEXT_LEN
    assert ids[-1] == 1


def test_progress_is_told_block_by_block(encoder: Umt5Encoder) -> None:
    told: list[float] = []

    encoder.encode_tokens([5, 1], told.append)
    encoder.encode_tokens([5, 1])

    assert told == [0.5, 1.0]


@given(st.text(alphabet=st.characters(), max_size=60))
def test_prompts_are_cleaned_as_in_the_reference(text: str) -> None:
    once = html.unescape(html.unescape(ftfy.fix_text(text))).strip()

    assert clean_prompt(text) == re.sub(r"\s+", " ", once).strip()


def test_cleaning_repairs_broken_text() -> None:
    assert clean_prompt("  it&amp;#39;s\n\ta cafÃ©  ") == "it's a café"


def test_recorded_encoder_agrees_with_the_reference(reference: Path, tmp_path: Path) -> None:
    recorded = load_file(reference / "vectors/t5_tiny.safetensors")
    weights = {k.removeprefix("w."): v for k, v in recorded.items() if k.startswith("w.")}
    path = tmp_path / "t5.safetensors"
    save_file(weights, path)
    num_tokens = int(recorded["mask"].sum())

    model = load_umt5(path, read_sizes(path), CPU, torch.float32)
    ours = Umt5Encoder(model, toy_tokenizer()).encode_tokens(
        recorded["ids"][0, :num_tokens].tolist()
    )

    expected = recorded["prompt_embeds"][0]
    error = relative_error(ours, expected[:num_tokens])
    print(f"T5: {num_tokens} tokens, worst relative error {error:.2e}")
    assert error < LIMIT
    assert not expected[num_tokens:].any()
    assert relative_error(recorded["out_raw"][0, :num_tokens], ours) < LIMIT


def test_sizes_come_from_the_file(tmp_path: Path) -> None:
    sizes = read_sizes(write_encoder(tmp_path / "t5.safetensors"))

    for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"):
        assert getattr(sizes, name) == getattr(TOY_SIZES, name)
    assert sizes.relative_attention_num_buckets == TOY_SIZES.relative_attention_num_buckets


def test_umt5_xxl_has_the_sizes_that_the_real_file_tells(reference: Path, tmp_path: Path) -> None:
    lines = (reference / "keys/umt5_enc.txt").read_text().splitlines()
    shapes = {name: json.loads(shape) for name, shape in (line.split("\t") for line in lines)}
    state = {name: torch.empty(1).expand(shape) for name, shape in shapes.items()}
    path = tmp_path / "models_t5_umt5-xxl-enc-bf16.pth"
    torch.save(state, path)

    sizes = read_sizes(path)

    assert (sizes.vocab_size, sizes.d_model, sizes.d_ff, sizes.d_kv) == (256384, 4096, 10240, 64)
    assert (sizes.num_heads, sizes.num_layers) == (64, 24)
    assert (sizes.relative_attention_num_buckets, sizes.relative_attention_max_distance) == (
        32,
        128,
    )


def test_a_file_that_carries_its_tokenizer_is_the_same_encoder(tmp_path: Path) -> None:
    plain = write_encoder(tmp_path / "t5.safetensors")
    carrying = tmp_path / "umt5_xxl_fp16.safetensors"
    save_file({**load_file(plain), "spiece_model": torch.zeros(9, dtype=torch.uint8)}, carrying)

    first, second = (
        load_umt5(path, read_sizes(path), CPU, torch.float32, lambda done: None)
        for path in (plain, carrying)
    )

    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_another_model_is_refused_by_what_it_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"encoder.0.weight": torch.zeros(64, 3, 3, 3)}, path)

    with pytest.raises(ModelError, match=r"x\.safetensors: expected the UMT5 text encoder, it"):
        read_sizes(path)


def test_a_tokenizer_of_another_model_is_refused(stock: UMT5EncoderModel) -> None:
    small = toy_umt5(UMT5Config(**{**TOY_SIZES.to_dict(), "vocab_size": 8}))
    other = Tokenizer(models.Unigram([("a", 0.0), ("b", 0.0), ("</s>", 0.0)], unk_id=0))

    with pytest.raises(ModelError, match="knows 39 words, the text encoder 8"):
        Umt5Encoder(small, toy_tokenizer())
    with pytest.raises(ModelError, match="none of UMT5's"):
        Umt5Encoder(stock, other)


def test_the_end_mark_is_there_even_where_the_file_leaves_it_out(
    stock: UMT5EncoderModel, encoder: Umt5Encoder
) -> None:
    without = toy_tokenizer()
    without.post_processor = TemplateProcessing("$A", special_tokens=[])

    assert Umt5Encoder(stock, without).tokens("neon") == encoder.tokens("neon")


@pytest.mark.parametrize("content", [b"", b"\xff" * 9, b"{}", b'{"model": {"type": "Unigram"}}'])
def test_a_damaged_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)

    with pytest.raises(ModelError, match=r"tokenizer\.json: damaged"):
        load_tokenizer(tmp_path)


def test_a_missing_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer .*models pull"):
        load_tokenizer(tmp_path)
