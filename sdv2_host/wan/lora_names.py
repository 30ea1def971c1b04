"""From the key of a LoRA file, in any of the common styles, to a weight of our DiT.

    kohya, musubi     lora_unet_blocks_0_self_attn_q.lora_down.weight  (also lora_unet__blocks_)
    ComfyUI, original diffusion_model.blocks.0.self_attn.q.lora_A.weight
    diffusers, PEFT   transformer.blocks.0.attn1.to_q.lora_A.default.weight

A module's name is found by its letters alone, with "." read as "_": one table serves all styles.

Source: the key lists of musubi-tuner, ComfyUI (comfy/lora.py) and diffusers
(lora_conversion_utils.py), for their names; the code is our own.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from sdv2_host.errors import ModelError
from sdv2_host.wan.key_names import DIT_IN_BLOCK, DIT_OUTSIDE


class Role(Enum):
    """What a tensor of the file is to the weight it belongs to."""

    DOWN = "down"
    UP = "up"
    UP_BIAS = "up bias"
    """Bias of the up projection: scaled like the factors, added to the module's bias."""
    ALPHA = "alpha"
    DIFF = "diff"
    """The change itself, in the weight's shape."""


class LoraKey(NamedTuple):
    """`parameter` is the native name; a block's number is part of it."""

    parameter: str
    role: Role
    module: str
    """The module as the file calls it, prefix included: what its metadata refers to."""
    is_kohya: bool
    """Names as kohya writes them: then an alpha in the metadata still has to be applied."""


_ROLES: tuple[tuple[re.Pattern[str], Role, bool], ...] = tuple(
    (re.compile(pattern + "$"), role, is_bias)
    for pattern, role, is_bias in (
        (r"\.lora(?:_linear_layer)?[._](?:down|A)(?:\.[\w-]+)?\.weight", Role.DOWN, False),
        (r"\.lora(?:_linear_layer)?[._](?:up|B)(?:\.[\w-]+)?\.weight", Role.UP, False),
        (r"\.lora(?:_linear_layer)?[._](?:up|B)(?:\.[\w-]+)?\.bias", Role.UP_BIAS, True),
        (r"\.(?:lora_)?alpha", Role.ALPHA, False),
        (r"\.(?:diff|w_norm)", Role.DIFF, False),
        (r"\.(?:diff_b|b_norm)", Role.DIFF, True),
    )
)
_PREFIX = re.compile(
    r"^(?:base_model\.model\.|diffusion_model\.|transformer\.|model\.|module\."
    r"|lora_unet_+|lora_transformer_+)"
)
_BLOCK = re.compile(r"^blocks_(\d{1,3})_(.+)$")


def _by_letters(names: dict[str, str]) -> dict[str, str]:
    both = [(name, ours) for ours, theirs in names.items() for name in (ours, theirs)]
    return {name.replace(".", "_"): ours for name, ours in both}


_IN_BLOCK_BY_LETTERS = _by_letters(DIT_IN_BLOCK)
_OUTSIDE_BY_LETTERS = _by_letters(DIT_OUTSIDE) | {"patch_embedding": "patch_embedding"}

_REFUSED = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "oft_": "OFT",
    "boft_": "OFT",
    "lora_mid": "LoCon with a middle factor",
    "set_weight": "a LoRA that replaces weights",
    "reshape_weight": "a LoRA that changes the shape of weights",
}
_IGNORED = re.compile(
    # Image to video: a second pair of keys and values, and the image's own embedding.
    r"k_img|v_img|img_emb|add_k_proj|add_v_proj|norm_added_k|image_embedder"
    # Changes of a text encoder: Wan LoRAs have none that matter, and ours is not patched.
    r"|^lora_te\d?_|^text_encoders?\."
)


def is_lora_key(key: str) -> bool:
    """Whether a tensor of this name is a part of a LoRA, of a kind that can be merged or not."""
    is_part = any(pattern.search(_plain(key)) for pattern, _, _ in _ROLES)
    return is_part or any(f".{mark}" in key for mark in _REFUSED)


def parse_key(key: str) -> LoraKey | None:
    """What the tensor `key` changes; None where it belongs to a part that this model lacks.

    Raises:
        ModelError: it is of a kind that cannot be merged, or not of a Wan model.
    """
    for mark, kind in _REFUSED.items():
        if mark in key:
            raise ModelError(f"is {kind} ({key}), which is not supported; use a plain LoRA")
    if _IGNORED.search(key):
        return None
    plain = _plain(key)
    for pattern, role, is_bias in _ROLES:
        if found := pattern.search(plain):
            module = plain[: found.start()]
            name = _native(module)
            if name is None:
                break
            if not name.endswith("modulation"):
                name += ".bias" if is_bias else ".weight"
            return LoraKey(name, role, module, is_kohya=module.startswith("lora_"))
    raise ModelError(f"holds {key}, which no Wan 2.1 text-to-video model has")


def _plain(key: str) -> str:
    """`blocks.0.diff_m` is what some tools write for `blocks.0.modulation.diff`."""
    return key.removesuffix(".diff_m") + ".modulation.diff" if key.endswith(".diff_m") else key


def _native(module: str) -> str | None:
    """The native name of a module, or of a modulation; None = unknown."""
    while found := _PREFIX.match(module):
        module = module[found.end() :]
    letters = module.replace(".", "_")
    if in_block := _BLOCK.match(letters):
        inner = _IN_BLOCK_BY_LETTERS.get(in_block[2])
        return None if inner is None else f"blocks.{int(in_block[1])}.{inner}"
    return _OUTSIDE_BY_LETTERS.get(letters)
