"""Removing a model: what no other installed model uses, and never a file of the user."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sdv2_host.errors import ModelError
from sdv2_host.models.catalogue import Entry, HubFile, Part, Role
from sdv2_host.models.register import Register, load_register, update_register
from sdv2_host.models.store import READY, Store


class Removal(NamedTuple):
    """What would go: files of the hub's cache, downloads begun, registrations of imported parts."""

    files: tuple[tuple[HubFile, Path], ...]
    unfinished: tuple[tuple[HubFile, str], ...]
    imported: tuple[Part, ...]
    kept: tuple[Part, ...]
    """Parts that stay because another installed model has them too."""
    size_bytes: int

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.unfinished or self.imported)


def plan_removal(store: Store, entry: Entry) -> Removal:
    """What removing the model would free.

    Raises:
        ModelError: the register is damaged.
    """
    register = load_register(store.models_dir)
    used = _slots_in_use(store, entry, register)
    going = [part for part in entry.parts if part.slot not in used]
    imported = tuple(part for part in going if part.slot in register.imported)
    loose = [file for part in going for file in part.files]
    found = [(file, store.find(file, register)) for file in loose]
    files = tuple((file, path) for file, path in found if path is not None)
    unfinished = tuple(
        (file, register.unfinished[file.key]) for file in loose if file.key in register.unfinished
    )
    partials = (store.cache.partial(file.repo, etag) for file, etag in unfinished)
    sizes = [path.stat().st_size for _, path in files]
    sizes += [path.stat().st_size for path in partials if path.is_file()]
    kept = tuple(part for part in entry.parts if part.slot in used)
    return Removal(files, unfinished, imported, kept, sum(sizes))


def remove(store: Store, removal: Removal) -> int:
    """Removes what was planned; the bytes freed.

    Raises:
        ModelError: a file cannot be removed; what was removed until then is gone.
    """
    freed = 0
    try:
        for file, path in removal.files:
            freed += store.cache.remove(path, file.repo)
        for file, etag in removal.unfinished:
            freed += store.cache.remove_partial(file.repo, etag)
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be removed: {error.strerror}") from error
    keys = {file.key for file, _ in (*removal.files, *removal.unfinished)}
    slots = {part.slot for part in removal.imported}
    update_register(store.models_dir, lambda register: register.without(keys, slots))
    return freed


def _slots_in_use(store: Store, removed: Entry, register: Register) -> set[str]:
    """Parts of the other models that are installed: those whose DiT is there."""
    used: set[str] = set()
    for entry in store.catalogue.entries:
        dits = [part for part in entry.parts if part.role is Role.DIT]
        if entry.name == removed.name or not dits:
            continue
        if all(store.part_status(part, register).state in READY for part in dits):
            used |= {part.slot for part in entry.parts}
    return used
