"""Who may talk, and how programs find the daemon."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sdv2_host.config import Config
from sdv2_host.control.access import (
    Access,
    is_loopback,
    make_access,
    read_host_file,
    remove_dead_host_files,
    remove_host_file,
    running_hosts,
    write_host_file,
)
from sdv2_host.control.guard import check_content, check_origin, check_token
from sdv2_host.errors import RingError
from sdv2_host.ipc.host_file import HostFile
from sdv2_host.ipc.ring_descriptor import lock_path
from sdv2_host.ipc.run_dir import WriterLock

PORT = 9400
LOCAL = make_access(Config())
LAN = Access("0.0.0.0", "secret", frozenset(("127.0.0.1", "localhost", "studio", "studio.local")))


@pytest.fixture
def alive(run_dir: Path) -> WriterLock:
    """The output ring's lock of host 'a', held by this process."""
    lock = WriterLock(lock_path(run_dir, "a-out"))
    assert lock.acquire()
    return lock


def host_file(name: str = "a", pid: int | None = None) -> HostFile:
    return HostFile(
        pid=pid if pid is not None else os.getpid(),
        name=name,
        listen="127.0.0.1",
        port=PORT,
        token="t",
        version="1",
        started_ns=5,
    )


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_token(listen: str) -> None:
    access = make_access(Config(listen=listen))

    assert is_loopback(listen)
    assert access.token == ""
    assert access.admits("")
    assert check_token({}, access) is None


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "192.168.1.20", "studio.local"])
def test_any_other_address_gets_a_new_token_at_each_start(listen: str) -> None:
    first, second = make_access(Config(listen=listen)), make_access(Config(listen=listen))

    assert not is_loopback(listen)
    assert len(first.token) >= 43
    assert first.token != second.token
    assert first.admits(first.token)
    assert not first.admits(second.token)
    assert not first.admits("")
    assert not first.admits("\udcff")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9400", "localhost:9400", "[::1]:9400", "LOCALHOST:9400"]
)
def test_our_own_addresses_are_answered(host: str) -> None:
    assert check_origin({"Host": host}, PORT, LOCAL, is_page=False) is None
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert check_origin(headers, PORT, LOCAL, is_page=False) is None


@pytest.mark.parametrize(
    "host",
    [
        *("", ":9400", "evil.example", "evil.example:9400", "127.0.0.1.evil.example:9400"),
        *("127.0.0.1", "127.0.0.1:80", "127.0.0.1:9400x", "127.0.0.1:99999999999999999999"),
        *("[::1]", "localhost.:9400", "10.0.0.7:9400", "127.0.0.1:٩٤٠٠"),
    ],
)
def test_on_loopback_any_other_host_is_evil(host: str) -> None:
    refusal = check_origin({"Host": host}, PORT, LOCAL, is_page=True)

    assert refusal is not None
    assert (refusal.status, refusal.counter) == (403, "evil_host")


@pytest.mark.parametrize("name", ["studio", "studio.local", "10.0.0.7", "[fe80::1]", "localhost"])
def test_on_the_network_addresses_and_names_of_the_machine_are_answered(name: str) -> None:
    assert check_origin({"Host": f"{name}:9400"}, PORT, LAN, is_page=False) is None


@pytest.mark.parametrize("name", ["evil.example", "studio.evil.example", "10.0.0.7.evil.example"])
def test_on_the_network_other_names_are_evil(name: str) -> None:
    refusal = check_origin({"Host": f"{name}:9400"}, PORT, LAN, is_page=False)

    assert refusal is not None
    assert refusal.counter == "evil_host"


