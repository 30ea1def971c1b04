"""Nothing that comes in by the network reaches a file or a program that it could have chosen.

A real host is started as a user starts it, with tests/witness on its path, so that Python itself
tells what each of its processes opens, changes or starts. Then every address, action, parameter
and route is played with names that mean other places.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np
import pytest

import sdv2_host
from sdv2_host.actions import ACTIONS, can_name_file
from sdv2_host.clock import now_ns
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.ipc.osc_encode import encode_message
from sdv2_host.ipc.run_dir import default_run_dir, sandbox_run_dir
from sdv2_host.param_table import PARAMS
from sdv2_host.types import FrameMeta
from tests.hosts import RunningHost, unique_name

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at files in /dev/shm")
WITNESS = Path(__file__).with_name("witness")
MARK = "evil7f3a"
"""In each hostile name: a path that has it was made from one."""
NAMES = (
    f"../../{MARK}", f"..\\..\\{MARK}", f"/tmp/{MARK}", f"C:\\{MARK}", f"C:{MARK}", f"./{MARK}",
    f"\\\\host\\share\\{MARK}", f"\\\\?\\C:\\{MARK}", f"//host/{MARK}", f"/{MARK}\0.json",
    f"a/../../{MARK}", f"~/{MARK}", f"~root/{MARK}", f"$HOME/{MARK}", f"%APPDATA%\\{MARK}",
    f"file:///{MARK}", f"{MARK}:stream", f"nul.{MARK}", f"COM1.{MARK}", f"LPT\u00b9.{MARK}",
    f"{MARK}\nx", f".{MARK}", f"..{MARK}", MARK * 100, f"`{MARK}`", f"$({MARK})", f"| {MARK}",
    f"-o{MARK}", f"--file={MARK}/x", f"{MARK}\u202e", f"\uff0e\uff0e\uff0f{MARK}", f"%2e%2e/{MARK}",
)  # fmt: skip
DEVICES = ("CON", "nul", "Aux.json", "com1", "LPT9.x", "COM\u00b2", "prn ")


@dataclass(frozen=True)
class Act:
    """What a process did."""

    event: str
    paths: list[str]
    changes: bool
    pid: int


def acts(log: Path) -> list[Act]:
    return [Act(**json.loads(line)) for line in log.read_text().splitlines()]


def reached(seen: list[Act], own: tuple[Path, ...], to_read: tuple[Path, ...]) -> list[str]:
    """What is outside: changes not in `own`, reads in neither, and whatever has MARK in it."""
    found = []
    for act in seen:
        for path in act.paths:
            is_path = act.event != "subprocess.Popen" and path.startswith(("/", "."))
            allowed = own if act.changes else (*own, *to_read)
            place = Path(os.path.normpath(path))
            is_inside = any(place.is_relative_to(root) for root in allowed)
            if MARK in path or (is_path and not is_inside):
                found.append(f"{act.event} {path!r}")
    return found


class Siege:
    """One client of a running host that says nothing good."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        self.socket_url = f"ws://{parts.hostname}:{parts.port}/socket"
        self._http = HTTPConnection(*self._address, timeout=30)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def post(self, path: str, body: dict[str, Any], method: str = "POST") -> tuple[int, str]:
        self._http.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        return answer.status, answer.read().decode()

    def call(self, action: str, *args: object) -> tuple[int, str]:
        return self.post("/api/call", {"action": action, "args": list(args)})

    def osc(self, address: str, *args: str) -> None:
        self._udp.sendto(encode_message(address, *args), self._address)

    def raw_get(self, target: str) -> bytes:
        """As it stands: no client library cleans the path."""
        with socket.create_connection(self._address, timeout=30) as wire:
            host = f"{self._address[0]}:{self._address[1]}"
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            wire.sendall(head.encode("utf-8", "surrogateescape"))
            answer = b""
            while part := wire.recv(65536):
                answer += part
        return answer

    def close(self) -> None:
        self._http.close()
        self._udp.close()


