"""Checkpoints -> modules, with an exact check of names and shapes. No pickles."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sdv2_host.errors import ModelError
from sdv2_host.wan.dims import TinyTextDims, TinyVAEDims, WanDims
from sdv2_host.wan.filling import named
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE

TINY_PATH = Path(__file__).parent.parent / "assets" / "tiny" / "tiny.safetensors"


class TinyModels(NamedTuple):
    dit: CausalWanModel
    vae: TinyVAE
    text: TinyTextEncoder
    card: dict[str, Any]
    """What the training wrote down: styles, prompts, steps, data, metrics."""


def load_tiny(path: Path | None = None) -> TinyModels:
    """The embedded model in float32 on the CPU, ready for inference.

    Raises:
        ModelError: the file is missing, damaged, or not this model.
    """
    path = path or TINY_PATH
    if not path.is_file():
        raise ModelError(f"{path.name} is missing from {path.parent}: reinstall sdv2-host")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        dims = json.loads(metadata["dims"])
        card = json.loads(metadata["card"])
        models = TinyModels(
            CausalWanModel(WanDims(**_tuples(dims["dit"]))),
            TinyVAE(TinyVAEDims(**_tuples(dims["vae"]))),
            TinyTextEncoder(TinyTextDims(**dims["text"])),
            card,
        )
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(f"{path}: not an sdv2-host model file ({error})") from error
    for name, module in (("dit", models.dit), ("vae", models.vae), ("text", models.text)):
        prefix = f"{name}."
        part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        load_exact(module, part, f"{path.name}: {name}")
        module.eval().requires_grad_(False)
    return models


def save_tiny(models: TinyModels, path: Path) -> None:
    """One file with all three parts in float16, dims and card in its metadata."""
    tensors: dict[str, Tensor] = {}
    for name, module in (("dit", models.dit), ("vae", models.vae), ("text", models.text)):
        for key, value in module.state_dict().items():
            tensors[f"{name}.{key}"] = value.detach().to(torch.float16).contiguous()
    dims = {
        "dit": asdict(models.dit.dims),
        "vae": asdict(models.vae.dims),
        "text": asdict(models.text.dims),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"dims": json.dumps(dims), "card": json.dumps(models.card)}
    save_file(tensors, str(path), metadata=metadata)


def load_exact(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Weights into the module, if names and shapes are exactly its own.

    Raises:
        ModelError: naming missing, unexpected and wrongly shaped tensors.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    faults = [
        named("missing", sorted(wanted.keys() - given.keys())),
        named("unexpected", sorted(given.keys() - wanted.keys())),
        named(
            "of the wrong shape",
            [
                f"{name} {given[name]} for {wanted[name]}"
                for name in sorted(wanted.keys() & given.keys())
                if wanted[name] != given[name]
            ],
        ),
    ]
    if any(faults):
        raise ModelError(f"{where}: " + "; ".join(fault for fault in faults if fault))
    module.load_state_dict(tensors)


def _tuples(dims: dict[str, Any]) -> dict[str, Any]:
    """JSON lists back to (nested) tuples."""

    def fix(value: Any) -> Any:
        return tuple(fix(item) for item in value) if isinstance(value, list) else value

    return {name: fix(value) for name, value in dims.items()}
