"""Named shared memory and the memory barrier: what the operating system does under a frame ring.

Not `multiprocessing.shared_memory`: its tracker unlinks segments of other processes, and it creates
them with `ftruncate`, which turns a full /dev/shm into a SIGBUS at the first write instead of an
error at creation.

    Linux    files in /dev/shm, posix_fallocate
    macOS    shm_open
    Windows  page-file mappings "Local\\NAME"; a mapping ends with its last handle

Run on Linux, and on Windows' Python in Wine (tests/windows); macOS never. Segments are 0600 and
read-only for readers.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import shutil
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sdv2_host.errors import RingError
from sdv2_host.ipc.run_dir import check_private, remove_file, sandbox_run_dir

if sys.platform == "darwin":
    import _posixshmem  # type: ignore[import-not-found]

LINUX_SEGMENT_DIR = Path("/dev/shm")
if sys.platform == "linux":
    # Map every page at once: without it the first pass over the slots costs 4 to 5 ms at 1080p.
    _POPULATE = mmap.MAP_POPULATE
else:
    _POPULATE = 0  # elsewhere the first pass over the slots pays


class SegmentStore:
    """Named shared memory of this machine. Holds no handles: mappings close themselves.

    `directory` is where Linux keeps segments (tests use a small one); elsewhere it is not used.
    """

    backing = "memory"
    """As it stands in the descriptor."""

    def __init__(self, directory: Path = LINUX_SEGMENT_DIR) -> None:
        self._directory = directory

    def create(self, name: str, num_bytes: int) -> mmap.mmap:
        """A new zeroed writable mapping whose memory is really there.

        Raises:
            RingError: not enough memory; nothing is left behind.
        """
        try:
            return self._create(name, num_bytes)
        except OSError as error:
            if not isinstance(error, FileExistsError):  # that one would be somebody else's
                self.unlink(name)
            free = self.free_bytes()
            known = f"{free} bytes are free" if free is not None else f"{error.strerror}"
            raise RingError(
                f"shared memory is full or not usable ({error.strerror}): {num_bytes} bytes are "
                f"needed in {self.place()}, {known}; close other programs that use it, choose "
                "a smaller frame size, or give it more room (in Docker: --shm-size=1g)"
            ) from error

    if sys.platform == "win32":

        def _create(self, name: str, num_bytes: int) -> mmap.mmap:
            return mmap.mmap(-1, num_bytes, tagname=f"Local\\{name}")

        def attach(self, name: str, num_bytes: int) -> mmap.mmap:
            """A read-only mapping of the first `num_bytes`.

            A name that no longer exists gives a page of zeros, which no header check accepts.

            Raises:
                OSError: the segment is shorter than that.
            """
            return mmap.mmap(-1, num_bytes, tagname=f"Local\\{name}", access=mmap.ACCESS_READ)

        def unlink(self, name: str) -> None:
            """Nothing to do: Windows removes a mapping with its last handle."""

        def place(self) -> str:
            return "the page file"

        def free_bytes(self) -> int | None:
            return None

    else:

        def _create(self, name: str, num_bytes: int) -> mmap.mmap:
            fd = self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                if sys.platform == "linux":
                    os.posix_fallocate(fd, 0, num_bytes)
                else:
                    os.ftruncate(fd, num_bytes)
                return mmap.mmap(fd, num_bytes, flags=mmap.MAP_SHARED | _POPULATE)
            finally:
                os.close(fd)

        def attach(self, name: str, num_bytes: int) -> mmap.mmap:
            """A read-only mapping of the first `num_bytes` of a segment.

            Raises:
                RingError: not ours, or shorter than that.
                OSError: as `open` does; FileNotFoundError when it is gone.
            """
            fd = self._open(name, os.O_RDONLY)
            try:
                found = os.fstat(fd)
                if sys.platform == "linux":  # other systems do not say S_ISREG of an shm object
                    check_private(found, self._directory / name)
                if found.st_size < num_bytes:
                    raise RingError(
                        f"segment {name} has {found.st_size} bytes, expected at least {num_bytes}"
                    )
                try:
                    return mmap.mmap(
                        fd, num_bytes, flags=mmap.MAP_SHARED | _POPULATE, prot=mmap.PROT_READ
                    )
                except ValueError as error:  # Python looks at the size, too: cut since we did
                    raise RingError(f"segment {name} was cut while it was opened") from error
            finally:
                os.close(fd)

        if sys.platform == "darwin":

            def _open(self, name: str, flags: int) -> int:
                return int(_posixshmem.shm_open(f"/{name}", flags, mode=0o600))

            def unlink(self, name: str) -> None:
                """The name is gone; mappings of it stay valid."""
                with contextlib.suppress(OSError):
                    _posixshmem.shm_unlink(f"/{name}")

            def place(self) -> str:
                return "shared memory"

            def free_bytes(self) -> int | None:
                return None

        else:

            def _open(self, name: str, flags: int) -> int:
                return os.open(self._directory / name, flags | os.O_NOFOLLOW, 0o600)

            def unlink(self, name: str) -> None:
                """The name is gone; mappings of it stay valid."""
                remove_file(self._directory / name)

            def place(self) -> str:
                return str(self._directory)

            def free_bytes(self) -> int | None:
                try:
                    return shutil.disk_usage(self._directory).free
                except OSError:
                    return None


class FileSegmentStore(SegmentStore):
    """Segments as files of a folder that programs in a sandbox see: those share no /dev/shm.

    The system writes them to the disk at its leisure, which costs some of the disk's time.
    """

    backing = "file"

    if sys.platform == "darwin":

        def _open(self, name: str, flags: int) -> int:
            return os.open(self._directory / name, flags | os.O_NOFOLLOW, 0o600)

        def unlink(self, name: str) -> None:
            remove_file(self._directory / name)

        def place(self) -> str:
            return str(self._directory)


def segment_store(run_dir: Path) -> SegmentStore:
    """Where rings of this run directory have their pixels.

    Raises:
        RingError: on Windows, for the directory of sandboxes, which nothing there needs.
    """
    if run_dir != sandbox_run_dir():
        return SegmentStore()
    if sys.platform == "win32":
        raise RingError("rings in files are not for Windows: programs there share memory anyway")
    return FileSegmentStore(run_dir)


def full_barrier() -> Callable[[], None]:
    """A function that orders all loads and stores before it against all after it.

    x86: one uncontended lock (a LOCK-prefixed instruction) is a full barrier. ARM64: the system's
    own; where that is missing, two locks in a row (release then acquire is ordered on ARMv8). Only
    x86 has been run.
    """
    lock = threading.Lock()

    def locked() -> None:
        with lock:
            pass

    if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        return locked
    if sys.platform == "darwin":
        barrier = ctypes.CDLL(None).OSMemoryBarrier
        barrier.restype = None
        return partial(barrier)
    try:
        fence = ctypes.CDLL("libatomic.so.1").atomic_thread_fence
    except (OSError, AttributeError):

        def locked_twice() -> None:
            locked()
            locked()

        return locked_twice
    fence.restype = None
    sequentially_consistent = 5
    return partial(fence, sequentially_consistent)
