"""Pulling: what is missing, whether it fits on the disk, and each file until its hash is right.

Large files go over plain HTTP into `blobs/ETAG.incomplete` of the hub's cache and are continued
there by the next try, also that of another day (see hub_cache.py for why the hub's own downloader
is not used; its xet protocol has no such file). Only what has the size and the hash that the hub
states, and the pinned one, gets the file's name.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

from sdv2_host.errors import ModelError
from sdv2_host.models.catalogue import HubFile, size_text
from sdv2_host.models.digest import FileDigest, Progress, digest_file
from sdv2_host.models.hub import BrokenConnectionError, Hub, RemoteFile
from sdv2_host.models.register import PulledFile, load_register, update_register
from sdv2_host.models.store import Store, is_size_right

SPARE_BYTES = 256 << 20
"""Left free on the disk: a full system disk breaks more than a download."""
LOCK_WAIT_S = 0.5
WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Between tries that brought nothing; a try that brought something starts over."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class PullPlan(NamedTuple):
    """What is on disk already and what has to be loaded."""

    present: tuple[HubFile, ...]
    missing: tuple[RemoteFile, ...]
    load_bytes: int


def free_bytes(folder: Path) -> int:
    """Free space for this user where `folder` is or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


class PartialBlob:
    """A blob being loaded: the open file, how much of it is there, and the digest of that."""

    def __init__(self, file: FileIO, remote: RemoteFile) -> None:
        """Takes over what the file holds, of which more than the whole is dropped."""
        self._file, self._remote = file, remote
        self.digest = FileDigest(remote.size_bytes, remote.etag)
        self.done_bytes = 0
        file.seek(0)
        while piece := file.read(1 << 20):
            self.digest.update(piece)
            self.done_bytes += len(piece)
        if self.done_bytes > remote.size_bytes:
            self.restart()

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.digest = FileDigest(self._remote.size_bytes, self._remote.etag)
        self.done_bytes = 0

    def write(self, piece: bytes) -> None:
        if self.done_bytes + len(piece) > self._remote.size_bytes:
            self.restart()
            key, size = self._remote.file.key, self._remote.size_bytes
            raise ModelError(f"{key}: the server sends more than the {size} bytes it stated")
        view = memoryview(piece)
        while view:
            view = view[self._file.write(view) :]
        self.digest.update(piece)
        self.done_bytes += len(piece)


