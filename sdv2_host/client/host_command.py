"""Where sdv2-host is: found from what a person typed, in an application that is not Python."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sdv2_host.errors import HostError

PROGRAM = "sdv2-host"
if sys.platform == "win32":
    _BIN, _EXE = "Scripts", ".exe"
else:
    _BIN, _EXE = "bin", ""


class CommandError(HostError):
    """There is no sdv2-host where the text says."""


def find_command(text: str) -> tuple[str, ...]:
    """The words that start sdv2-host.

    Args:
        text: the program itself or a Python that has it, the project's folder, the folder of a
            virtual environment, or '' = the one on PATH. Quotes around it are left out.

    Raises:
        CommandError: naming where was looked.
    """
    named = text.strip().strip("\"'").strip()
    if not named or named == PROGRAM:
        return _on_path()
    try:
        return _at(Path(named).expanduser())
    except OSError as error:  # it may not be looked at, or is no path at all
        raise CommandError(
            f"Cannot look for {PROGRAM} in {named:.200}: {error.strerror}."
        ) from error


def _at(path: Path) -> tuple[str, ...]:
    """Raises: CommandError; OSError: it may not be looked at."""
    if path.is_file():
        is_python = path.name.lower().startswith("python")
        return (str(path), "-m", "sdv2_host") if is_python else (str(path),)
    looked = [
        folder / _BIN / f"{name}{_EXE}"
        for name in (PROGRAM, "python")
        for folder in (path / ".venv", path)
    ]
    for program in looked:
        if program.is_file():
            is_python = program.stem == "python"
            return (str(program), "-m", "sdv2_host") if is_python else (str(program),)
    if not path.is_dir():
        raise CommandError(
            f"There is no {path}. Give the folder of the project, in which 'python bootstrap.py' "
            f"has made .venv, or the path of {PROGRAM}{_EXE}."
        )
    raise CommandError(
        f"There is no {PROGRAM} in {path}: neither {looked[0]} nor {looked[1]}. If it is the "
        "project's folder, run 'python bootstrap.py' in it once."
    )


def _on_path() -> tuple[str, ...]:
    found = shutil.which(PROGRAM)
    if found is None:
        raise CommandError(
            f"{PROGRAM} is not on this program's PATH, which is often another than a terminal's. "
            "Give the folder of the project, in which 'python bootstrap.py' has made .venv."
        )
    return (found,)
