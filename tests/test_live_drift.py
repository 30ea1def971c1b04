"""The drift watchdog in a live host: its measure is in the status, and OSC turns it off and on."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pythonosc.udp_client import SimpleUDPClient

from tests.hosts import RunningHost, unique_name


def test_drift_is_measured_live_until_it_is_turned_off(tmp_path: Path) -> None:
    args = ("--port", "0", "--no-browser", "--name", unique_name(), "--data-dir", str(tmp_path))
    with RunningHost("demo", *args, "--size", "64x64", "--threads", "1") as host:
        found = re.search(r"127\.0\.0\.1:(\d+)", host.wait_for("OSC on"))
        assert found is not None
        port = int(found[1])
        osc = SimpleUDPClient("127.0.0.1", port)

        def status() -> dict[str, Any]:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/status", timeout=10
            ) as answer:
                body: dict[str, Any] = json.load(answer)
            return body

        until(lambda: "drift" in status()["notes"])
        osc.send_message("/sdv2/drift", "off")
        until(lambda: "noise_scale" in status()["notes"] and "drift" not in status()["notes"])
        osc.send_message("/sdv2/drift", "act")
        until(lambda: "drift" in status()["notes"])

        assert status()["problem"] == ""


def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds."""
    deadline_s = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline_s, "90 s went by"
        time.sleep(0.05)