def test_port_80_needs_no_port_in_the_host_header() -> None:
    assert check_origin({"Host": "localhost"}, 80, LOCAL, is_page=False) is None
    assert check_origin({"Host": "[::1]"}, 80, LOCAL, is_page=False) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "file://"},
        {"Origin": "https://127.0.0.1:9400"},
        {"Origin": "http://localhost:9400"},
        {"Origin": "http://127.0.0.1:9401"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
@pytest.mark.parametrize("is_page", [True, False])
def test_other_sites_are_refused(headers: dict[str, str], is_page: bool) -> None:
    refusal = check_origin({"Host": "127.0.0.1:9400", **headers}, PORT, LOCAL, is_page=is_page)

    assert refusal is not None
    assert (refusal.status, refusal.counter) == (403, "evil_origin")


def test_only_the_page_may_be_visited_by_a_link() -> None:
    headers = {"Host": "127.0.0.1:9400", "Sec-Fetch-Site": "cross-site"}
    headers["Sec-Fetch-Mode"] = "navigate"

    assert check_origin(headers, PORT, LOCAL, is_page=True) is None
    assert check_origin(headers, PORT, LOCAL, is_page=False) is not None


def test_the_token_is_asked_for_and_compared() -> None:
    def counter(value: str | None) -> str | None:
        refusal = check_token({"Authorization": value} if value is not None else {}, LAN)
        return refusal.counter if refusal else None

    assert counter(None) == counter("") == counter("Basic c2VjcmV0") == "no_token"
    assert counter("Bearer") == counter("secret") == "no_token"
    assert counter("Bearer wrong") == counter("Bearer ") == "wrong_token"
    assert counter("Bearer secret") is None
    assert counter("bearer secret ") is None


def test_changes_must_be_json_that_no_form_can_send() -> None:
    assert check_content("POST", "application/json") is None
    assert check_content("GET", "application/octet-stream") is None
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        refusal = check_content("POST", kind)
        assert refusal is not None
        assert refusal.status == 415


def test_a_running_host_is_found_and_gone_after_its_close(run_dir: Path, alive: WriterLock) -> None:
    content = host_file()

    write_host_file(content, run_dir)
    assert read_host_file("a", run_dir) == content
    assert running_hosts(run_dir) == [content]
    remove_host_file("a", run_dir)

    assert read_host_file("a", run_dir) is None
    assert running_hosts(run_dir) == []
    assert list(run_dir.glob("a.*")) == []
    alive.release()


def test_the_file_is_for_this_user_alone(run_dir: Path, alive: WriterLock) -> None:
    write_host_file(host_file(), run_dir)
    path = run_dir / "a.host"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(RingError, match="600"):
        read_host_file("a", run_dir)
    assert running_hosts(run_dir) == []
    alive.release()


def test_what_a_killed_host_left_is_not_believed(run_dir: Path, alive: WriterLock) -> None:
    write_host_file(host_file(pid=dead_pid()), run_dir)
    assert read_host_file("a", run_dir) is None

    write_host_file(host_file(), run_dir)
    assert read_host_file("a", run_dir) is not None
    alive.release()
    assert read_host_file("a", run_dir) is None


def test_files_of_killed_hosts_are_gone_when_another_starts(
    run_dir: Path, alive: WriterLock
) -> None:
    for name in ("a", "dead", "long-dead"):
        write_host_file(host_file(name), run_dir)

    remove_dead_host_files(run_dir)

    assert alive.is_in_place
    assert sorted(path.name for path in run_dir.iterdir()) == ["a-out.lock", "a.host"]


def test_the_file_of_another_process_is_left_alone(run_dir: Path) -> None:
    write_host_file(host_file(pid=os.getppid()), run_dir)

    remove_host_file("a", run_dir)

    assert (run_dir / "a.host").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"pid": "1"}', b"\xff", b"[" * 3000])
def test_a_file_that_is_not_ours_is_no_host(
    run_dir: Path, alive: WriterLock, content: bytes
) -> None:
    path = run_dir / "a.host"
    path.write_bytes(content)
    path.chmod(0o600)

    assert read_host_file("a", run_dir) is None
    assert running_hosts(run_dir) == []
    alive.release()


@pytest.mark.parametrize("name", ["../a", "a/b", "", "A", "x" * 60])
def test_a_name_that_no_host_can_have_is_none(run_dir: Path, name: str) -> None:
    assert read_host_file(name, run_dir) is None


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9400/"),
        ("0.0.0.0", "http://127.0.0.1:9400/"),
        ("::", "http://[::1]:9400/"),
        ("fd00::5", "http://[fd00::5]:9400/"),
        ("Studio.local", "http://studio.local:9400/"),
    ],
)
def test_the_url_is_one_that_this_machine_can_open(listen: str, url: str) -> None:
    found = replace(host_file(), listen=listen)

    assert found.url == url
    assert found.page_url == f"{url}#token=t"
