"""LoRA files in the styles that are found in the wild, for models of any dims."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sdv2_host.wan.dims import WanDims
from sdv2_host.wan.model import CausalWanModel

NameFn = Callable[[str], str]
RANK = 2

_DIFFUSERS = (  # native -> diffusers, in this order; source: convert_wan_to_diffusers.py
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("head.head", "proj_out"),
    ("norm3", "norm2"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
    ("self_attn.o", "attn1.to_out.0"),
    ("cross_attn.o", "attn2.to_out.0"),
    ("self_attn.norm", "attn1.norm"),
    ("cross_attn.norm", "attn2.norm"),
    ("self_attn.", "attn1.to_"),
    ("cross_attn.", "attn2.to_"),
)


def diffusers_name(name: str) -> str:
    for ours, theirs in _DIFFUSERS:
        name = name.replace(ours, theirs)
    return name


def linears(dims: WanDims, *, outside: bool = True) -> dict[str, tuple[int, int]]:
    """(out, in) of every weight matrix, by module name; `outside` those of no block too."""
    with torch.device("meta"):
        model = CausalWanModel(dims)
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and (outside or name.startswith("blocks."))
    }


def factors(
    dims: WanDims, seed: int = 0, *, outside: bool = True, rank: int = RANK, size: float = 1.0
) -> dict[str, tuple[Tensor, Tensor]]:
    """(up, down) for every weight matrix of the model."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(num_out, rank, generator=generator) * size,
            torch.randn(rank, num_in, generator=generator) * size,
        )
        for name, (num_out, num_in) in linears(dims, outside=outside).items()
    }


def kohya(name: str) -> str:
    return "lora_unet_" + name.replace(".", "_")


def comfy(name: str) -> str:
    return f"diffusion_model.{name}"


STYLES: dict[str, tuple[NameFn, str, str]] = {  # what a module is called, down, up
    "kohya": (kohya, "lora_down.weight", "lora_up.weight"),
    "musubi": (lambda n: kohya("." + n), "lora_down.weight", "lora_up.weight"),
    "comfy": (comfy, "lora_A.weight", "lora_B.weight"),
    "comfy, kohya's factors": (comfy, "lora_down.weight", "lora_up.weight"),
    "native, no prefix": (lambda n: n, "lora_A.weight", "lora_B.weight"),
    "diffusers": (
        lambda n: f"transformer.{diffusers_name(n)}",
        "lora_A.weight",
        "lora_B.weight",
    ),
    "diffusers, old": (
        lambda n: f"transformer.{diffusers_name(n)}",
        "lora.down.weight",
        "lora.up.weight",
    ),
    "PEFT": (
        lambda n: f"base_model.model.{diffusers_name(n)}",
        "lora_A.default.weight",
        "lora_B.default.weight",
    ),
    "diffusers, flat": (
        lambda n: "lora_transformer_" + diffusers_name(n).replace(".", "_"),
        "lora_down.weight",
        "lora_up.weight",
    ),
}


def tensors_of(
    style: str, parts: dict[str, tuple[Tensor, Tensor]], alpha: float | None
) -> dict[str, Tensor]:
    """The file's tensors, as that style names them."""
    name_of, down, up = STYLES[style]
    tensors: dict[str, Tensor] = {}
    for name, (up_OR, down_RI) in parts.items():
        tensors[f"{name_of(name)}.{down}"] = down_RI
        tensors[f"{name_of(name)}.{up}"] = up_OR
        if alpha is not None:
            tensors[f"{name_of(name)}.alpha"] = torch.tensor(alpha)
    return tensors


def single(dims: WanDims, name: str = "blocks.0.self_attn.q") -> dict[str, Tensor]:
    """The smallest file that is a LoRA: it adds RANK to one matrix."""
    num_out, num_in = linears(dims)[name]
    up, down = torch.ones(num_out, RANK), torch.ones(RANK, num_in)
    return {f"{comfy(name)}.lora_A.weight": down, f"{comfy(name)}.lora_B.weight": up}


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, str(path), metadata)
    return path
