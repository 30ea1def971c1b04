"""A daemon started, stopped and lost by an application that is not Python."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdv2_host.client.host_command import CommandError, find_command
from sdv2_host.client.host_process import HostProcess, Launch
from tests.client.fake_host import FakeHost
from tests.client.waiting import until
from tests.hosts import is_running

TOY = """
import os, signal, sys, time
print("begins", sys.flags.utf8_mode, os.environ.get("PYTHONPATH"), flush=True)
if "deaf" in sys.argv:
    time.sleep(600)
if "fails" in sys.argv:
    sys.exit("ring-error: shared memory is full")
for line in sys.stdin:
    print("hears", line.strip(), "\\u00e9", flush=True)
    if line.strip() == "stop":
        sys.exit(0)
print("goes on alone", flush=True)
time.sleep(600)
"""


def toy(*args: str, host: str = "a") -> Launch:
    """A program that obeys as a daemon does."""
    return Launch(host, (sys.executable, "-c", TOY), args)


@pytest.fixture
def process(run_dir: Path) -> Iterator[HostProcess]:
    process = HostProcess(run_dir=run_dir, grace_s=0.3)
    yield process
    pid = process.status.pid
    process.close(stops=True)
    if pid and is_running(pid):
        os.kill(pid, signal.SIGKILL)


def started(process: HostProcess) -> int:
    until(lambda: any("begins" in line for line in process.log()), "begins", process.log)
    return process.status.pid


def test_an_error_of_ours_is_told_and_the_next_start_is_obeyed(process: HostProcess) -> None:
    process.start(toy("\0"))  # no system takes that as an argument
    until(lambda: "please report it: ValueError" in process.status.sentence)

    process.start(toy())

    started(process)


def test_it_starts_tells_its_lines_and_stops_in_good_order(process: HostProcess) -> None:
    process.start(toy())
    pid = started(process)
    is_started = process.status.is_running
    process.stop()
    until(lambda: not process.status.is_running)

    assert is_started
    assert not is_running(pid)
    assert (process.status.sentence, process.status.exit_code) == ("Stopped.", 0)
    assert process.log() == ["begins 1 None", "hears stop é"]


def test_one_that_does_not_hear_is_killed_after_the_grace_time(process: HostProcess) -> None:
    process.start(toy("deaf"))
    pid = started(process)
    process.stop()
    until(lambda: not process.status.is_running)

    assert not is_running(pid)
    assert "not in good order: killed by SIGKILL" in process.status.sentence


def test_the_last_line_says_why_it_ended(process: HostProcess) -> None:
    process.start(toy("fails"))
    until(lambda: process.status.exit_code is not None)

    assert process.status.sentence == (
        "The host has ended: exit code 1. Its last line: ring-error: shared memory is full"
    )


def test_never_two_at_once(process: HostProcess) -> None:
    process.start(toy())
    pid = started(process)
    for _ in range(5):
        process.start(toy())
    process.stop()
    until(lambda: not process.status.is_running)

    assert not is_running(pid)
    assert process.log() == ["begins 1 None", "hears stop é"]


def test_restart_waits_for_the_end_of_the_one_before(process: HostProcess) -> None:
    process.start(toy())
    first = started(process)
    process.restart(toy("again"))
    until(lambda: process.status.pid not in (0, first))

    assert not is_running(first)
    assert started(process) != first


def test_a_stop_after_a_restart_wins(process: HostProcess) -> None:
    process.start(toy())
    started(process)
    process.restart(toy())
    process.stop()
    until(lambda: not process.status.is_running)

    assert process.status.sentence == "Stopped."


def test_a_host_that_somebody_else_started_is_left_alone(
    process: HostProcess, run_dir: Path
) -> None:
    with FakeHost("a", run_dir):
        process.restart(toy())
        until(lambda: "was not started from here" in process.status.sentence)

        assert not process.status.is_running
        assert f"(process {os.getpid()})" in process.status.sentence


def test_a_program_that_is_none_is_told(process: HostProcess, tmp_path: Path) -> None:
    process.start(Launch("a", (str(tmp_path / "nothing"),), ()))

    until(lambda: "cannot be started" in process.status.sentence)
    assert "nothing: " in process.status.sentence  # and then the system's own words


def test_at_the_end_of_the_application_it_stops_or_goes_on_as_was_wished(run_dir: Path) -> None:
    stopped, alone = HostProcess(run_dir=run_dir), HostProcess(run_dir=run_dir)
    stopped.start(toy())
    alone.start(toy())
    pids = started(stopped), started(alone)

    stopped.close(stops=True)
    alone.close(stops=False)

    until(lambda: _is_reaped(pids[0]))
    assert is_running(pids[1])
    os.kill(pids[1], signal.SIGKILL)


def _is_reaped(pid: int) -> bool:
    return not is_running(pid)


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o755)
    return path


def test_the_program_is_found_from_a_project_an_environment_or_its_own_path(
    tmp_path: Path,
) -> None:
    found = program(tmp_path / ".venv" / "bin" / "sdv2-host")
    bare = program(tmp_path / "bare" / "bin" / "python")

    assert find_command(str(tmp_path)) == (str(found),)
    assert find_command(f'"{tmp_path / ".venv"}" ') == (str(found),)
    assert find_command(str(found)) == (str(found),)
    assert find_command(str(bare.parent.parent)) == (str(bare), "-m", "sdv2_host")
    assert find_command(str(bare)) == (str(bare), "-m", "sdv2_host")


def test_without_a_program_there_it_is_said_where_was_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="run 'python bootstrap"):
        find_command(str(tmp_path))
    with pytest.raises(CommandError, match="There is no /"):
        find_command(str(tmp_path / "nowhere"))
    with pytest.raises(CommandError, match=r"Cannot look for sdv2-host in /xxx.*: File name"):
        find_command("/" + "x" * 5000)

    monkeypatch.setenv("PATH", str(tmp_path))
    for text in ("", "sdv2-host"):
        with pytest.raises(CommandError, match="not on this program's PATH"):
            find_command(text)
    found = program(tmp_path / "sdv2-host")
    assert find_command("") == (str(found),)
