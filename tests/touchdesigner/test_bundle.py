"""The bundle: all that the component imports, nothing else, the same bytes each time."""

from __future__ import annotations

import io
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sdv2_host.commands.touchdesigner import (
    COMMAND,
    COPIED,
    make_bundle,
    source_folder,
    write_touchdesigner,
)
from sdv2_host.errors import ConfigError
from tests.hosts import sdv2_host

ROOT = Path(__file__).parent.parent.parent
ALIEN = {"pydantic", "aiohttp", "psutil", "pythonosc", "torch", "typer", "rich", "platformdirs"}


def names(bundle: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return set(archive.namelist())


def test_two_bundles_of_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    shutil.copytree(source_folder(), tmp_path / "touch")
    for path in (tmp_path / "touch").rglob("*.py"):
        os.utime(path, (0, 0))
    (tmp_path / "touch" / "dats" / "frames.py").write_text(
        (tmp_path / "touch" / "dats" / "frames.py").read_text(), newline="\r\n"
    )

    assert make_bundle(tmp_path / "touch") == make_bundle(source_folder())


def test_the_bundle_holds_what_is_imported_and_no_more() -> None:
    found = names(make_bundle(source_folder()))

    assert {"sdv2_touch/component.py", "sdv2_touch/parameters.json", "sdv2_touch/dats/sdv2.py"} <= (
        found
    )
    assert {"sdv2_host/__init__.py", "sdv2_host/client/courier.py", "sdv2_host/types.py"} <= found
    assert not {name for name in found if name.startswith(("sdv2_host/host/", "sdv2_host/gpu/"))}
    assert "sdv2_host/params.py" not in found


def test_the_bundle_imports_without_the_checkout_and_without_packages(tmp_path: Path) -> None:
    bundle = make_bundle(source_folder())
    (tmp_path / "sdv2.zip").write_bytes(bundle)
    stubs = ROOT / "plugins" / "touchdesigner" / "dats" / "sdv2.py"
    modules = sorted(
        name.removesuffix(".py").replace("/", ".")
        for name in names(bundle)
        if name.startswith("sdv2_host/") and not name.endswith("__init__.py")
    )
    code = (
        f"import runpy, sys; load = runpy.run_path({str(stubs)!r})['load']\n"
        "sys.path = [p for p in sys.path if p]\n"
        f"assert load(open({str(tmp_path / 'sdv2.zip')!r}, 'rb').read()) == ''\n"
        f"import {', '.join(modules)}\n"
        "print(sys.modules['sdv2_host'].__file__, *sorted(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    file, *loaded = done.stdout.split()
    assert file == "sdv2.zip/sdv2_host/__init__.py"
    assert {name.split(".")[0] for name in loaded} & ALIEN == set()


def test_an_error_in_the_bundle_shows_its_line(tmp_path: Path) -> None:
    source = runpy.run_path(str(source_folder() / "dats" / "sdv2.py"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(
            "sdv2_touch/__init__.py", "def fail():\n    raise OSError('of line two')\n"
        )
    finder = source["Bundle"](content.getvalue())

    spec = finder.find_spec("sdv2_touch")
    code = finder.get_code("sdv2_touch")

    assert spec is not None
    assert code.co_filename == "sdv2.zip/sdv2_touch/__init__.py"
    assert "of line two" in finder.get_source("sdv2_touch")


def test_the_command_writes_what_touchdesigner_needs(tmp_path: Path) -> None:
    done = sdv2_host("touchdesigner", str(tmp_path / "made"))

    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "made").iterdir()} == {*COPIED, COMMAND, "sdv2.zip"}
    assert (tmp_path / "made" / COMMAND).read_text("utf-8") == sys.executable
    assert f"runpy.run_path({str(tmp_path / 'made' / 'install.py')!r})" in done.stdout
    assert (tmp_path / "made" / "sdv2.zip").read_bytes() == make_bundle(source_folder())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigError, match=r"cannot write to .*file"):
        write_touchdesigner(tmp_path / "file")
