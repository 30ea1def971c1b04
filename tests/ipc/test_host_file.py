"""The runtime file of a host: what is believed of it, and what is not."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.config import Config
from sdv2_host.errors import RingError
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.ipc.host_file import (
    HOST_NAME,
    HostFile,
    host_file_path,
    host_names,
    input_stream,
    is_written_by,
    output_stream,
    pack_host_file,
    parse_host_file,
    sight_host,
)
from sdv2_host.ipc.run_dir import write_private_file

OURS = HostFile(os.getpid(), "a", "127.0.0.1", 9400, "t-_0", "0.1.0", 5)


def write(directory: Path, content: HostFile) -> None:
    write_private_file(host_file_path(directory, content.name), pack_host_file(content))


def test_a_file_is_read_back_and_later_keys_are_passed_over() -> None:
    raw = json.dumps({**asdict(OURS), "of a later version": [1]}).encode()

    assert parse_host_file(pack_host_file(OURS)) == parse_host_file(raw) == OURS


@pytest.mark.parametrize(
    "fields",
    [
        *({"pid": value} for value in (0, -1, 2**32, "1", True, 1.0, None)),
        *({"port": value} for value in (-1, 65536, "9400", False)),
        *({"name": value} for value in ("", "A", "../a", "x" * 45, 5)),
        *({"listen": value} for value in ("a b", "a/b", "x" * 256, None)),
        *({"token": value} for value in ("a b", "ä", "x" * 257)),
        *({"version": value} for value in ("", "1\n", "x" * 65)),
        *({"started_ns": value} for value in (2**63, "now", True)),
    ],
)
def test_a_value_that_no_host_writes_makes_it_none_of_ours(fields: dict[str, object]) -> None:
    assert parse_host_file(json.dumps({**asdict(OURS), **fields}).encode()) is None


@pytest.mark.parametrize("key", list(asdict(OURS)))
def test_every_field_is_needed(key: str) -> None:
    fields = asdict(OURS)
    del fields[key]

    assert parse_host_file(json.dumps(fields).encode()) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_file_or_none(raw: bytes) -> None:
    assert parse_host_file(raw) is None


def test_names_are_those_that_a_start_takes() -> None:
    config = Config(name="stage-1")

    assert HOST_NAME.fullmatch(config.name)
    assert input_stream("stage-1") == config.input_stream
    assert output_stream("stage-1") == config.output_stream


def test_a_host_is_seen_from_its_output_ring_on_and_reached_from_its_file_on(run_dir: Path) -> None:
    assert sight_host("a", (run_dir,)) is None

    with FrameWriter("a-out", run_dir=run_dir):
        starting = sight_host("a", (run_dir,))
        write(run_dir, OURS)
        there = sight_host("a", (run_dir,))

    assert starting is not None
    assert starting.file is None
    assert there is not None
    assert there.file == OURS
    assert sight_host("a", (run_dir,)) is None
    assert host_names((run_dir,)) == ["a"]


def test_the_file_of_a_killed_host_is_not_its_successors(run_dir: Path) -> None:
    killed = replace(OURS, pid=os.getppid())
    write(run_dir, killed)

    with FrameWriter("a-out", run_dir=run_dir):
        successor = sight_host("a", (run_dir,))

        assert successor is not None
        assert successor.file is None
        assert not is_written_by(killed, run_dir)


def test_a_host_in_the_second_directory_is_found(run_dir: Path, tmp_path: Path) -> None:
    sandbox = tmp_path / "sandbox"
    sandbox.mkdir(mode=0o700)
    write(sandbox, OURS)

    with FrameWriter("a-out", run_dir=sandbox):
        found = sight_host("a", (run_dir, sandbox))

    assert found is not None
    assert (found.directory, found.file) == (sandbox, OURS)


def test_a_file_that_others_could_have_written_is_refused_with_what_to_do(run_dir: Path) -> None:
    write(run_dir, OURS)
    host_file_path(run_dir, "a").chmod(0o666)

    with FrameWriter("a-out", run_dir=run_dir), pytest.raises(RingError, match="600; remove it"):
        sight_host("a", (run_dir,))


def test_a_name_that_no_host_can_have_is_refused_with_what_is_allowed(run_dir: Path) -> None:
    with pytest.raises(RingError, match="1 to 44 of a-z"):
        sight_host("../a", (run_dir,))
