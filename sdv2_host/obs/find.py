"""The OBS installations of this machine, and where each looks for plug-ins.

    Linux     the system's, and as a Flatpak    its config folder, /plugins
    Windows   by registry or Program Files      ProgramData\\obs-studio\\plugins
    macOS     /Applications/OBS.app             ~/Library/Application Support/obs-studio/plugins

Of these only Linux has been run.
"""

from __future__ import annotations

import os
import plistlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import platformdirs

from sdv2_host.asking import Ask, ask

if sys.platform == "win32":
    import winreg

FLATPAK_ID = "com.obsproject.Studio"
ASK_S = 20.0
_VERSION = re.compile(r"(\d{1,3})\.\d{1,3}(?:\.\d{1,3})?")


@dataclass(frozen=True, slots=True)
class ObsInstall:
    """One OBS."""

    title: str
    """For people, with its version."""
    major: int | None
    """Of its version; None = not known."""
    plugins: Path
    """Each plug-in has a folder of its own in it. It need not exist yet."""
    is_flatpak: bool = False


def major_of(version: str) -> int | None:
    """The first number of the first version in the text."""
    found = _VERSION.search(version)
    return int(found[1]) if found else None


def find_obs() -> list[ObsInstall]:
    """All that are there; none = OBS is not installed, or where nobody would look."""
    if sys.platform == "win32":
        return windows_installs(_registry_value, Path(os.environ.get("PROGRAMFILES", "C:/")))
    if sys.platform == "darwin":
        return macos_installs(Path("/Applications"))
    return linux_installs(Path.home(), Path("/"), partial(ask, timeout_s=ASK_S))


def at_folder(config: Path) -> ObsInstall:
    """The OBS of this config folder, whatever its version."""
    return ObsInstall(f"OBS at {config}", None, config / "plugins")


def linux_installs(home: Path, root: Path, ask: Ask) -> list[ObsInstall]:
    found = []
    said = ask(["obs", "--version"])
    if said:
        config = platformdirs.user_config_path("obs-studio", appauthor=False)
        found.append(ObsInstall(said.splitlines()[-1], major_of(said), config / "plugins"))
    shared = root / "var" / "lib" / "flatpak" / "app" / FLATPAK_ID
    own = home / ".local" / "share" / "flatpak" / "app" / FLATPAK_ID
    if shared.is_dir() or own.is_dir():
        said = ask(["flatpak", "info", FLATPAK_ID]) or ""
        version = re.search(r"Version:\s*(\S+)", said)
        title = f"OBS {version[1] if version else ''} (Flatpak)"
        config = home / ".var" / "app" / FLATPAK_ID / "config" / "obs-studio"
        major = major_of(version[1]) if version else None
        found.append(ObsInstall(" ".join(title.split()), major, config / "plugins", True))
    return found


def macos_installs(applications: Path) -> list[ObsInstall]:
    info = applications / "OBS.app" / "Contents" / "Info.plist"
    try:
        with info.open("rb") as file:
            version = str(plistlib.load(file).get("CFBundleShortVersionString", ""))
    except (OSError, plistlib.InvalidFileException):
        return []
    support = platformdirs.user_data_path("obs-studio", appauthor=False)
    return [ObsInstall(f"OBS {version}", major_of(version), support / "plugins")]


def windows_installs(registry: Callable[[str, str], str], programs: Path) -> list[ObsInstall]:
    """`registry` gives a value below HKEY_LOCAL_MACHINE, '' where there is none."""
    folder = registry(r"SOFTWARE\OBS Studio", "")
    if not folder and not (programs / "obs-studio").is_dir():
        return []
    uninstall = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\OBS Studio"
    version = registry(uninstall, "DisplayVersion")
    shared = platformdirs.site_data_path("obs-studio", appauthor=False)
    title = f"OBS {version} in {folder or programs / 'obs-studio'}"
    return [ObsInstall(" ".join(title.split()), major_of(version), shared / "plugins")]


if sys.platform == "win32":

    def _registry_value(key: str, name: str) -> str:
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                return str(winreg.QueryValueEx(opened, name)[0])
        except OSError:
            return ""
