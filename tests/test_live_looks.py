"""Looks in a live host: saved, recalled with their parameters, lost with the engine."""

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


def test_a_look_comes_back_with_its_parameters_and_goes_with_the_engine(tmp_path: Path) -> None:
    args = ("--port", "0", "--no-browser", "--name", unique_name(), "--data-dir", str(tmp_path))
    with RunningHost("demo", *args, "--size", "64x64", "--threads", "1") as host:
        found = re.search(r"127\.0\.0\.1:(\d+)", host.wait_for("OSC on"))
        assert found is not None
        port = int(found[1])
        send: Callable[..., None] = SimpleUDPClient("127.0.0.1", port).send_message

        def get(path: str) -> dict[str, Any]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                body: dict[str, Any] = json.load(answer)
            return body

        def chunk() -> float:
            return float(get("/api/status")["notes"].get("chunk", -1))

        until(lambda: chunk() >= 8)
        send("/sdv2/seed", 7)
        send("/sdv2/look/save", "calm")
        saved_at = chunk()
        until(lambda: chunk() >= saved_at + 40)
        send("/sdv2/seed", 9)
        until(lambda: get("/api/state")["values"]["seed"] == 9)
        send("/sdv2/look/recall", "calm")

        until(lambda: chunk() < saved_at + 30)
        assert get("/api/state")["values"]["seed"] == 7
        assert get("/api/status")["problem"] == ""
        send("/sdv2/output/size", [128, 64])
        until(lambda: "looks calm are gone" in json.dumps(get("/api/notices")))
        assert get("/api/state")["board"]["looks"] == []


def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds."""
    deadline_s = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline_s, "90 s went by"
        time.sleep(0.02)
