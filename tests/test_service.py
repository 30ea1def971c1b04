"""A host under a service manager: what it tells it, what its unit says, and what it makes of its
own crashes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdv2_host.commands.service import make_service, quoted, unit, unit_name
from sdv2_host.commands.service_link import service_link
from sdv2_host.errors import ConfigError
from sdv2_host.host.start_book import STARTS, TOO_MANY, WITHIN_S, Starts, noted_start
from tests.hosts import sdv2_host, unique_name

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="systemd is of Linux")
PID = 7


class Manager:
    """The end that hears."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(60)
        self.heard: list[str] = []

    def until(self, text: str) -> None:
        while not any(text in line for line in self.heard):
            self.heard.append(self._socket.recv(4096).decode())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@{unique_name()}"
    manager = Manager(address)
    yield manager
    manager.close()


@linux_only
def test_a_manager_is_told_ready_once_open_then_status_and_signs_of_life(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000"}
    statuses = iter(["starting", "starting", "live:\nwell"])

    async def run() -> None:
        link = service_link(environ, PID)
        assert link is not None
        opened = asyncio.Event()
        telling = asyncio.create_task(link.follow(opened, lambda: next(statuses, "live:\nwell")))
        await asyncio.sleep(0.05)
        opened.set()
        await asyncio.to_thread(manager.until, "live")
        manager.heard.append("-")
        await asyncio.to_thread(manager.until, "WATCHDOG=1")
        stopped = asyncio.Event()
        stopped.set()
        await link.tell_stopping(stopped)
        await asyncio.to_thread(manager.until, "STOPPING=1")
        telling.cancel()
        link.close()

    asyncio.run(run())
    assert manager.heard[:3] == ["READY=1", "STATUS=starting", "WATCHDOG=1"]
    assert [one for one in manager.heard if "STATUS" in one] == [
        "STATUS=starting",
        "STATUS=live: well",
    ]


@linux_only
def test_a_loop_that_is_stuck_gives_no_sign_of_life(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000"}

    async def run() -> int:
        link = service_link(environ, PID)
        assert link is not None
        opened = asyncio.Event()
        opened.set()
        telling = asyncio.create_task(link.follow(opened, lambda: "live"))
        await asyncio.to_thread(manager.until, "WATCHDOG=1")
        manager._socket.setblocking(False)
        while _drain(manager):
            pass
        time.sleep(0.3)  # ten signs are due, on the loop's own thread
        came = _drain(manager)
        telling.cancel()
        link.close()
        return came

    assert asyncio.run(run()) == 0
    manager.close()


def _drain(manager: Manager) -> int:
    try:
        manager._socket.recv(4096)
    except BlockingIOError:
        return 0
    return 1


@linux_only
def test_a_watchdog_of_another_process_is_not_ours(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    environ = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(PID + 1),
    }
    link = service_link(environ, PID)

    assert link is not None
    assert link._watchdog_s is None
    link.close()
    manager.close()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:9"}])
def test_without_a_manager_that_listens_nobody_is_told(environ: dict[str, str]) -> None:
    assert service_link(environ, PID) is None


@linux_only
def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    link = service_link({"NOTIFY_SOCKET": str(tmp_path / "none")}, PID)
    assert link is not None
    stopped = asyncio.Event()
    stopped.set()

    asyncio.run(link.tell_stopping(stopped))

    link.close()


@linux_only
def test_a_host_that_crashed_too_often_begins_with_the_safe_engine_and_tells_its_manager(
    tmp_path: Path,
) -> None:
    manager, name = Manager(str(tmp_path / "notify")), unique_name()
    book = tmp_path / "data" / "state" / f"{name}.starts.json"
    book.parent.mkdir(parents=True)
    book.write_bytes(STARTS.dump(Starts(begun_s=[time.time() - ago for ago in (9, 6, 3)])))
    command = ["run", "--name", name, "--port", "0", "--data-dir", str(tmp_path / "data")]
    environ = {**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "5000000"}
    host = subprocess.Popen(
        [sys.executable, "-m", "sdv2_host", *command], env=environ, stderr=subprocess.DEVNULL
    )
    try:
        for text in ("READY=1", "WATCHDOG=1", "STATUS=safe: this host has crashed or was killed 3"):
            manager.until(text)
        assert len(STARTS.read(book).value.begun_s) == 4
    finally:
        host.send_signal(signal.SIGTERM)
        code = host.wait(60)
    manager.until("STOPPING=1")
    manager.close()
    assert code == 143
    assert not book.exists()


def crash(book: Path, at_s: float) -> str:
    """What a host that begins at this time and crashes is told."""
    why = ""
    try:
        with noted_start(book, lambda: at_s) as why:
            raise ZeroDivisionError
    except ZeroDivisionError:
        return why


def test_three_crashes_within_five_minutes_are_too_many(tmp_path: Path) -> None:
    book = tmp_path / "state" / "x.starts.json"

    told = [crash(book, 1000.0 + 10 * index) for index in range(TOO_MANY + 1)]

    assert told[:TOO_MANY] == [""] * TOO_MANY
    assert "crashed or was killed 3 times within 5 minutes" in told[-1]
    assert "/sdv2/engine/retry" in told[-1]


def test_crashes_are_forgotten_after_a_while_and_by_an_end_in_order(tmp_path: Path) -> None:
    book = tmp_path / "x.starts.json"
    old = [1000.0, 1001.0, 1002.0]
    book.write_bytes(STARTS.dump(Starts(begun_s=old)))

    with noted_start(book, lambda: 1002.0 + WITHIN_S) as later:
        assert STARTS.read(book).value.begun_s == [1002.0, 1002.0 + WITHIN_S]
    with noted_start(book, lambda: 1003.0) as after_order:
        pass

    assert (later, after_order) == ("", "")
    assert not book.exists()


def test_what_a_person_has_to_set_right_and_a_clock_set_back_are_no_crashes(tmp_path: Path) -> None:
    book = tmp_path / "x.starts.json"
    for _ in range(TOO_MANY):
        with pytest.raises(ConfigError), noted_start(book):
            raise ConfigError("wrong")
    assert not book.exists()
    book.write_bytes(STARTS.dump(Starts(begun_s=[5000.0] * TOO_MANY)))

    with noted_start(book, lambda: 4000.0) as why:
        assert why == ""


@pytest.mark.parametrize("content", [b"", b"{", b'{"begun_s": ["x"]}', b"\xff" * 9])
def test_a_book_that_is_damaged_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    book = tmp_path / "x.starts.json"
    book.write_bytes(content)

    with noted_start(book, lambda: 1000.0) as why:
        assert (why, STARTS.read(book).value.begun_s) == ("", [1000.0])


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("--name", "--name"),
        ("", '""'),
        ("neon rain", '"neon rain"'),
        ('a "b"', '"a \\"b\\""'),
        ("100% $HOME", '"100%% $$HOME"'),
        ("c:\\d", "c:\\\\d"),
        ("it's", '"it\'s"'),
    ],
)
def test_a_word_of_the_unit_is_one_word_to_systemd(word: str, written: str) -> None:
    assert quoted(word) == written


def test_a_word_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="not printable"):
        unit("x", ["--prompt", "a\nExecStartPre=/bin/evil"])


@linux_only
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / unit_name("stage1")
    path.write_text(unit("stage1", ["--name", "stage1", "--prompt", '100% "neon" $x']))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@linux_only
def test_the_command_prints_the_unit_or_writes_it_to_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    options = ["--name", "stage1", "--engine", "passthrough"]

    printed = sdv2_host("service", *options)
    written = sdv2_host("service", "--write", *options)

    path = tmp_path / "systemd" / "user" / "sdv2-host-stage1.service"
    assert printed.stdout == path.read_text() == unit("stage1", options)
    assert f"wrote {path}" in written.stdout
    assert "systemctl --user enable --now sdv2-host-stage1.service" in written.stdout


def test_wrong_options_make_no_unit() -> None:
    done = sdv2_host("service", "--port", "99999999")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--port 99999999" in done.stderr


def test_elsewhere_than_on_linux_the_command_says_where_to_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(ConfigError, match=r"docs/service\.md"):
        make_service("x", [], write=False)
