"""Importing: files the user has are registered where they are; LoRA files are copied."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from sdv2_host.errors import ModelError
from sdv2_host.loras import LORA_NAME, LORA_SUFFIX
from sdv2_host.models.catalogue import size_text
from sdv2_host.models.download import SPARE_BYTES, free_bytes
from sdv2_host.models.register import ImportedPart, update_register
from sdv2_host.models.store import Store, lora_dir


def register_part(store: Store, slot: str, path: Path) -> None:
    """From now on `path` stands for the part, in every model that has it.

    Raises:
        ModelError: the register cannot be read or written.
    """
    size_bytes = path.stat().st_size if path.is_file() else None
    part = ImportedPart(path=str(path.absolute()), size_bytes=size_bytes)
    update_register(store.models_dir, lambda register: register.with_imported(slot, part))


def lora_name(path: Path) -> str:
    """The name that a LoRA file gets: its own, '-' for what names cannot hold.

    Raises:
        ModelError: it is not a .safetensors file, or nothing of its name is left.
    """
    if path.suffix != LORA_SUFFIX:
        raise ModelError(f"{path}: LoRA files must be {LORA_SUFFIX} files, convert it first")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-.")[:100]
    if not LORA_NAME.fullmatch(name):
        raise ModelError(f"{path}: rename it first, to letters, digits, '_', '-' and '.'")
    return name


def copy_lora(models_dir: Path, path: Path, free_bytes: Callable[[Path], int] = free_bytes) -> str:
    """The file is in the folder of LoRAs, whole or not at all; the name to use it by.

    Raises:
        ModelError: another file has the name, the disk is full, or it cannot be written.
    """
    name = lora_name(path)
    target = lora_dir(models_dir) / f"{name}{LORA_SUFFIX}"
    if target.exists() and filecmp.cmp(path, target, shallow=False):
        return name
    if target.exists():
        raise ModelError(f"{target}: there is another file of that name, rename yours first")
    size, free = path.stat().st_size, free_bytes(models_dir)
    if size + SPARE_BYTES > free:
        raise ModelError(
            f"{path}: {size_text(size)} to copy, {size_text(free)} free at {models_dir}"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=target.parent)
        os.close(descriptor)
        try:
            shutil.copyfile(path, temporary)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ModelError(f"{target}: cannot be written: {error.strerror}") from error
    return name
