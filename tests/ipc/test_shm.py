"""Laws of segments, run directory and writer lock."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sdv2_host.errors import RingError
from sdv2_host.ipc.run_dir import (
    WriterLock,
    default_run_dir,
    is_lock_held,
    make_run_dir,
    read_private_file,
    write_private_file,
)
from sdv2_host.ipc.shm import SegmentStore, full_barrier

NAME = "lfr.0123456789abcdef0123"
on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="segments are files of a folder, with modes, only there"
)


@on_linux
def test_what_is_written_into_a_segment_is_read_from_it(tmp_path: Path) -> None:
    store = SegmentStore(tmp_path)
    written = store.create(NAME, 8192)
    read = store.attach(NAME, 8192)

    written[4096:4101] = b"hello"

    assert read[4096:4101] == b"hello"
    assert read[:4096] == bytes(4096)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    with pytest.raises(TypeError):
        read[0] = 1


@pytest.mark.skipif(sys.platform != "win32", reason="of Windows")
def test_a_segment_of_windows_ends_with_its_last_mapping() -> None:
    store = SegmentStore()
    written = store.create(NAME, 8192)
    read = store.attach(NAME, 8192)
    written[4096:4101] = b"hello"

    assert read[4096:4101] == b"hello"
    with pytest.raises(TypeError):
        read[0] = 1
    with pytest.raises(OSError):  # noqa: PT011
        store.attach(NAME, 1 << 20)
    written.close()
    assert read[4096:4101] == b"hello"
    read.close()
    with store.attach(NAME, 8192) as gone:
        assert gone[:] == bytes(8192)


@on_linux
def test_a_segment_outlives_its_name(tmp_path: Path) -> None:
    store = SegmentStore(tmp_path)
    written = store.create(NAME, 4096)
    read = store.attach(NAME, 4096)

    store.unlink(NAME)
    store.unlink(NAME)
    written[0] = 7

    assert read[0] == 7
    with pytest.raises(FileNotFoundError):
        store.attach(NAME, 4096)


@on_linux
def test_a_name_is_made_once(tmp_path: Path) -> None:
    store = SegmentStore(tmp_path)
    store.create(NAME, 4096).close()

    with pytest.raises(RingError, match="File exists"):
        store.create(NAME, 4096)
    assert (tmp_path / NAME).exists()


@on_linux
def test_a_directory_that_is_not_there_is_a_ring_error(tmp_path: Path) -> None:
    with pytest.raises(RingError, match=r"4096 bytes are needed in .*/nowhere"):
        SegmentStore(tmp_path / "nowhere").create(NAME, 4096)


@on_linux
@pytest.mark.parametrize("num_bytes", [4096, 1 << 20])
def test_a_short_segment_is_not_mapped(tmp_path: Path, num_bytes: int) -> None:
    (tmp_path / NAME).touch(0o600)

    with pytest.raises(RingError, match="has 0 bytes"):
        SegmentStore(tmp_path).attach(NAME, num_bytes)


@on_linux
def test_a_segment_open_to_others_is_not_mapped(tmp_path: Path) -> None:
    store = SegmentStore(tmp_path)
    store.create(NAME, 4096).close()
    (tmp_path / NAME).chmod(0o644)

    with pytest.raises(RingError, match="mode 644"):
        store.attach(NAME, 4096)


def test_a_lock_is_held_by_one_and_free_when_released(tmp_path: Path) -> None:
    path = tmp_path / "s.lock"
    first, second = WriterLock(path), WriterLock(path)

    assert not is_lock_held(path)
    assert first.acquire()
    assert is_lock_held(path)
    assert not second.acquire()
    first.release()
    first.release()
    assert not path.exists()
    assert second.acquire()
    second.release()


def test_a_lock_is_free_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "s.lock"
    program = (
        "import sys, time; from pathlib import Path\n"
        "from sdv2_host.ipc.run_dir import WriterLock\n"
        "lock = WriterLock(Path(sys.argv[1]))\n"
        "print(lock.acquire(), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"True"
    assert is_lock_held(path)

    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while is_lock_held(path) and time.monotonic() < deadline:
        time.sleep(0.005)

    assert not is_lock_held(path)


def test_a_private_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.json"

    write_private_file(path, b"one")
    write_private_file(path, b"two")

    assert read_private_file(path, 10) == b"two"
    assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["s.json"]
    with pytest.raises(RingError, match="longer than 2"):
        read_private_file(path, 2)


def test_a_directory_that_cannot_be_written_is_a_ring_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(RingError, match="cannot write"):
        write_private_file(tmp_path / "gone" / "s.json", b"x")
    with pytest.raises(RingError, match="cannot make the run directory"):
        make_run_dir(tmp_path / "file" / "run")
    with pytest.raises(RingError, match="run directory"):
        make_run_dir(tmp_path / "file")


class Fleeting(type(Path())):  # type: ignore[misc]  # of the system's own kind of path
    """A directory that something tidies away as soon as it is made."""

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        super().mkdir(mode, parents, exist_ok)
        self.rmdir()


def test_a_directory_that_is_removed_while_it_is_made_is_a_ring_error(tmp_path: Path) -> None:
    with pytest.raises(RingError, match="cannot make the run directory"):
        make_run_dir(Fleeting(tmp_path / "run"))


@on_linux
def test_the_run_directory_is_made_for_the_user_alone(tmp_path: Path) -> None:
    make_run_dir(tmp_path / "a" / "run")

    assert stat.S_IMODE((tmp_path / "a" / "run").stat().st_mode) == 0o700


def test_the_default_run_directory_needs_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    before = default_run_dir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    assert default_run_dir() == before


def test_the_barrier_can_be_called() -> None:
    fence = full_barrier()

    assert fence() is None


@on_linux
def test_a_segment_that_is_cut_while_it_is_opened_is_refused_by_name(tmp_path: Path) -> None:
    """The moment is met by trying often: between a look at the size and the mapping."""
    store = SegmentStore(tmp_path)
    store.create(NAME, 8192).close()
    is_over = threading.Event()

    def cut_and_mend() -> None:
        while not is_over.is_set():
            os.truncate(tmp_path / NAME, 0)
            os.truncate(tmp_path / NAME, 8192)

    hostile = threading.Thread(target=cut_and_mend)
    hostile.start()
    try:
        for _ in range(3000):
            with contextlib.suppress(RingError):
                store.attach(NAME, 8192).close()
    finally:
        is_over.set()
        hostile.join()
