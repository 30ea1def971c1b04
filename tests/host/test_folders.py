"""Where a host finds what came with it."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from sdv2_host.host.folders import shipped

ROOT = Path(__file__).parents[2]
ASK = "from sdv2_host.host.folders import shipped; print(shipped('presets'))"


def test_a_checkout_has_its_presets_beside_the_package() -> None:
    assert shipped("presets") == ROOT / "presets"


@pytest.mark.parametrize("place", ["site/share", "base/share"])
def test_presets_are_found_where_pip_puts_them(place: str, tmp_path: Path) -> None:
    """site: with --target, base: with --user."""
    ignore = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(ROOT / "sdv2_host", tmp_path / "site/sdv2_host", ignore=ignore)
    presets = tmp_path / place / "sdv2-host/presets"
    presets.mkdir(parents=True)
    path = os.pathsep.join((str(tmp_path / "site"), *site.getsitepackages()))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONUSERBASE": str(tmp_path / "base")}

    done = subprocess.run(
        [sys.executable, "-c", ASK], env=env, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert Path(done.stdout.strip()) == presets
