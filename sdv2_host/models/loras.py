"""LoRA files of this user, by name."""

from __future__ import annotations

from pathlib import Path

from sdv2_host.errors import ModelError
from sdv2_host.loras import LORA_SUFFIX
from sdv2_host.models.store import list_loras, lora_dir

_MAX_LISTED = 12


def find_lora(models_dir: Path, name: str) -> Path:
    """The file of the LoRA called `name`, as `loras.parse_loras` accepts names.

    Raises:
        ModelError: there is none; it lists those that are there.
    """
    path = lora_dir(models_dir) / (name + LORA_SUFFIX)
    if path.is_file():
        return path
    known = list_loras(models_dir)
    shown = ", ".join(known[:_MAX_LISTED]) + (", ..." if len(known) > _MAX_LISTED else "")
    there = f"known are {shown}" if known else "there is none yet"
    raise ModelError(
        f"no LoRA {name} in {lora_dir(models_dir)}: {there}; add one with "
        f"'sdv2-host models import {name}{LORA_SUFFIX}'"
    )
