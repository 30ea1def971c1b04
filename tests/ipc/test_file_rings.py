"""Rings in files of the home folder, for programs in a sandbox that see no shared memory."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter, RingStatus, list_streams
from sdv2_host.ipc.ring_descriptor import parse_descriptor
from sdv2_host.ipc.run_dir import sandbox_run_dir
from sdv2_host.types import FrameMeta
from tests.hosts import SHM, RunningHost, sdv2_host, unique_name

PIXELS = np.arange(16 * 24 * 4, dtype=np.uint8).reshape(16, 24, 4)
META = FrameMeta(24, 16)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def stream() -> str:
    return f"{unique_name()}-out"


def test_the_segment_is_a_private_file_beside_its_descriptor(home: Path, stream: str) -> None:
    run_dir = home / ".sdv2-host" / "run"
    with FrameWriter(stream, run_dir=sandbox_run_dir()) as ring:
        ring.publish(PIXELS, META)
        said = json.loads((run_dir / f"{stream}.json").read_text())
        segment = run_dir / said["segment"]

        assert (run_dir.stat().st_mode & 0o777, segment.stat().st_mode & 0o777) == (0o700, 0o600)
        assert said["backing"] == "file"
        assert not (SHM / said["segment"]).exists()
        assert PIXELS.tobytes() in segment.read_bytes()
    assert list(run_dir.iterdir()) == []


def test_a_reader_looks_in_both_places_and_follows_the_writer_that_lives(stream: str) -> None:
    with FrameReader(stream) as reader:
        for run_dir in (sandbox_run_dir(), None, sandbox_run_dir()):
            with FrameWriter(stream, run_dir=run_dir) as ring:
                reader.close()  # which makes it look at once
                ring.publish(PIXELS, META)
                frame = reader.read_newest()

                assert frame is not None
                assert (frame.pixels == PIXELS).all()
                assert reader.status == RingStatus.LIVE
                assert stream in list_streams()


def test_a_ring_in_files_grows(home: Path, stream: str) -> None:
    large = np.zeros((512, 512, 4), np.uint8)
    with FrameWriter(stream, run_dir=sandbox_run_dir()) as ring, FrameReader(stream) as reader:
        ring.publish(PIXELS, META)
        assert reader.read_newest() is not None
        ring.publish(large, FrameMeta(512, 512))
        frame = reader.read_newest()

        assert frame is not None
        assert frame.pixels.shape == large.shape
        assert len(list(sandbox_run_dir().glob("lfr.*"))) == 1


def _write_and_die(stream: str) -> None:
    ring = FrameWriter(stream, run_dir=sandbox_run_dir())
    ring.publish(PIXELS, META)
    os._exit(9)


def test_what_a_killed_writer_left_is_cleared_by_the_next(stream: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(stream,))
    process.start()
    process.join()
    left = set(sandbox_run_dir().glob("lfr.*"))

    with FrameWriter(stream, run_dir=sandbox_run_dir()):
        assert len(left) == 1
        assert not left & set(sandbox_run_dir().glob("lfr.*"))


def test_a_descriptor_without_a_backing_means_memory() -> None:
    said = {"abi": [1, 0], "stream": "x", "segment": "lfr." + "0" * 20, "generation": 1}
    said |= {"uuid": "0" * 32, "pid": 1, "created_unix_ns": 1}

    assert parse_descriptor(json.dumps(said).encode(), "x").backing == "memory"


def test_a_host_with_file_rings_is_found_and_leaves_nothing(home: Path, tmp_path: Path) -> None:
    name = unique_name()
    options = ("--engine", "passthrough", "--port", "0", "--data-dir", str(tmp_path / "data"))
    with RunningHost("run", "--name", name, "--file-rings", *options) as host:
        host.wait_for("control page")
        assert "waiting" in sdv2_host("status", "--name", name).stdout
        second = sdv2_host("run", "--name", name, *options)
    run_dir = home / ".sdv2-host" / "run"

    assert (second.returncode, "is running already" in second.stderr) == (6, True)
    assert list(run_dir.iterdir()) == []
