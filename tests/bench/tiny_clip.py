"""A CLIP of one layer with random weights, as the files of a folder."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

MAX_WORDS = 8
"""Of a text, its two marks included."""
WORDS = ("neon", "city", "rain", "night", "a", "of", "paper")
_LAYER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def write_tiny_clip(folder: Path) -> CLIPModel:
    """The model whose files are then in the folder."""
    start, end = len(WORDS), len(WORDS) + 1
    config = CLIPConfig(
        text_config={
            **_LAYER,
            "vocab_size": end + 1,
            "max_position_embeddings": MAX_WORDS,
            "bos_token_id": start,
            "eos_token_id": end,
        },
        vision_config={**_LAYER, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(11)
    model = CLIPModel(config).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(folder)
    side = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=side).save_pretrained(folder)
    _tokenizer(start, end).save(str(folder / "tokenizer.json"))
    return model


def _tokenizer(start: int, end: int) -> Tokenizer:
    words = {word: index for index, word in enumerate(WORDS)}
    marks = {"<|startoftext|>": start, "<|endoftext|>": end}
    made = Tokenizer(models.WordLevel({**words, **marks}, unk_token="<|endoftext|>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", end), ("<|startoftext|>", start)
    )
    return made
