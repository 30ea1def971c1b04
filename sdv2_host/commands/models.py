"""`sdv2-host models list`, `verify` and `rm`: what is installed, and what of it is sound."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from sdv2_host.commands.progress import show_progress
from sdv2_host.errors import ConfigError, ModelError
from sdv2_host.models.catalogue import CATALOGUE, Entry, Part, Role, read_catalogue, size_text
from sdv2_host.models.integrity import Health, Verdict, verify_part
from sdv2_host.models.register import Register, load_register
from sdv2_host.models.removal import Removal, plan_removal, remove
from sdv2_host.models.store import (
    READY,
    PartStatus,
    State,
    Store,
    hub_store,
    list_loras,
    models_dir,
)


def open_store(folder: str, catalogue: Path | None) -> Store:
    """The store for --models-dir and --catalogue.

    Raises:
        ModelError: the catalogue cannot be read.
    """
    entries = read_catalogue(catalogue) if catalogue else CATALOGUE
    return hub_store(models_dir(folder), entries)


def list_models(store: Store, as_json: bool) -> None:
    """Prints every model with its parts, their state and the next command."""
    rows = [(entry, store.statuses(entry)) for entry in store.catalogue.entries]
    if as_json:
        print(json.dumps([_json_row(entry, parts) for entry, parts in rows], indent=2))
        return
    for entry, parts in rows:
        print(f"{entry.name:10} {entry.what}")
        for status in parts:
            print(f"    {_part_line(status)}")
        print(f"    {_next_command(entry, parts)}")
    if loras := list_loras(store.models_dir):
        print(f"LoRA files: {', '.join(loras)}")
    print(f"models folder {store.models_dir}, downloads in {store.cache.root}")


def _part_line(status: PartStatus) -> str:
    part, size = status.part, size_text(status.part.size_bytes)
    text = {
        State.INSTALLED: "installed",
        State.IMPORTED: f"imported from {status.path}",
        State.MISSING: "missing",
        State.UNFINISHED: f"unfinished, {size_text(status.present_bytes)} are here",
        State.DAMAGED: f"damaged, {status.present_bytes} bytes at {status.path}",
        State.GONE: f"imported, but {status.path} is gone",
    }[status.state]
    return f"{part.role.title:13} {size:>9}  {part.licence:11} {text}"


def _next_command(entry: Entry, parts: Iterable[PartStatus]) -> str:
    missing = {status.part.role for status in parts if status.state not in READY}
    if not missing:
        return f"ready: sdv2-host run --engine {entry.name}"
    pull = f"sdv2-host models pull {entry.name}"
    if missing == {Role.TAEHV}:
        return f"ready: sdv2-host run --engine {entry.name}; for --vae hybrid and taehv: {pull}"
    return f"to do: {pull}"


def _json_row(entry: Entry, parts: Iterable[PartStatus]) -> dict[str, object]:
    rows = [
        {
            "role": status.part.role.value,
            "state": status.state.value,
            "path": str(status.path) if status.path else None,
            "size_bytes": status.part.size_bytes,
            "present_bytes": status.present_bytes,
            "licence": status.part.licence,
            "files": [file.model_dump() for file in status.part.files],
        }
        for status in parts
    ]
    return {"name": entry.name, "what": entry.what, "parts": rows}


def verify(store: Store, name: str | None) -> None:
    """Reads every installed byte again and prints what it found.

    Raises:
        ModelError: a file is damaged, or is gone that was installed; or the named model is missing.
        ConfigError: there is no such model.
    """
    entries = [store.catalogue.entry(name)] if name else list(store.catalogue.entries)
    register = load_register(store.models_dir)
    owners: dict[str, Entry] = {}
    statuses: list[PartStatus] = []
    for entry in entries:
        new = [status for status in store.statuses(entry) if status.part.slot not in owners]
        owners |= {status.part.slot: entry for status in new}
        statuses += [s for s in new if name or s.state is not State.MISSING]
    wrong: list[str] = []
    with show_progress(sum(status.present_bytes for status in statuses)) as progress:
        for part in [status.part for status in statuses]:
            for verdict in verify_part(store, part, register, progress):
                print(f"{verdict.health.value:8} {verdict.name}  {verdict.detail}")
                if _is_wrong(verdict, part, register):
                    wrong.append(_remedy(verdict, part, owners[part.slot], register))
    if wrong:
        raise ModelError(f"{len(wrong)} of the files are not right, first {wrong[0]}")
    if not statuses:
        print("nothing is installed that could be verified")


def _is_wrong(verdict: Verdict, part: Part, register: Register) -> bool:
    """A part that was never installed may be missing (--no-text), but not the DiT."""
    if verdict.health is Health.MISSING:
        was_here = part.slot in register.imported or verdict.name in register.pulled
        return was_here or part.role is Role.DIT
    return verdict.health is Health.DAMAGED


def _remedy(verdict: Verdict, part: Part, entry: Entry, register: Register) -> str:
    if part.slot in register.imported:
        return f"{verdict.name} at {verdict.path} ({verdict.detail}): import it again"
    return f"{verdict.name} ({verdict.detail}): run sdv2-host models pull {entry.name} --repair"


def remove_model(store: Store, name: str, yes: bool) -> None:
    """Frees what only this model uses, after asking.

    Raises:
        ConfigError: there is no such model, or nobody can be asked.
        ModelError: a file cannot be removed.
    """
    entry = store.catalogue.entry(name)
    removal = plan_removal(store, entry)
    if removal.is_empty:
        print(f"{name}: nothing to remove")
        return
    _show_removal(name, removal)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("there is no terminal to ask in: say --yes to remove them")
        if input("remove them? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return
    print(f"freed {size_text(remove(store, removal))}")


def _show_removal(name: str, removal: Removal) -> None:
    print(f"{name}: {size_text(removal.size_bytes)} to free")
    for _, path in removal.files:
        print(f"    {path}")
    for file, _ in removal.unfinished:
        print(f"    the unfinished download of {file.key}")
    for part in removal.imported:
        print(f"    the registration of the imported {part.role.title}; your file stays")
    for part in removal.kept:
        print(f"    stays: the {part.role.title}, another model uses it")
