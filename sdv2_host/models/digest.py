"""Hashes of model files: what a file is, whatever its name says."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sdv2_host.errors import ModelError

BLOCK_BYTES = 8 << 20
ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Progress(Protocol):
    """Shows how a file comes along."""

    def begin(self, name: str, size_bytes: int) -> None: ...

    def reach(self, done_bytes: int) -> None: ...

    def end(self) -> None: ...


class FileDigest:
    """SHA-256 of a file that is fed piece by piece, and whether the hub's name for it fits.

    The hub names large files by their SHA-256 and small ones as git does: the SHA-1 of
    `blob SIZE`, a zero byte and the content.
    """

    def __init__(self, size_bytes: int, etag: str | None = None) -> None:
        """`etag`: the hub's name, 40 or 64 hex digits, None = not known."""
        self._etag = etag
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(f"blob {size_bytes}\0".encode(), usedforsecurity=False)
        self._is_git = etag is not None and len(etag) == 40

    def update(self, piece: bytes) -> None:
        self._sha256.update(piece)
        if self._is_git:
            self._git.update(piece)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def is_as_named(self) -> bool:
        """Whether the bytes are those that the hub's name stands for; True when it is not known."""
        own = self._git.hexdigest() if self._is_git else self.sha256
        return self._etag in (None, own)


def no_progress(num_bytes: int) -> None:
    """For callers that show none."""


def digest_file(
    path: Path, etag: str | None = None, advance: Callable[[int], None] = no_progress
) -> FileDigest:
    """The digest of a whole file; `advance` is told the bytes of each piece read.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        digest = FileDigest(path.stat().st_size, etag)
        with path.open("rb") as file:
            while piece := file.read(BLOCK_BYTES):
                digest.update(piece)
                advance(len(piece))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    return digest
