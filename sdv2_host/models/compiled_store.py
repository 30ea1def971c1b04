"""Compiled models of this user: where they lie, under which name, and which are deleted. No torch.

CACHE/compiled/            0700, this user's alone: what lies there is loaded as code
    NAME/                  made elsewhere and moved here, so it is there whole or not at all
        LIBRARIES          shared libraries
        contents.json      their digests, and what they were compiled for
    NAME.making-*/         being made; an old one was left by a process that died

A name is a digest of everything that the code depends on (`artifact_name`): what does not fit any
more is not found, and in time deleted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from sdv2_host.errors import ModelError
from sdv2_host.models.store import APP_DIR

log = logging.getLogger(__name__)

CONTENTS = "contents.json"
MAKING = ".making-"
MAX_BYTES = 100_000_000
"""Of all together. One of the embedded model has 5 MB."""
ABANDONED_S = 3600.0
"""After which an unfinished one is nobody's any more."""
NAME_DIGITS = 32


def compiled_dir() -> Path:
    """The folder of this user; it need not exist."""
    return user_cache_path(APP_DIR, appauthor=False) / "compiled"


def artifact_name(facts: Mapping[str, object]) -> str:
    """The same for equal facts, another one where a single one differs."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:NAME_DIGITS]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One that is whole."""

    folder: Path
    facts: dict[str, Any]
    """What was written about it."""

    def library(self, name: str) -> Path:
        return self.folder / name


@dataclass(frozen=True, slots=True)
class CompiledStore:
    """The artifacts of one folder."""

    folder: Path
    max_bytes: int = MAX_BYTES

    def find(self, name: str) -> Artifact | None:
        """The artifact of this name; a damaged one is told, deleted and not found.

        Raises:
            ModelError: others can write into the folder.
        """
        folder = self.folder / name
        if not folder.is_dir():
            return None
        _check_private(self.folder)
        _check_private(folder)
        try:
            contents = json.loads((folder / CONTENTS).read_bytes())
            facts, digests = dict(contents["facts"]), dict(contents["digests"])
            damaged = [file for file, digest in digests.items() if _digest(folder / file) != digest]
        except (OSError, ValueError, KeyError, TypeError) as error:
            damaged = [f"{CONTENTS} ({error})"]
        if damaged:
            log.warning(
                "compiled model %s is damaged (%s) and was deleted", folder, ", ".join(damaged)
            )
            shutil.rmtree(folder, ignore_errors=True)
            return None
        os.utime(folder)  # what is in use is deleted last
        return Artifact(folder, facts)

    def delete(self, artifact: Artifact) -> None:
        """It is not found any more."""
        shutil.rmtree(artifact.folder, ignore_errors=True)

    @contextmanager
    def making(self, name: str, facts: Mapping[str, object]) -> Iterator[Path]:
        """A folder to write libraries into; after this they are the artifact of this name, or
        nothing is, where an error came out of it.

        Raises:
            ModelError: others can write into the store's folder, or this user cannot.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(
                f"cannot make the folder of compiled models {self.folder}: {error.strerror}; "
                "make it writable for you, or say --compile off"
            ) from error
        _check_private(self.folder)
        # mkdtemp makes folders that only their owner can enter.
        unfinished = Path(tempfile.mkdtemp(prefix=name + MAKING, dir=self.folder))
        try:
            yield unfinished
            digests = {file.name: _digest(file) for file in sorted(unfinished.iterdir())}
            contents = {"facts": dict(facts), "digests": digests}
            (unfinished / CONTENTS).write_text(json.dumps(contents, indent=1, default=str))
            shutil.rmtree(self.folder / name, ignore_errors=True)
            os.replace(unfinished, self.folder / name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        self.prune(keep=name)

    def prune(self, keep: str) -> list[str]:
        """Names of what was deleted: the longest unused ones until all have room, and what was
        left unfinished an hour ago. `keep` stays."""
        deleted: list[str] = []
        room_bytes = self.max_bytes
        for path in sorted(self.folder.iterdir(), key=_used_s, reverse=True):
            if MAKING in path.name:
                is_kept = time.time() - _used_s(path) < ABANDONED_S
            else:
                room_bytes -= _size_bytes(path)
                is_kept = path.name == keep or room_bytes >= 0
            if not is_kept:
                # Windows keeps what a running host has loaded; the next time, then.
                shutil.rmtree(path, ignore_errors=True)
                deleted.append(path.name)
        return deleted


def _check_private(folder: Path) -> None:
    """
    Raises:
        ModelError: somebody else can have written what lies in the folder.
    """
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise ModelError(f"{folder} is not a folder; remove it: compiled models are loaded there")
    if sys.platform == "win32":
        return  # a user's cache folder is that user's alone there
    if found.st_uid != os.geteuid():
        raise ModelError(
            f"{folder} belongs to user {found.st_uid}, you are {os.geteuid()}: compiled models in "
            "it would run as you; remove it, or say --compile off"
        )
    if found.st_mode & 0o022:
        raise ModelError(
            f"{folder} has mode {stat.S_IMODE(found.st_mode):o}, others can write there: compiled "
            f"models in it would run as you; run: chmod 700 {folder}"
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _used_s(path: Path) -> float:
    """When it was last used, as `time.time`; 0 = it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
