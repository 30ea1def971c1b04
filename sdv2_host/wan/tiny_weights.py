"""The embedded model's one file -> modules, with an exact check of names and shapes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from safetensors.torch import save_file
from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.wan.checkpoint import Checkpoint, open_checkpoint
from sdv2_host.wan.dims import TinyTextDims, TinyVAEDims, WanDims
from sdv2_host.wan.filling import CPU, META, check, load_
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


@dataclass(frozen=True, slots=True)
class TinyFile:
    """The embedded model's file: its parts without memory, and what fills them. Open until `close`,
    or the end of its `with`."""

    dit: CausalWanModel
    vae: TinyVAE
    text: TinyTextEncoder
    card: dict[str, Any]
    checkpoint: Checkpoint

    def weights_of(self, part: str) -> Checkpoint:
        """Of "dit", "vae" or "text"."""
        return self.checkpoint.within(f"{part}.")

    def close(self) -> None:
        self.checkpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_tiny(path: Path | None = None) -> TinyFile:
    """The embedded model's file, compared with the sizes it states; nothing of it is read yet.

    Raises:
        ModelError: the file is missing, damaged, or not this model.
    """
    path = path or TINY_PATH
    if not path.is_file():
        raise ModelError(f"{path.name} is missing from {path.parent}: reinstall sdv2-host")
    try:
        checkpoint = open_checkpoint(path)
    except ModelError as error:
        raise ModelError(f"not an sdv2-host model file: {error}") from error
    try:
        dims = json.loads(checkpoint.metadata["dims"])
        with torch.device(META):
            file = TinyFile(
                CausalWanModel(WanDims(**_tuples(dims["dit"]))),
                TinyVAE(TinyVAEDims(**_tuples(dims["vae"]))),
                TinyTextEncoder(TinyTextDims(**dims["text"])),
                json.loads(checkpoint.metadata["card"]),
                checkpoint,
            )
    except (KeyError, TypeError, ValueError) as error:
        checkpoint.close()
        raise ModelError(f"{path}: not an sdv2-host model file ({error})") from error
    try:
        for part, module in (("dit", file.dit), ("vae", file.vae), ("text", file.text)):
            check(module, file.weights_of(part))
    except ModelError:
        checkpoint.close()
        raise
    return file


def load_tiny(path: Path | None = None) -> TinyModels:
    """The embedded model in float32 on the CPU, ready for inference.

    Raises:
        ModelError: the file is missing, damaged, or not this model.
    """
    with open_tiny(path) as file:
        return TinyModels(
            load_(file.dit, file.weights_of("dit"), CPU, torch.float32),
            load_(file.vae, file.weights_of("vae"), CPU, torch.float32),
            load_(file.text, file.weights_of("text"), CPU, torch.float32),
            file.card,
        )


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


def _tuples(dims: dict[str, Any]) -> dict[str, Any]:
    """JSON lists back to (nested) tuples."""

    def fix(value: Any) -> Any:
        return tuple(fix(item) for item in value) if isinstance(value, list) else value

    return {name: fix(value) for name, value in dims.items()}
