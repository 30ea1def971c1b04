"""`sdv2-host models plan`: what a user reads before the gigabytes are loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def plan(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdv2_host", "models", "plan", *args],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_plan_lists_its_parts_and_says_whether_it_fits(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"

    done = plan(
        "wan-1.3b", "--size", "832x480", "--steps", "2", "--memory", "24", "--json", str(target)
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(target.read_text())
    assert report["fits"]
    assert report["total_bytes"] == sum(report["parts_bytes"].values())
    for name in ("DiT weights", "KV cache", "VAE caches", "activations, at most", "total"):
        assert f"  {name}" in done.stdout
    assert "a graphics card of 24 GiB: 24.0 of 24.0 GiB free; fits" in done.stdout
    assert "the text encoder takes 10.6 GiB more on cpu" in done.stdout


def test_what_does_not_fit_is_told_with_what_would() -> None:
    done = plan("wan-1.3b", "--size", "512x512", "--max-steps", "1", "--memory", "6.2")

    assert done.returncode == 0, done.stderr
    assert "does not fit: --vae taehv fits (" in done.stdout


@pytest.mark.parametrize("name", ["tiny", "passthrough", "nope"])
def test_only_wan_engines_have_plans_and_only_those_are_named(name: str) -> None:
    done = plan(name)

    assert done.returncode == 2
    assert done.stderr == f"sdv2-host: NAME {name}: expected wan-1.3b or wan-14b\n"
