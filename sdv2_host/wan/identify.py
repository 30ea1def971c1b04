"""What a file of weights is, by the names and shapes in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from sdv2_host.wan.checkpoint import open_checkpoint
from sdv2_host.wan.dims import WAN_1_3B, WAN_14B
from sdv2_host.wan.key_names import dit_name, umt5_name, vae_name, without_wrappers
from sdv2_host.wan.lora_names import is_lora_key
from sdv2_host.wan.tensor_file import TensorInfo


class Kind(Enum):
    """The value is its description."""

    DIT_1_3B = "the Wan 2.1 1.3B DiT"
    DIT_14B = "the Wan 2.1 14B DiT"
    WAN_VAE = "the Wan 2.1 VAE"
    TAEHV = "TAEHV (taew2_1)"
    UMT5_XXL = "the UMT5-XXL encoder"
    LORA = "a LoRA file"
    TINY = "sdv2-host's tiny model"
    OTHER = "nothing known here"

    @property
    def description(self) -> str:
        return self.value


_ADVICE = {
    Kind.DIT_1_3B: "run it with --engine wan-1.3b",
    Kind.DIT_14B: "run it with --engine wan-14b",
    Kind.LORA: "choose it with the live parameter lora",
    Kind.TINY: "run it with --engine tiny",
}


class Guess(NamedTuple):
    kind: Kind
    description: str
    """More exact than the kind's own where the kind is OTHER."""

    @property
    def sentence(self) -> str:
        """What it is and what to do with it."""
        advice = _ADVICE.get(self.kind)
        return f"it looks like {self.description}" + (f": {advice}" if advice else "")


_Shapes = Mapping[str, tuple[int, ...]]

_UMT5_XXL = ((256384, 4096), 24)
_WAN_VAE_WIDTH, _TAEHV_WIDTH = 96, 64


def identify(entries: Mapping[str, TensorInfo]) -> Guess:
    """What the file with these tensors looks like, whole or damaged, in any of the layouts read."""
    shapes = {name: info.shape for name, info in entries.items()}
    if any(is_lora_key(name) for name in shapes):
        return _known(Kind.LORA)
    if {name.partition(".")[0] for name in shapes} == {"dit", "vae", "text"}:
        return _known(Kind.TINY)
    tests: tuple[tuple[Callable[[str], str], Callable[[_Shapes], Guess | None]], ...] = (
        (dit_name, _dit),
        (umt5_name, _umt5),
        (vae_name, _vae),
        (without_wrappers, _taehv),
    )
    for rename, test in tests:
        guess = test({rename(name): shape for name, shape in shapes.items()})
        if guess:
            return guess
    return _known(Kind.OTHER)


def identify_file(path: Path) -> Kind:
    """What is at `path`: a file, an index of shards, or a folder with one of them.

    Raises:
        ModelError: it cannot be read, is damaged, or it is not clear which file is meant.
    """
    with open_checkpoint(path) as checkpoint:
        return identify(checkpoint.entries).kind


def _known(kind: Kind) -> Guess:
    return Guess(kind, kind.description)


def _other(description: str) -> Guess:
    return Guess(Kind.OTHER, description)


def _num_blocks(shapes: _Shapes, pattern: str) -> int:
    matches = (re.match(pattern, name) for name in shapes)
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def _dit(shapes: _Shapes) -> Guess | None:
    norm = re.compile(r"blocks\.\d+\.self_attn\.norm_q\.weight")
    dims = [shape for name, shape in shapes.items() if norm.fullmatch(name) and len(shape) == 1]
    num_layers = _num_blocks(shapes, r"blocks\.(\d+)\.")
    if not dims or not num_layers:
        return None
    for kind, known in ((Kind.DIT_1_3B, WAN_1_3B), (Kind.DIT_14B, WAN_14B)):
        if (dims[0][0], num_layers) == (known.dim, known.num_layers) and not _variant(shapes):
            return _known(kind)
    variant = _variant(shapes) or "a Wan DiT of other sizes"
    return _other(f"{variant} (dim {dims[0][0]}, {num_layers} layers)")


def _variant(shapes: _Shapes) -> str:
    """What kind of Wan DiT it is, where it is none that takes noisy latents and a prompt alone."""
    patch = shapes.get("patch_embedding.weight", ())
    in_dim = patch[1] if len(patch) == 5 else WAN_14B.in_dim
    if any(name.startswith("vace_") for name in shapes):
        return "a VACE Wan DiT"
    if any(name.endswith((".scale_weight", "scaled_fp8")) for name in shapes):
        return "a Wan DiT in scaled float8"
    if in_dim == 36 or any("img_emb" in name or "image_embedder" in name for name in shapes):
        return "an image-to-video Wan DiT"
    return "" if in_dim == WAN_14B.in_dim else f"a Wan DiT with {in_dim} input channels"


def _umt5(shapes: _Shapes) -> Guess | None:
    bias = r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.relative_attention_bias\.weight"
    num_layers = _num_blocks(shapes, bias)
    # T5 proper has this table in its first block alone, UMT5 in each.
    num_tables = sum(1 for name in shapes if re.fullmatch(bias, name))
    if num_layers < 2 or num_tables < 2:
        return None
    if any(name.startswith("decoder.") for name in shapes):
        return _other("a UMT5 model with its decoder; only the encoder is wanted")
    table = shapes.get("shared.weight") or shapes.get("encoder.embed_tokens.weight")
    if (table, num_layers) == _UMT5_XXL:
        return _known(Kind.UMT5_XXL)
    return _other("the UMT5 encoder of another size")


def _vae(shapes: _Shapes) -> Guess | None:
    conv = shapes.get("encoder.conv1.weight") or shapes.get("decoder.head.2.weight")
    if not conv or len(conv) != 5 or "decoder.middle.0.residual.2.weight" not in shapes:
        return None
    width = shapes.get("encoder.conv1.weight", (0,))[0] or conv[1]
    if width == _WAN_VAE_WIDTH:
        return _known(Kind.WAN_VAE)
    return _other(f"a Wan VAE of another size (base width {width})")


def _taehv(shapes: _Shapes) -> Guess | None:
    conv = shapes.get("encoder.0.weight") or shapes.get("decoder.22.weight")
    if not conv or len(conv) != 4 or "decoder.3.conv.0.weight" not in shapes:
        return None
    latents = shapes.get("decoder.1.weight", (0, 0))[1:2]
    if shapes.get("encoder.0.weight") == (_TAEHV_WIDTH, 3, 3, 3) and latents == (16,):
        return _known(Kind.TAEHV)
    return _other("a TAEHV of another model")
