"""From the names that published files give their tensors to the names of our modules.

Ours are: DiT and VAE as the original Wan 2.1 release (its `model.` left out), TAEHV as taehv.py,
text encoder as transformers' UMT5EncoderModel. A name that is ours already stays as it is, and so
does a name that no rule knows: the check of names, further on, reports it as the file has it.
All functions take a tensor's name or a module's, which is the same without its last part.

Source: scripts/convert_wan_to_diffusers.py of diffusers and the key lists of the real files.
"""

from __future__ import annotations

import re
from collections.abc import Callable

WRAPPERS = frozenset(
    {
        "model",
        "module",
        "diffusion_model",
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
        "_orig_mod",
    }
)
"""Parts that wrappers put anywhere into a name: the reference, DDP, ComfyUI, FSDP, torch.compile.
No module of ours has a part of such a name."""

_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0"}
_ATTENTION |= {"norm_q": "norm_q", "norm_k": "norm_k"}
DIT_IN_BLOCK = {
    **{f"self_attn.{ours}": f"attn1.{theirs}" for ours, theirs in _ATTENTION.items()},
    **{f"cross_attn.{ours}": f"attn2.{theirs}" for ours, theirs in _ATTENTION.items()},
    "norm3": "norm2",  # the one that has weights, ahead of cross-attention
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}
"""Modules of a DiT block, ours: the ones of diffusers' WanTransformer3DModel."""
DIT_OUTSIDE = {
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
"""The same for the modules outside of the blocks."""

_IN_UMT5_BLOCK = {
    "layer.0.layer_norm": "norm1",
    "layer.0.SelfAttention.q": "attn.q",
    "layer.0.SelfAttention.k": "attn.k",
    "layer.0.SelfAttention.v": "attn.v",
    "layer.0.SelfAttention.o": "attn.o",
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    "layer.1.layer_norm": "norm2",
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
    "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
}
_OUTSIDE_UMT5 = {"shared": "token_embedding", "encoder.final_layer_norm": "norm"}

_IN_RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_OUTSIDE_VAE = {
    "conv1": "quant_conv",
    "conv2": "post_quant_conv",
    **{
        f"{half}.{ours}": f"{half}.{theirs}"
        for half in ("encoder", "decoder")
        for ours, theirs in {"conv1": "conv_in", "head.0": "norm_out", "head.2": "conv_out"}.items()
    },
}
_LAYERS_PER_UP_BLOCK = 4
"""Three residual blocks and an upsampler (the last up block has none): decoder.upsamples counts
through what diffusers groups."""

_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


def _rules(names: dict[str, str], prefix: str = "", ours: str = "") -> list[_Rule]:
    """From theirs to ours. `prefix` is a pattern, `ours` what becomes of it."""

    def rule(native: str, foreign: str) -> _Rule:
        pattern = re.compile(f"{prefix}{re.escape(foreign)}(?=\\.|$)")
        return pattern, lambda match: match.expand(ours) + native

    return [rule(native, foreign) for native, foreign in names.items()]


_DIT_RULES = _rules(DIT_IN_BLOCK, r"blocks\.(\d+)\.", r"blocks.\1.") + _rules(DIT_OUTSIDE)
_UMT5_RULES = _rules(_IN_UMT5_BLOCK, r"blocks\.(\d+)\.", r"encoder.block.\1.")
_UMT5_RULES += _rules(_OUTSIDE_UMT5)


def _up_layer(match: re.Match[str]) -> str:
    layer = _LAYERS_PER_UP_BLOCK * int(match[1])
    layer += _LAYERS_PER_UP_BLOCK - 1 if match[2] == "upsamplers" else int(match[3])
    return f"decoder.upsamples.{layer}"


_VAE_RULES: list[_Rule] = [
    *_rules(_OUTSIDE_VAE),
    (re.compile(r"encoder\.down_blocks\.(\d+)"), lambda m: f"encoder.downsamples.{m[1]}"),
    (re.compile(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.([0-2])(?=\.|$)"), _up_layer),
    (re.compile(r"(\w+)\.mid_block\.resnets\.([01])"), lambda m: f"{m[1]}.middle.{2 * int(m[2])}"),
    (re.compile(r"(\w+)\.mid_block\.attentions\.0"), lambda m: f"{m[1]}.middle.1"),
]
_RESIDUAL_RULES = _rules(
    _IN_RESIDUAL, r"((?:encoder|decoder)\.(?:downsamples|upsamples|middle)\.\d+)\.", r"\1."
)


def without_wrappers(name: str) -> str:
    """The name less every part that only says how the module was wrapped when it was saved."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def dit_name(name: str) -> str:
    """Name in `CausalWanModel`."""
    return _renamed(without_wrappers(name), _DIT_RULES)


def vae_name(name: str) -> str:
    """Name in `WanVAE`."""
    return _renamed(_renamed(without_wrappers(name), _VAE_RULES), _RESIDUAL_RULES)


def umt5_name(name: str) -> str:
    """Name in transformers' `UMT5EncoderModel`."""
    return _renamed(without_wrappers(name), _UMT5_RULES)


def taehv_name(name: str) -> str:
    """Name in `TinyVAE`."""
    return without_wrappers(name)


def _renamed(name: str, rules: list[_Rule]) -> str:
    """By the first rule whose pattern the name begins with; as it is when there is none."""
    for pattern, replace in rules:
        match = pattern.match(name)
        if match:
            return replace(match) + name[match.end() :]
    return name
