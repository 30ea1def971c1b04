"""The run directory: who may write there, small private files, and the lock that tells who lives.

One directory per user, 0700, and a second one for sandboxes. Per stream: NAME.json (descriptor),
NAME.lock (held by the writer for life) and, while segments are made, NAME.pending. Run on Linux,
and on Windows' Python in Wine (tests/windows); macOS never.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from pathlib import Path

from sdv2_host.errors import RingError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

APP_DIR = "sdv2-host"


def default_run_dir() -> Path:
    """Where descriptors and locks of this user live.

    It depends on no environment variable: an application started from a desktop does not see the
    variables of the shell that started the host, and both must find the same place.
    """
    if sys.platform == "win32":
        return Path.home() / "AppData" / "Local" / APP_DIR / "run"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / APP_DIR / "run"
    uid = os.getuid()
    session = Path(f"/run/user/{uid}")
    if os.access(session, os.W_OK):
        return session / APP_DIR
    return Path(f"/tmp/{APP_DIR}-{uid}")


def sandbox_run_dir() -> Path:
    """Where a host keeps everything that programs in a sandbox shall see: in the home folder.

    Rings of this directory are files in it, not shared memory; see `segment_store`.
    """
    return Path.home() / ".sdv2-host" / "run"


def run_dirs() -> tuple[Path, ...]:
    """All directories in which hosts of this user may be, the usual one first."""
    return (default_run_dir(), sandbox_run_dir())


def make_run_dir(path: Path) -> None:
    """The directory exists and nobody else can read or write it.

    Raises:
        RingError: when it cannot be made or belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_run_dir(path)
    except OSError as error:
        raise RingError(
            f"cannot make the run directory {path}: {error.strerror}; make it writable for you"
        ) from error


def check_run_dir(path: Path) -> None:
    """Nobody else can have written what is read from this directory.

    Raises:
        RingError: naming owner or mode and what to do.
        FileNotFoundError: when it does not exist.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise RingError(f"run directory {path} is not a directory; remove it")
    if sys.platform != "win32":
        if found.st_uid != os.geteuid():
            raise RingError(
                f"run directory {path} belongs to user {found.st_uid}, you are {os.geteuid()}; "
                "remove it or run as that user"
            )
        if found.st_mode & 0o077:
            raise RingError(
                f"run directory {path} has mode {stat.S_IMODE(found.st_mode):o}, expected 700; "
                f"run: chmod 700 {path}"
            )


def read_private_file(path: Path, max_bytes: int) -> bytes:
    """Content of a small regular file that only this user can have written.

    Raises:
        RingError: not regular, not ours, open to others, or too long.
        OSError: as `open` does.
    """
    flags = os.O_RDONLY
    if sys.platform != "win32":
        # O_NONBLOCK: a FIFO put in its place must not hang us.
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK
    else:
        flags |= os.O_BINARY
    fd = os.open(path, flags)
    try:
        check_private(os.fstat(fd), path)
        raw = os.read(fd, max_bytes + 1)
    finally:
        os.close(fd)
    if len(raw) > max_bytes:
        raise RingError(f"{path} is longer than {max_bytes} bytes")
    return raw


def write_private_file(path: Path, content: bytes) -> None:
    """The file has this content, at once or not at all, mode 0600. One process per file.

    Raises:
        RingError: when the directory cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")  # fixed: a crash leaves at most this one
    try:
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
        _replace(temporary, path)
    except OSError as error:
        remove_file(temporary)
        raise RingError(
            f"cannot write {path}: {error.strerror}; free some space or check its permissions"
        ) from error


def _replace(source: Path, target: Path) -> None:
    if sys.platform != "win32":
        os.replace(source, target)
        return
    for _ in range(40):  # Windows refuses while a reader has the target open
        try:
            os.replace(source, target)
        except PermissionError:
            time.sleep(0.005)
        else:
            return
    os.replace(source, target)


def keep_files_private() -> None:
    """What this process and its children make from now on is for this user alone, whatever the
    shell that started it allows: recordings, state, presets, logs, what compilers leave.

    On Windows, which has no such thing, folders of the user's profile are the user's already.
    """
    os.umask(0o077)


def remove_file(path: Path) -> None:
    """The file is gone, if this user may remove it."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def check_private(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise RingError(f"{path} is not a regular file; remove it")
    if sys.platform != "win32" and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
        raise RingError(
            f"{path} has owner {found.st_uid} and mode {stat.S_IMODE(found.st_mode):o}, "
            f"expected {os.geteuid()} and 600; remove it"
        )


class WriterLock:
    """A file lock that the operating system frees when its process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """True when this process holds the lock now.

        Raises:
            RingError: the lock file cannot be made.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | _NOFOLLOW, 0o600)
        except OSError as error:
            raise RingError(f"cannot open {self._path}: {error.strerror}; remove it") from error
        # The last holder unlinks the file: a lock on a file that is no longer there means nothing.
        if _lock_exclusive(fd) and _is_same_file(fd, self._path):
            self._fd = fd
            return True
        os.close(fd)
        return False

    @property
    def is_in_place(self) -> bool:
        """Whether the file that others look at is the one that this process has locked."""
        return self._fd is not None and _is_same_file(self._fd, self._path)

    def renew(self) -> bool:
        """Somebody has removed the file: it is there again, and locked. False: another was faster.

        Raises:
            RingError: the lock file cannot be made.
        """
        assert self._fd is not None, "only while it is held"
        removed = self._fd
        if not self.acquire():
            return False
        os.close(removed)
        return True

    def release(self) -> None:
        """The lock is free and its file gone."""
        if self._fd is None:
            return
        if sys.platform != "win32" and self.is_in_place:
            remove_file(self._path)
        os.close(self._fd)
        self._fd = None
        if sys.platform == "win32":
            remove_file(self._path)  # Windows refuses while a file is open


def is_lock_held(path: Path) -> bool:
    """Whether a living process holds the writer lock at `path`; True when that cannot be told."""
    try:
        fd = os.open(path, os.O_RDWR | _NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # no file handles left, say: no reason to declare anybody dead
    try:
        return not _lock_probe(fd)
    finally:
        os.close(fd)


if sys.platform == "win32":
    _NOFOLLOW = 0

    def _lock_exclusive(fd: int) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _lock_probe(fd: int) -> bool:
        free = _lock_exclusive(fd)
        if free:
            os.lseek(fd, 0, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        return free

    def _is_same_file(fd: int, path: Path) -> bool:
        return True  # a file that is open cannot be removed

else:
    _NOFOLLOW = os.O_NOFOLLOW

    def _lock_exclusive(fd: int) -> bool:
        return _flock(fd, fcntl.LOCK_EX)

    def _lock_probe(fd: int) -> bool:
        return _flock(fd, fcntl.LOCK_SH)

    def _flock(fd: int, kind: int) -> bool:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _is_same_file(fd: int, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(path))
        except OSError:
            return False
