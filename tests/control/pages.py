"""A host, a browser with pages of it, and an OSC subscriber: for the tests of the control page."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdv2_host.ipc.osc import decode
from sdv2_host.ipc.osc_encode import encode_message
from tests.hosts import RunningHost, unique_name

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MARKS = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt install chromium"),
    pytest.mark.timeout(180),
]


class Room:
    """A host, and a browser with pages of it."""

    def __init__(self, browser: Any, port: int) -> None:
        self.browser = browser
        self.port = port
        self.faults: list[str] = []

    def page(self, fragment: str = "", size: tuple[int, int] = (1400, 900)) -> Any:
        """A page that is connected; its console and its requests are watched."""
        opened = self.browser.new_page(viewport={"width": size[0], "height": size[1]})
        opened.on(
            "console", lambda m: m.type in ("error", "warning") and self.faults.append(m.text)
        )
        opened.on("pageerror", lambda error: self.faults.append(str(error)))
        opened.on("request", self._watch)
        opened.goto(f"http://127.0.0.1:{self.port}/{fragment}")
        expect(opened.locator("#host-name")).not_to_have_text("sdv2-host")
        return opened

    def _watch(self, request: Any) -> None:
        if f"//127.0.0.1:{self.port}/" not in request.url and not request.url.startswith("blob:"):
            self.faults.append(f"request to {request.url}")


@contextmanager
def a_browser() -> Iterator[Any]:
    """Chromium without a window."""
    os.environ.setdefault("NODE_OPTIONS", "")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def a_room(folder: Path) -> Iterator[Room]:
    """A host that passes frames through; nothing was wrong with any page of it."""
    args = ("--engine", "passthrough", "--port", "0", "--data-dir", str(folder))
    with RunningHost("run", "--name", unique_name(), *args) as running, a_browser() as browser:
        made = Room(browser, page_address(running)[1])
        yield made
        assert made.faults == []


def page_address(running: RunningHost) -> tuple[str, int]:
    """(address, port) of the page that the host prints at its start."""
    found = re.search(r"(http://\S+:(\d+)/\S*)", running.wait_for("control page"))
    assert found is not None, running.lines
    return found[1], int(found[2])


class Ear:
    """An OSC subscriber of the standard library alone."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(20)
        self.to = ("127.0.0.1", port)

    def send(self, address: str, *values: str | float) -> None:
        self.socket.sendto(encode_message(address, *values), self.to)

    def until(self, address: str, *values: object) -> None:
        """Returns when it heard this."""
        while True:
            message = decode(self.socket.recv(65536)).messages[0]
            if message.address == address and (not values or message.args == values):
                return