class Witnessed(NamedTuple):
    """A host whose every act is in a file, and somebody who can reach it."""

    siege: Siege
    name: str
    folder: Path
    """Holds `acts`, the folder `data`, and a file that is nobody's business."""

    def acts(self) -> list[Act]:
        return acts(self.folder / "acts")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnessed]:
    folder = tmp_path_factory.mktemp("reach")
    presets = folder / "data" / "presets"
    presets.mkdir(parents=True)
    (folder / "outside.json").write_text("mine")
    (presets / "linked.json").symlink_to(folder / "outside.json")
    name = unique_name()
    options = ("--engine", "passthrough", "--port", "0", "--data-dir", str(folder / "data"))
    before = os.umask(0)  # the host must not need the caution of who starts it
    with pytest.MonkeyPatch.context() as changes:
        package = Path(sdv2_host.__file__).parents[1]
        changes.setenv("PYTHONPATH", os.pathsep.join([str(WITNESS), str(package)]))
        changes.setenv("WITNESS", str(folder / "acts"))
        changes.setenv("HOME", str(folder / "home"))
        running = RunningHost("run", "--name", name, *options)
    os.umask(before)
    with running:
        url = running.wait_for("control page").split("control page")[1].split()[-1]
        # A host whose words nobody reads would stand still when the pipe is full.
        assert running.process.stderr is not None
        threading.Thread(target=running.process.stderr.read, daemon=True).start()
        siege = Siege(url)
        while b'"state":"waiting"' not in siege.raw_get("/api/status"):
            time.sleep(0.1)
        yield Witnessed(siege, name, folder)
        siege.close()


def test_no_name_from_the_network_leads_to_a_file_of_its_own(host: Witnessed) -> None:
    siege, folder = host.siege, host.folder
    before = len(host.acts())

    _play_everything(siege)
    asyncio.run(_play_socket(siege.socket_url))
    saved = siege.call("preset_save", "fine")
    siege.call("preset_save", "linked")

    assert saved[0] == 200, saved
    seen = host.acts()[before:]
    data = folder / "data"
    assert any(str(data / "presets" / "fine.json") in act.paths for act in seen)  # it does see
    own = (data, default_run_dir(), Path("/dev/shm"))
    to_read = (
        Path(sys.prefix), Path(sys.base_prefix), Path(sdv2_host.__file__).parents[1],
        Path("/proc"), Path("/sys"), sandbox_run_dir(), folder / "home",
    )  # fmt: skip
    assert reached(seen, own, to_read) == []
    assert (folder / "outside.json").read_text() == "mine"
    assert sorted(path.name for path in folder.iterdir()) == ["acts", "data", "outside.json"]


def test_what_a_host_leaves_can_be_read_by_its_user_alone(host: Witnessed) -> None:
    with FrameWriter(f"{host.name}-in") as camera:
        _record_and_save(host, camera)

        left = [*_left(host), *_segments(host.name)]

        kinds = {path.suffix for path in left}
        assert {".json", ".lock", ".host", ".mp4", ".png"} <= kinds, left
        assert any(path.parent == Path("/dev/shm") for path in left)
        others = {
            str(path): oct(path.lstat().st_mode) for path in left if path.lstat().st_mode & 0o077
        }
        assert others == {}
        assert {path.lstat().st_uid for path in left} == {os.geteuid()}


def _record_and_save(host: Witnessed, camera: FrameWriter) -> None:
    """A recording, a snapshot, a preset, a learnt address and a state are on the disk."""
    siege, takes = host.siege, host.folder / "data" / "takes"
    siege.call("preset_save", "kept")
    siege.post("/api/learn", {"target": "steps"})
    siege.osc("/somebody/fader", "1")
    siege.post("/api/set", {"values": {"record": True}})
    is_asked = False
    deadline_s = time.monotonic() + 60
    while not any(takes.glob("*.mp4")):
        assert time.monotonic() < deadline_s, list(takes.glob("*"))
        camera.publish(np.zeros((64, 64, 4), np.uint8), FrameMeta(64, 64, capture_ts_ns=now_ns()))
        if not is_asked:
            is_asked = siege.call("snapshot")[0] == 200
        if any(takes.glob("*.png")) and any(takes.glob("*.mp4.part")):
            siege.post("/api/set", {"values": {"record": False}})
        time.sleep(0.05)


