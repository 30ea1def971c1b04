"""What `sdv2-host touchdesigner` does: the component's installer, in a folder of the user's."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import sdv2_host
from sdv2_host.errors import ConfigError
from sdv2_host.host.folders import shipped

BUNDLE, INSTALLER, COMMAND = "sdv2.zip", "install.py", "command.txt"
COPIED = (INSTALLER, "README.md", "LICENSE", "pages.jpg")


def write_touchdesigner(folder: Path) -> None:
    """The folder has all that TouchDesigner needs; prints what to do there. Raises: ConfigError."""
    folder = folder.expanduser().resolve()
    source = source_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BUNDLE).write_bytes(make_bundle(source))
        # TouchDesigner's PATH is not a terminal's: the component is told who wrote its folder.
        (folder / COMMAND).write_text(sys.executable, "utf-8")
        for name in COPIED:
            shutil.copyfile(source / name, folder / name)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from error
    print(f"wrote {folder}")
    print("1. In TouchDesigner open Dialogs, Textport and DATs, paste this line, and press Enter:")
    print(f"   {textport_line(folder)}")
    print("2. Wire a TOP to the input of /project1/StreamDiffusion, and look at its first output.")
    print("3. Press Start host on its page Host, or run sdv2-host run in a terminal.")
    print(f"The guide is {folder / 'README.md'}, and the button on the component's page About.")


def textport_line(folder: Path) -> str:
    """What makes the component, in one line of Python."""
    return f"import runpy; runpy.run_path({str(folder / INSTALLER)!r})"


def source_folder() -> Path:
    """Where the component's own files are."""
    return shipped("plugins/touchdesigner")


def make_bundle(source: Path) -> bytes:
    """The zip that the component embeds."""
    made = runpy.run_path(str(source / "sdv2_touch" / "bundle.py"))
    make: Callable[[Path, Path], bytes] = made["make_bundle"]
    return make(source, Path(sdv2_host.__file__).parent)
