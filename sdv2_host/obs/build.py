"""The plug-in from its source: cmake, and a clear answer when something for it is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import sdv2_host
from sdv2_host.errors import ConfigError

SOURCE = Path(sdv2_host.__file__).parent.parent / "plugins" / "obs"
BINARY = {"win32": "sdv2.dll", "darwin": "sdv2.plugin"}.get(sys.platform, "sdv2.so")
LIBOBS_HEADERS = (
    Path("/usr/include/obs/obs-module.h"),
    Path("/usr/local/include/obs/obs-module.h"),
)
BUILD_S = 600.0
ERROR_LINES = 4


class Plugin(NamedTuple):
    """What is installed."""

    binary: Path
    """A file; on macOS the bundle's folder."""
    data: Path
    """Folder of locale files and the like."""


class Package(NamedTuple):
    """What a Linux distribution calls the things that a build needs."""

    command: str
    cmake: str
    compiler: str
    libobs: str


DISTRIBUTIONS = {
    "apt-get": Package("sudo apt-get install", "cmake", "gcc make", "libobs-dev"),
    "dnf": Package("sudo dnf install", "cmake", "gcc make", "obs-studio-devel"),
    "pacman": Package("sudo pacman -S", "cmake", "gcc make", "obs-studio"),
    "zypper": Package("sudo zypper install", "cmake", "gcc make", "obs-studio-devel"),
}


def prebuilt(path: Path) -> Plugin:
    """A plug-in that somebody else has built.

    Raises:
        ConfigError: it is none, or has no data folder.
    """
    if path.name != BINARY or not path.exists():
        raise ConfigError(f"--plugin {path}: expected an existing file named {BINARY}")
    for data in (path.parent / "data", SOURCE / "data"):
        if data.is_dir():
            return Plugin(path, data)
    raise ConfigError(f"--plugin {path}: its folder 'data' is not beside it")


def missing_tools(
    which: Callable[[str], str | None] = shutil.which,
    headers: tuple[Path, ...] = LIBOBS_HEADERS,
) -> str:
    """What a build lacks and how to get it, in one line; '' = nothing that can be told before.

    Compilers of Windows and macOS are found by cmake alone, and so are their libobs.
    """
    lacks = []
    if which("cmake") is None:
        lacks.append("cmake")
    if sys.platform == "linux":
        if not any(which(name) for name in ("cc", "gcc", "clang")):
            lacks.append("compiler")
        if not any(path.exists() for path in headers):
            lacks.append("libobs")
    if not lacks:
        return ""
    words = {"cmake": "cmake", "compiler": "a C compiler", "libobs": "the headers of libobs"}
    text = f"to build the plug-in {' and '.join(words[one] for one in lacks)} are missing"
    known = [package for tool, package in DISTRIBUTIONS.items() if which(tool) is not None]
    if known:
        names = " ".join(str(getattr(known[0], one)) for one in lacks)
        return f"{text}: {known[0].command} {names}"
    return f"{text}; install them, or give a plug-in that is built with --plugin"


def build(folder: Path, log: Path, source: Path = SOURCE) -> Plugin:
    """The plug-in, built in `folder`; what the tools said is in `log`.

    Raises:
        ConfigError: there is no source, something is missing, or it does not compile.
    """
    if not (source / "CMakeLists.txt").is_file():
        raise ConfigError(
            f"the source of the plug-in is not here ({source}): install from a checkout of "
            "sdv2-host, or give a plug-in that is built with --plugin"
        )
    lacks = missing_tools()
    if lacks:
        raise ConfigError(lacks)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    configure = ["cmake", "-S", str(source), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"]
    for command in (configure, ["cmake", "--build", str(folder), "--config", "Release"]):
        _run(command, log)
    for place in (folder / BINARY, folder / "Release" / BINARY):  # Visual Studio's own folder
        if place.exists():
            return Plugin(place, source / "data")
    raise ConfigError(f"cmake made no {BINARY} in {folder}; see {log}")


def _run(command: list[str], log: Path) -> None:
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{' '.join(command)} took more than {BUILD_S:.0f} s") from error
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}")
    if done.returncode != 0:
        lines = [line.strip() for line in done.stdout.splitlines()]
        named = (line for line in lines if "error" in line.lower())
        errors = [line for line in named if "***" not in line]  # make's own, which says nothing
        errors = errors or lines[-ERROR_LINES:]
        raise ConfigError(
            f"the plug-in does not build: {'; '.join(errors[:ERROR_LINES])}; all of it is in {log}"
        )