def _left(host: Witnessed) -> list[Path]:
    """Files and folders that the host made; the test made `data` and `data/presets`."""
    data = host.folder / "data"
    made = [path for path in data.rglob("*") if not path.is_symlink() and path != data / "presets"]
    return [*made, default_run_dir(), *default_run_dir().glob(f"{host.name}*")]


def _segments(name: str) -> list[Path]:
    named = (json.loads(path.read_text()) for path in default_run_dir().glob(f"{name}*.json"))
    return [Path("/dev/shm") / fields["segment"] for fields in named]


def _play_everything(siege: Siege) -> None:
    for name in (*NAMES, *DEVICES):
        for action in ACTIONS.values():
            if action.args:
                status, answer = siege.call(action.name, name)
                assert status < 500, answer
            siege.osc(action.address, name)
        assert siege.post("/api/set", {"values": dict.fromkeys(PARAMS, name)})[0] < 500
        for param in PARAMS.values():
            siege.osc(param.address, name)
            if param.kind is str:
                assert siege.post("/api/set", {"values": {param.name: name}})[0] < 500
        siege.osc(f"/sdv2/{name}", name)
        siege.osc(f"/{name}")
        for body in ({"target": name}, {"address": name}):
            assert siege.post("/api/learn", body)[0] < 500
            assert siege.post("/api/learn", body, "DELETE")[0] < 500
        for target in (
            urllib.parse.quote(name, safe="/\\:~."),
            name.replace("\n", "").replace(" ", ""),
        ):
            assert b" 500 " not in siege.raw_get(f"/{target}")[:20]
            assert b" 500 " not in siege.raw_get(f"/sdv2/{target}?VALUE")[:20]


async def _play_socket(url: str) -> None:
    """The same names by WebSocket, and OSCQuery's own commands; each is answered in words."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as page:
        await page.send_json({"type": "hello", "protocol": 1, "subscribe": []})
        for number, name in enumerate((*NAMES, *DEVICES)):
            await page.send_json(
                {"type": "call", "id": number, "action": "preset_save", "args": [name]}
            )
            await page.send_json(
                {"type": "call", "id": number, "action": "cues_load", "args": [name]}
            )
            await page.send_json({"type": "set", "id": number, "values": {"lora": name}})
            answers = []
            while len(answers) < 3:
                answer = await page.receive_json(timeout=30)
                answers += [answer["type"]] if answer.get("id") == number else []
            assert answers == ["error", "error", "ack"]  # an ack says itself what it refused
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as query:
        for name in NAMES:
            await query.send_json({"COMMAND": "LISTEN", "DATA": f"/{name}"})
            await query.send_json({"COMMAND": "PATH_ADDED", "DATA": name})
        await query.ping()


@pytest.mark.parametrize("name", [*NAMES, *DEVICES])
def test_a_name_that_means_another_place_names_no_file(name: str) -> None:
    assert not can_name_file(name)


@pytest.mark.parametrize("name", ["neon", "Café 2", "a.b", "console", "com10", "CON-air", "nul_"])
def test_a_name_that_means_itself_names_a_file(name: str) -> None:
    assert can_name_file(name)


@pytest.mark.parametrize(
    "act",
    [
        Act("open", ["/etc/passwd"], False, 1),
        Act("open", ["/data/presets/../../x"], True, 1),
        Act("os.mkdir", ["/lib/python"], True, 1),
        Act("subprocess.Popen", ["sh", f"-c {MARK}"], False, 1),
        Act("open", [f"/data/{MARK}"], False, 1),
    ],
)
def test_what_is_outside_is_noticed(act: Act) -> None:
    assert reached([act], (Path("/data"),), (Path("/lib"),)) != []
