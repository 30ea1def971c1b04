"""A UMT5 of two layers with random weights, and a tokenizer of its kind, as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from sdv2_host.models.register import ImportedPart, Register, save_register

WORDS = ("neon", "rain", "water", "color", "night", "a")
TOY_SIZES = UMT5Config(
    vocab_size=96,
    d_model=16,
    d_kv=6,
    d_ff=20,
    num_layers=2,
    num_heads=2,
    relative_attention_num_buckets=8,
    feed_forward_proj="gated-gelu",
    is_encoder_decoder=False,
)


def toy_tokenizer() -> Tokenizer:
    """Pads with 0, ends with 1, as T5's do; letters and some words."""
    letters = [
        (letter, -6.0 - index / 100) for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz,.'")
    ]
    words = [(f"▁{word}", -3.0 - index / 100) for index, word in enumerate(WORDS)]
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -4.0)]
    made = Tokenizer(models.Unigram([*marks, *letters, *words], unk_id=2))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return made


def toy_umt5(sizes: UMT5Config = TOY_SIZES) -> UMT5EncoderModel:
    """Weights of the size of a trained model's, so that every part of it shows in the result."""
    torch.manual_seed(5)
    model = UMT5EncoderModel(sizes).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(torch.randn_like(weight) * 0.5 if weight.ndim > 1 else 1 + weight * 0.1)
    return model


def write_tokenizer(folder: Path) -> Path:
    """The folder, with a tokenizer.json in it."""
    folder.mkdir(parents=True, exist_ok=True)
    toy_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def write_encoder(path: Path, sizes: UMT5Config = TOY_SIZES) -> Path:
    """The file, with `toy_umt5` in the layout of Hugging Face."""
    state: Mapping[str, Tensor] = toy_umt5(sizes).state_dict()
    kept = {k: v.contiguous() for k, v in state.items() if k != "encoder.embed_tokens.weight"}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path)
    return path


def write_hollow_encoder(path: Path, sizes: UMT5Config) -> Path:
    """The file of an encoder of any size, all zeroes that take no space."""
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in UMT5EncoderModel(sizes).state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, path)
    return path


def install_text(models_dir: Path, encoder: Path | None = None) -> None:
    """The models folder has an encoder, `toy_umt5` or that one, and its tokenizer, as imports."""
    encoder = encoder or write_encoder(models_dir / "toy" / "t5.safetensors")
    tokenizer = write_tokenizer(models_dir / "toy" / "tokenizer")
    parts = {
        "text": ImportedPart(path=str(encoder), size_bytes=encoder.stat().st_size),
        "tokenizer": ImportedPart(path=str(tokenizer)),
    }
    save_register(models_dir, Register(imported=parts))