@dataclass(frozen=True, slots=True)
class Puller:
    """Loads files from a hub into the cache of a store."""

    store: Store
    hub: Hub
    free_bytes: Callable[[Path], int] = free_bytes
    sleep: Callable[[float], None] = time.sleep
    waits_s: tuple[float, ...] = WAITS_S

    def plan(self, files: Iterable[HubFile], *, ask_always: bool = False) -> PullPlan:
        """Asks the hub about the files that are not on disk; about all with `ask_always`.

        Raises:
            ModelError: the hub is out of reach or refuses, or has another file than the known one.
        """
        register = load_register(self.store.models_dir)
        present, missing = [], []
        for file in files:
            path = self.store.find(file, register)
            is_here = path is not None and is_size_right(file, path, register)
            if is_here and not ask_always:
                present.append(file)
                continue
            remote = self._ask(file)
            record = register.pulled.get(file.key)
            if is_here and record is not None and record.commit == remote.commit:
                present.append(file)
            else:
                missing.append(remote)
        left = sum(remote.size_bytes - self._present_bytes(remote) for remote in missing)
        return PullPlan(tuple(present), tuple(missing), left)

    def _ask(self, file: HubFile) -> RemoteFile:
        remote = self.hub.ask(file)
        is_hash = len(remote.etag) == 64
        if file.sha256 is not None and is_hash and remote.etag != file.sha256:
            raise ModelError(
                f"{file.key}: {self.hub.address} has another file than the known one (SHA-256 "
                f"{remote.etag[:12]}..., expected {file.sha256[:12]}...): not loaded"
            )
        return remote

    def _present_bytes(self, remote: RemoteFile) -> int:
        """Of the file's bytes those that another commit or an earlier try brought."""
        cache, repo = self.store.cache, remote.file.repo
        for path in (cache.blob(repo, remote.etag), cache.partial(repo, remote.etag)):
            if path.is_file():
                return min(path.stat().st_size, remote.size_bytes)
        return 0

    def check_space(self, load_bytes: int) -> None:
        """Raises: ModelError when the disk has no room for so much."""
        root = self.store.cache.root
        free = self.free_bytes(root)
        if load_bytes + SPARE_BYTES > free:
            raise ModelError(
                f"{size_text(load_bytes)} to load and {size_text(free)} free at {root}: "
                "free some space, or set HF_HOME to a folder on a larger disk"
            )

    def fetch(self, remote: RemoteFile, progress: Progress) -> Path:
        """The file is on disk, whole and right, and in the register; its path.

        Raises:
            ModelError: it is not; what was loaded stays and the next call goes on from there,
                unless its hash is wrong.
        """
        file, cache = remote.file, self.store.cache
        with self._disk_errors(file):
            with self._lock(remote):
                digest = self._digest_of_blob(remote) or self._load(remote, progress)
                path = cache.publish(file, remote.commit, remote.etag)
            pulled = PulledFile(
                commit=remote.commit, size_bytes=remote.size_bytes, sha256=digest.sha256
            )
            update_register(self.store.models_dir, lambda r: r.with_pulled(file.key, pulled))
        return path

    def _digest_of_blob(self, remote: RemoteFile) -> FileDigest | None:
        """The digest if the bytes are there already, for another commit; wrong ones are removed."""
        blob = self.store.cache.blob(remote.file.repo, remote.etag)
        if not blob.is_file():
            blob.unlink(missing_ok=True)
            return None
        digest = digest_file(blob, remote.etag)
        if blob.stat().st_size == remote.size_bytes and digest.is_as_named:
            return digest
        blob.unlink()
        return None

    def _load(self, remote: RemoteFile, progress: Progress) -> FileDigest:
        file, cache = remote.file, self.store.cache
        partial = cache.partial(file.repo, remote.etag)
        partial.parent.mkdir(parents=True, exist_ok=True)
        update_register(self.store.models_dir, lambda r: r.with_started(file.key, remote.etag))
        progress.begin(file.name, remote.size_bytes)
        try:
            partial.touch()
            with partial.open("r+b", buffering=0) as raw:
                blob = PartialBlob(raw, remote)
                progress.reach(blob.done_bytes)
                self._fill(remote, blob, progress)
        finally:
            progress.end()
        expected = file.sha256 or blob.digest.sha256
        if not blob.digest.is_as_named or blob.digest.sha256 != expected:
            partial.unlink()
            raise ModelError(
                f"{file.key}: the bytes that came have the wrong hash, they were removed: "
                "run it again; if it repeats, the server or a proxy alters them"
            )
        partial.replace(cache.blob(file.repo, remote.etag))
        return blob.digest

    def _fill(self, remote: RemoteFile, blob: PartialBlob, progress: Progress) -> None:
        """Reads until the blob is whole, over as many connections as it takes."""
        failures = 0
        while blob.done_bytes < remote.size_bytes:
            before = blob.done_bytes
            try:
                self._read_on(remote, blob, progress)
            except BrokenConnectionError:
                failures = 0 if blob.done_bytes > before else failures + 1
                if failures >= len(self.waits_s):
                    raise
                self.sleep(self.waits_s[failures])

    def _read_on(self, remote: RemoteFile, blob: PartialBlob, progress: Progress) -> None:
        with self.hub.read(remote, blob.done_bytes) as (first, pieces):
            if first != blob.done_bytes:
                blob.restart()
            for piece in pieces:
                blob.write(piece)
                progress.reach(blob.done_bytes)
        if blob.done_bytes < remote.size_bytes:
            raise BrokenConnectionError(
                f"{remote.file.key}: the connection ended after {blob.done_bytes} of "
                f"{remote.size_bytes} bytes: run it again, it goes on where it stopped"
            )

    @contextmanager
    def _lock(self, remote: RemoteFile) -> Iterator[None]:
        """One writer per blob; the lock is the one that the hub's own library takes."""
        path = self.store.cache.lock(remote.file.repo, remote.etag)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with WeakFileLock(path, timeout=LOCK_WAIT_S):
                yield
        except TimeoutError as error:
            raise ModelError(
                f"{remote.file.key}: another process is loading it: wait until it is done"
            ) from error

    @contextmanager
    def _disk_errors(self, file: HubFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            root = self.store.cache.root
            if error.errno in FULL:
                raise ModelError(
                    f"{file.key}: the disk of {root} is full: free some space and run it again, "
                    "it goes on where it stopped"
                ) from error
            raise ModelError(f"{file.key}: cannot write below {root}: {error.strerror}") from error
