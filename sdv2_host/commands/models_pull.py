"""`sdv2-host models pull`: loads what is missing of a model from the hub into its cache."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from pydantic import ValidationError

from sdv2_host.commands.progress import show_progress
from sdv2_host.errors import ConfigError
from sdv2_host.models.catalogue import Entry, HubFile, Part, Role, size_text
from sdv2_host.models.download import Puller, PullPlan
from sdv2_host.models.hub import Hub
from sdv2_host.models.integrity import Health, verify_file
from sdv2_host.models.register import Register, load_register, update_register
from sdv2_host.models.store import State, Store

INTERRUPTED = 130
"""Exit code that a shell expects after Ctrl-C."""


class Wishes(NamedTuple):
    """What `pull` was asked for beside the name."""

    text: bool
    taehv: bool
    revision: str | None
    repair: bool


def pull(store: Store, name: str, wishes: Wishes) -> int:
    """Loads what is missing of a model; the exit code.

    Raises:
        ModelError: it cannot be loaded; what was loaded stays, the next pull goes on from there.
        ConfigError: there is no such model or revision.
    """
    entry = store.catalogue.entry(name)
    if not entry.parts:
        print(f"{name} is built in, there is nothing to pull: sdv2-host run --engine {name}")
        return 0
    try:
        _pull(store, entry, wishes)
    except KeyboardInterrupt:
        print(
            f"sdv2-host: interrupted; sdv2-host models pull {name} goes on where it stopped",
            file=sys.stderr,
        )
        return INTERRUPTED
    print(f"next: sdv2-host run --engine {name}")
    return 0


def _pull(store: Store, entry: Entry, wishes: Wishes) -> None:
    parts = _parts_to_pull(store, entry, wishes)
    if wishes.repair:
        _drop_damaged(store, parts)
    puller = Puller(store, Hub())
    plans = _plan(puller, parts, wishes.revision)
    missing = [remote for plan in plans for remote in plan.missing]
    if not missing:
        print(f"{entry.name}: everything is there, nothing to load", file=sys.stderr)
        return
    load_bytes = sum(plan.load_bytes for plan in plans)
    print(f"{entry.name}: {len(missing)} files, {size_text(load_bytes)} to load", file=sys.stderr)
    puller.check_space(load_bytes)
    with show_progress(sum(remote.size_bytes for remote in missing)) as progress:
        for remote in missing:
            puller.fetch(remote, progress)


def _plan(puller: Puller, parts: list[Part], revision: str | None) -> list[PullPlan]:
    """`revision` is one of the DiT's repository: it says nothing of the others."""
    dits = [file for part in parts if part.role is Role.DIT for file in part.files]
    others = [file for part in parts if part.role is not Role.DIT for file in part.files]
    if revision is None:
        return [puller.plan([*dits, *others])]
    moved = [_at_revision(file, revision) for file in dits]
    return [puller.plan(moved, ask_always=True), puller.plan(others)]


def _parts_to_pull(store: Store, entry: Entry, wishes: Wishes) -> list[Part]:
    """The parts asked for, without imported ones; imported ones that are gone are forgotten."""
    left_out = set() if wishes.text else {Role.TEXT, Role.TOKENIZER}
    left_out |= set() if wishes.taehv else {Role.TAEHV}
    parts = []
    for status in store.statuses(entry):
        if status.part.role in left_out:
            continue
        if status.state is State.IMPORTED:
            print(f"{status.part.role.title}: imported from {status.path}", file=sys.stderr)
            continue
        if status.state is State.GONE:
            print(f"{status.part.role.title}: {status.path} is gone, forgotten", file=sys.stderr)
            forget = partial(Register.without, keys=set(), slots={status.part.slot})
            update_register(store.models_dir, forget)
        parts.append(status.part)
    return parts


def _at_revision(file: HubFile, revision: str) -> HubFile:
    """The file of another revision: what is pinned of this one does not hold for it."""
    try:
        return HubFile(
            repo=file.repo, path=file.path, revision=revision, size_bytes=file.size_bytes
        )
    except ValidationError:
        raise ConfigError(
            f"--revision {revision!r}: expected a commit, branch or tag of {file.repo}"
        ) from None


def _drop_damaged(store: Store, parts: Iterable[Part]) -> None:
    register = load_register(store.models_dir)
    files = [file for part in parts for file in part.files]
    with show_progress(sum(file.size_bytes for file in files)) as progress:
        for file in files:
            verdict = verify_file(store, file, register, progress)
            if verdict.health is Health.DAMAGED and verdict.path is not None:
                print(
                    f"{verdict.name}: damaged, {verdict.detail}; loading it again", file=sys.stderr
                )
                store.cache.remove(verdict.path, file.repo)
