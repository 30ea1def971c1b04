"""Verifying: every byte of what is installed, against what was pulled, pinned or named."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import NamedTuple

from sdv2_host.models.catalogue import HubFile, Part
from sdv2_host.models.digest import Progress, digest_file
from sdv2_host.models.register import Register
from sdv2_host.models.store import Store


class Health(Enum):
    OK = "ok"
    DAMAGED = "damaged"
    MISSING = "missing"


class Verdict(NamedTuple):
    """What was found for one file, or for one imported part."""

    name: str
    health: Health
    path: Path | None
    detail: str


class _Expected(NamedTuple):
    size_bytes: int | None
    sha256: str | None
    etag: str | None


def verify_part(
    store: Store, part: Part, register: Register, progress: Progress
) -> tuple[Verdict, ...]:
    """Reads every file of the part.

    Raises:
        ModelError: a file cannot be read.
    """
    if part.slot in register.imported:
        return (_verify_imported(part, register, progress),)
    return tuple(verify_file(store, file, register, progress) for file in part.files)


def verify_file(store: Store, file: HubFile, register: Register, progress: Progress) -> Verdict:
    """Reads the file and compares size and hash.

    Raises:
        ModelError: it cannot be read.
    """
    path = store.find(file, register)
    if path is None:
        return Verdict(file.key, Health.MISSING, None, "not there")
    return _compare(file.key, path, _expected(store, file, path, register), progress)


def _expected(store: Store, file: HubFile, path: Path, register: Register) -> _Expected:
    """Our own record of the download, else the pinned hash, else the hub's name for the blob."""
    record = register.pulled.get(file.key)
    if record is not None and record.commit in path.parts:
        return _Expected(record.size_bytes, record.sha256, None)
    size_bytes = file.size_bytes if file.sha256 is not None else None
    return _Expected(size_bytes, file.sha256, store.cache.etag_of(path))


def _verify_imported(part: Part, register: Register, progress: Progress) -> Verdict:
    """An imported file is what its owner made it: its size is kept, a known size's hash known."""
    imported = register.imported[part.slot]
    path = Path(imported.path)
    name = f"imported {part.role.title}"
    if imported.size_bytes is None:
        health = Health.OK if path.is_dir() else Health.MISSING
        return Verdict(name, health, path, "a folder, looked at but not read")
    if not path.is_file():
        return Verdict(name, Health.MISSING, path, "not there any more")
    known = [file.sha256 for file in part.files if file.size_bytes == imported.size_bytes]
    sha256 = known[0] if known else None
    return _compare(name, path, _Expected(imported.size_bytes, sha256, None), progress)


def _compare(name: str, path: Path, expected: _Expected, progress: Progress) -> Verdict:
    size = path.stat().st_size
    if expected.size_bytes is not None and size != expected.size_bytes:
        detail = f"{size} bytes, expected {expected.size_bytes}"
        return Verdict(name, Health.DAMAGED, path, detail)
    if expected.sha256 is None and expected.etag is None:
        return Verdict(name, Health.OK, path, f"{size} bytes; no hash is known for it")
    progress.begin(path.name, size)
    done = 0

    def advance(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        progress.reach(done)

    try:
        digest = digest_file(path, expected.etag, advance)
    finally:
        progress.end()
    if not digest.is_as_named or digest.sha256 != (expected.sha256 or digest.sha256):
        detail = f"SHA-256 {digest.sha256[:16]}..., expected another"
        return Verdict(name, Health.DAMAGED, path, detail)
    return Verdict(name, Health.OK, path, f"{size} bytes, hash right")
