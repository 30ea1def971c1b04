"""`sdv2-host models import`: files that the user has, found out by what is in them."""

from __future__ import annotations

import sys
from pathlib import Path

from sdv2_host.errors import ModelError
from sdv2_host.models.catalogue import Role, size_text
from sdv2_host.models.findings import LORA, Findings, is_known_by_name, search
from sdv2_host.models.imports import copy_lora, register_part
from sdv2_host.models.store import READY, State, Store
from sdv2_host.wan.identify import Kind, identify_file

SLOTS = {
    Kind.DIT_1_3B: "dit-1.3b",
    Kind.DIT_14B: "dit-14b",
    Kind.WAN_VAE: "vae",
    Kind.TAEHV: "taehv",
    Kind.UMT5_XXL: "text",
    Kind.LORA: LORA,
}


def import_path(store: Store, path: Path, loras: bool) -> None:
    """Registers what is found at `path`, and says what is still missing.

    Raises:
        ModelError: there is nothing there that a model here is made of.
    """
    findings = search(path, slot_of, store.catalogue)
    for line in findings.refused:
        print(f"left out: {line}", file=sys.stderr)
    parts = {part.slot: part for part in store.catalogue.parts}
    for slot, found in findings.parts.items():
        register_part(store, slot, found)
        print(f"imported: {slot} from {found}")
        if parts[slot].role is Role.DIT and not is_known_by_name(parts[slot], found):
            print(
                "    whether it is a StreamDiffusionV2 checkpoint cannot be told from the file: "
                "the weights of plain Wan have the same shapes and give noise"
            )
    for slot, choices in findings.unclear.items():
        print(f"left out: {len(choices)} files are a {slot}, import the one you want by its path:")
        for choice in choices:
            print(f"    {choice}")
    copied = _import_loras(store, path, findings, loras)
    if not (findings.parts or findings.unclear or copied or findings.loras):
        raise ModelError(f"{path}: nothing in there that a model here is made of")
    if findings.parts:
        _show_missing(store)


def _import_loras(store: Store, path: Path, findings: Findings, loras: bool) -> int:
    """Copies a LoRA file that was named; of a folder's, which may be for other models, on wish."""
    if not (loras or path.is_file()):
        if findings.loras:
            print(f"left out: {len(findings.loras)} LoRA files; say --loras to copy them too")
        return 0
    for file in findings.loras:
        name = copy_lora(store.models_dir, file)
        print(f"imported: LoRA {name}; use it with --lora {name}, or live by OSC /sdv2/lora {name}")
    return len(findings.loras)


def slot_of(path: Path) -> str | None:
    """What the file is for, see `findings.Identify`."""
    return SLOTS.get(identify_file(path))


def _show_missing(store: Store) -> None:
    for entry in store.catalogue.entries:
        statuses = store.statuses(entry)
        if not any(status.state is State.IMPORTED for status in statuses):
            continue
        missing = [status.part for status in statuses if status.state not in READY]
        if missing:
            titles = ", ".join(part.role.title for part in missing)
            size = size_text(sum(part.size_bytes for part in missing))
            print(
                f"{entry.name}: still missing {titles}: sdv2-host models pull {entry.name} ({size})"
            )
        else:
            print(f"{entry.name}: complete: sdv2-host run --engine {entry.name}")
