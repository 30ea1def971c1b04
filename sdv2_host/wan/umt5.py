"""UMT5, the text encoder of Wan 2.1: transformers' encoder stack behind our `TextEncoder`.

Only the prompt's own tokens go through the model. The reference runs 512 with a mask and then
zeroes what is past the prompt's end, which is the same numbers at many times the work.

Importing this module takes seconds, for transformers: only the text process does.
"""

# n tokens of one prompt, its end mark included  E text_dim  V words  N heads

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from sdv2_host.errors import ModelError
from sdv2_host.prompts import clean_prompt
from sdv2_host.wan.checkpoint import Checkpoint
from sdv2_host.wan.filling import Progress
from sdv2_host.wan.identify import identify
from sdv2_host.wan.weights import UMT5, load_umt5_state

TEXT_LEN = 512
TOKENIZER_FILE = "tokenizer.json"
MAX_TOKENIZER_BYTES = 256 << 20
_END, _END_ID = "</s>", 1
_MAX_DISTANCE = 128
"""Beyond it all distances share a bucket. The one size that no tensor's shape tells."""


class Umt5Encoder:
    """A `TextEncoder`. Holds weights and words; nothing survives a call."""

    def __init__(self, model: UMT5EncoderModel, tokenizer: Tokenizer) -> None:
        """Takes the tokenizer over.

        Raises:
            ModelError: the tokenizer is not this model's.
        """
        _check_tokenizer(tokenizer, model.config.vocab_size)
        # Every T5 ends a text so, whether its file says it or leaves it to the reader.
        tokenizer.post_processor = TemplateProcessing(
            f"$A {_END}", special_tokens=[(_END, _END_ID)]
        )
        tokenizer.no_padding()
        tokenizer.enable_truncation(TEXT_LEN)
        self._model = model
        self._tokenizer = tokenizer

    @property
    def text_dim(self) -> int:
        return int(self._model.config.d_model)

    def tokens(self, prompt: str) -> list[int]:
        """1..512 numbers of words; a longer prompt loses its end, but not the end mark."""
        ids: list[int] = self._tokenizer.encode(clean_prompt(prompt)).ids
        return ids

    @torch.inference_mode()
    def encode_tokens(self, ids: Sequence[int], progress: Progress | None = None) -> Tensor:
        """[n, E] on the model's device and in its dtype. `progress` is told after every block."""
        ids_1n = torch.tensor([ids], device=self._model.device)
        with self._told(progress):
            return self._model(input_ids=ids_1n).last_hidden_state[0]

    @torch.inference_mode()
    def encode(self, prompt: str) -> Tensor:
        """[1, 512, E], rows past the prompt's end zero."""
        rows_nE = self.encode_tokens(self.tokens(prompt))
        padded_1LE = rows_nE.new_zeros(1, TEXT_LEN, self.text_dim)
        padded_1LE[0, : len(rows_nE)] = rows_nE
        return padded_1LE

    @contextmanager
    def _told(self, progress: Progress | None) -> Iterator[None]:
        blocks = self._model.encoder.block if progress else ()
        hooks = [
            block.register_forward_hook(_teller(progress, (index + 1) / len(blocks)))
            for index, block in enumerate(blocks)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _check_tokenizer(tokenizer: Tokenizer, num_rows: int) -> None:
    """Raises: ModelError, where it cannot belong to a UMT5 of so many words."""
    num_words = tokenizer.get_vocab_size()
    if num_words > num_rows:
        raise ModelError(
            f"the tokenizer knows {num_words} words, the text encoder {num_rows}: they do not "
            "belong together; import both from one model, or pull them again"
        )
    if tokenizer.token_to_id(_END) != _END_ID:
        raise ModelError(
            f"the tokenizer is none of UMT5's, whose end mark {_END} has the number {_END_ID}; "
            "pull it again"
        )


def _teller(progress: Progress | None, fraction: float) -> Callable[..., None]:
    def tell(*_: Any) -> None:
        if progress:
            progress(fraction)

    return tell


def read_sizes(path: Path) -> UMT5Config:
    """The sizes of the encoder in this checkpoint, from the shapes of its tensors.

    Raises:
        ModelError: it cannot be read, or holds no UMT5 encoder.
    """
    with UMT5.open(path) as checkpoint:
        return _sizes(checkpoint)


def _sizes(checkpoint: Checkpoint) -> UMT5Config:
    block = "encoder.block.0.layer"
    shapes = {name: info.shape for name, info in checkpoint.entries.items()}
    try:
        num_words, dim = shapes.get("shared.weight") or shapes["encoder.embed_tokens.weight"]
        num_buckets, num_heads = shapes[f"{block}.0.SelfAttention.relative_attention_bias.weight"]
        inner, _ = shapes[f"{block}.0.SelfAttention.q.weight"]
        ffn_dim, _ = shapes[f"{block}.1.DenseReluDense.wi_0.weight"]
    except (KeyError, ValueError):
        guess = identify(checkpoint.entries)
        raise ModelError(
            f"{checkpoint.path}: expected the UMT5 text encoder, {guess.sentence}"
        ) from None
    if 0 in (num_words, dim, num_buckets, num_heads, ffn_dim) or inner % num_heads:
        raise ModelError(f"{checkpoint.path}: damaged, its text encoder has sizes that cannot be")
    return UMT5Config(
        vocab_size=num_words,
        d_model=dim,
        d_kv=inner // num_heads,
        d_ff=ffn_dim,
        num_layers=sum(
            name.endswith(".relative_attention_bias.weight") and name.startswith("encoder.")
            for name in shapes
        ),
        num_heads=num_heads,
        relative_attention_num_buckets=num_buckets,
        relative_attention_max_distance=_MAX_DISTANCE,
        feed_forward_proj="gated-gelu",
        layer_norm_epsilon=1e-6,
        is_encoder_decoder=False,
        use_cache=False,
    )


def weight_bytes(sizes: UMT5Config, dtype: torch.dtype) -> int:
    """Memory for the weights of an encoder of these sizes; none is taken for that."""
    with torch.device("meta"):
        model = UMT5EncoderModel(sizes)
    return sum(weight.numel() for weight in model.parameters()) * dtype.itemsize


def load_umt5(
    path: Path,
    sizes: UMT5Config,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress | None = None,
) -> UMT5EncoderModel:
    """The encoder of a checkpoint in any layout, ready for inference.

    Raises:
        ModelError: it is damaged, or not of these sizes.
    """
    with torch.device("meta"):
        model = UMT5EncoderModel(sizes)
    load_umt5_state(path, model, device, dtype, progress)
    return model


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of tokenizer.json in that folder; no code and no other file is looked at.

    Not transformers' AutoTokenizer: since version 5 it builds T5 tokenizers anew from the words
    alone, without the file's normalizer, and a letter of full width becomes an unknown word.

    Raises:
        ModelError: it is missing or damaged.
    """
    path = folder / TOKENIZER_FILE
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(
            f"{path}: no tokenizer ({error.strerror}): run sdv2-host models pull, or import a "
            f"folder with {TOKENIZER_FILE}"
        ) from error
    if size > MAX_TOKENIZER_BYTES:
        raise ModelError(f"{path}: {size} bytes, no tokenizer is that large; pull it again")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers has no class of its own for a damaged file
        raise ModelError(f"{path}: damaged ({error!s:.120}); pull it again") from error
