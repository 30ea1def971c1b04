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
ASK = "import sys; from sdv2_host.host.folders import shipped; print(shipped(sys.argv[1]))"


@pytest.mark.parametrize("name", ["presets", "plugins/touchdesigner"])
def test_a_checkout_has_its_files_beside_the_package(name: str) -> None:
    assert shipped(name) == ROOT / name


@pytest.mark.parametrize("name", ["presets", "plugins/touchdesigner"])
@pytest.mark.parametrize("place", ["site/share", "base/share"])
def test_files_are_found_where_pip_puts_them(place: str, name: str, tmp_path: Path) -> None:
    """site: with --target, base: with --user."""
    ignore = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(ROOT / "sdv2_host", tmp_path / "site/sdv2_host", ignore=ignore)
    folder = tmp_path / place / "sdv2-host" / name
    folder.mkdir(parents=True)
    path = os.pathsep.join((str(tmp_path / "site"), *site.getsitepackages()))
    env = {**os.environ, "PYTHONPATH": path, "PYTHONUSERBASE": str(tmp_path / "base")}

    done = subprocess.run(
        [sys.executable, "-c", ASK, name], env=env, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert Path(done.stdout.strip()) == folder
