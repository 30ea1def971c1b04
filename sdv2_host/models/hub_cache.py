"""The hub's cache folder, as huggingface_hub lays it out, read and written without importing it.

    ROOT/models--ORG--NAME/blobs/ETAG              the bytes; ETAG = SHA-256, or git's SHA-1
    ROOT/models--ORG--NAME/blobs/ETAG.incomplete   a download that goes on where it stopped
    ROOT/models--ORG--NAME/snapshots/COMMIT/PATH   a link to the blob, or the bytes where the disk
                                                   has no links
    ROOT/models--ORG--NAME/refs/REVISION           the commit that a branch or tag stood for
    ROOT/.locks/models--ORG--NAME/ETAG.lock        held while a blob is written

huggingface_hub 2.4 cannot go on with a download of an earlier run (it writes to a file of random
name and deletes that on failure), which for tens of gigabytes is not good enough: `download.py`
writes the blobs itself, and other tools find them here.

Source: huggingface_hub/file_download.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sdv2_host.models.catalogue import COMMIT, HubFile
from sdv2_host.models.digest import ETAG

PARTIAL_SUFFIX = ".incomplete"


@dataclass(frozen=True, slots=True)
class HubCache:
    """A cache folder; it need not exist. Commits and etags must be checked by the caller."""

    root: Path

    def repo_dir(self, repo: str) -> Path:
        return self.root / ("models--" + repo.replace("/", "--"))

    def blob(self, repo: str, etag: str) -> Path:
        return self.repo_dir(repo) / "blobs" / etag

    def partial(self, repo: str, etag: str) -> Path:
        return self.repo_dir(repo) / "blobs" / (etag + PARTIAL_SUFFIX)

    def lock(self, repo: str, etag: str) -> Path:
        return self.root / ".locks" / self.repo_dir(repo).name / f"{etag}.lock"

    def pointer(self, file: HubFile, commit: str) -> Path:
        """Where the file lies under its own name."""
        return self.repo_dir(file.repo) / "snapshots" / commit / file.path

    def commit_of(self, repo: str, revision: str) -> str | None:
        """The commit that `revision` stood for when it was last asked for."""
        if COMMIT.fullmatch(revision):
            return revision
        try:
            text = (self.repo_dir(repo) / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return text if COMMIT.fullmatch(text) else None

    def find(self, file: HubFile, commit: str | None) -> Path | None:
        """The file as of `commit`, else of its revision, else of any commit with the same bytes."""
        wanted = (commit, self.commit_of(file.repo, file.revision))
        for pointer in (self.pointer(file, one) for one in wanted if one):
            if pointer.is_file():
                return pointer
        return self._find_by_hash(file)

    def _find_by_hash(self, file: HubFile) -> Path | None:
        """Other tools may have asked for another commit; a link's target names the bytes."""
        if file.sha256 is None:
            return None
        snapshots = self.repo_dir(file.repo) / "snapshots"
        for pointer in sorted(snapshots.glob(f"*/{file.path}")):
            if pointer.is_file() and self.etag_of(pointer) == file.sha256:
                return pointer
        return None

    def etag_of(self, pointer: Path) -> str | None:
        """The hub's name for the bytes that a file of the cache links to; None if it is no link."""
        name = _target(pointer).name
        return name if pointer.is_symlink() and ETAG.fullmatch(name) else None

    def publish(self, file: HubFile, commit: str, etag: str) -> Path:
        """Makes a finished blob visible under the file's name; the path of it.

        Raises:
            OSError: the cache cannot be written.
        """
        blob, pointer = self.blob(file.repo, etag), self.pointer(file, commit)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if not (pointer.is_file() and pointer.resolve() == blob.resolve()):
            pointer.unlink(missing_ok=True)
            try:
                self.link(pointer, blob)
            except OSError:
                # No links here (Windows without developer mode): the bytes move, as the hub's own.
                os.replace(blob, pointer)
        if file.revision != commit:
            self._write_ref(file, commit)
        return pointer

    def link(self, pointer: Path, blob: Path) -> None:
        """Makes the link; relative, so that the cache can be moved."""
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))

    def _write_ref(self, file: HubFile, commit: str) -> None:
        ref = self.repo_dir(file.repo) / "refs" / file.revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        temporary = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
        temporary.write_text(commit, encoding="ascii")
        os.replace(temporary, ref)

    def remove(self, pointer: Path, repo: str) -> int:
        """Removes the file; its bytes too unless another commit shows them. Returns bytes freed.

        Bytes that newer versions of the hub's library share between repositories stay.
        """
        repo_dir, blob = self.repo_dir(repo), _target(pointer)
        size_bytes = 0 if blob.is_symlink() else blob.stat().st_size
        pointer.unlink()
        if blob != pointer:
            if blob.parent != repo_dir / "blobs" or blob in _shown_blobs(repo_dir):
                size_bytes = 0
            else:
                blob.unlink()
        _prune(pointer.parent, repo_dir)
        self._forget_empty_commits(repo_dir)
        return size_bytes

    def remove_partial(self, repo: str, etag: str) -> int:
        """Removes a half finished download. Returns bytes freed."""
        path = self.partial(repo, etag)
        size = path.stat().st_size if path.is_file() else 0
        path.unlink(missing_ok=True)
        _prune(path.parent, self.repo_dir(repo).parent)
        return size

    def _forget_empty_commits(self, repo_dir: Path) -> None:
        """References to commits of which nothing is left would make other tools look in vain."""
        for ref in [path for path in (repo_dir / "refs").rglob("*") if path.is_file()]:
            commit = ref.read_text(encoding="ascii", errors="replace").strip()
            if COMMIT.fullmatch(commit) and not (repo_dir / "snapshots" / commit).is_dir():
                ref.unlink()
                _prune(ref.parent, repo_dir)
        _prune(repo_dir / "snapshots", repo_dir)
        _prune(repo_dir / "blobs", repo_dir.parent)


def _target(pointer: Path) -> Path:
    """What a link names, one step only; the path itself when it is no link."""
    if not pointer.is_symlink():
        return pointer
    return Path(os.path.normpath(pointer.parent / os.readlink(pointer)))


def _shown_blobs(repo_dir: Path) -> set[Path]:
    links = (path for path in (repo_dir / "snapshots").rglob("*") if path.is_symlink())
    return {_target(path) for path in links}


def _prune(folder: Path, stop: Path) -> None:
    """Removes `folder` and those above it, up to `stop`, that are empty."""
    while folder != stop and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
