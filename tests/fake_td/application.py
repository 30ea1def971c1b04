"""Project, application, licences, time and user interface (Project_Class, App_Class, ...)."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.fake_td.access import Guarded, Member
from tests.fake_td.errors import NotModelled, tdError

if TYPE_CHECKING:
    from tests.fake_td.session import TouchDesigner

NON_COMMERCIAL_LIMIT_PX = (1280, 1280)


class Project(Guarded):
    """The open project; `_saved` says when and by what it was saved last."""

    realTime = Member(True)

    def __init__(self, td: TouchDesigner, name: str) -> None:
        self._td = td
        self._members: dict[str, object] = {}
        self._name = name
        self._rate = 60.0
        self._save_time = ""

    @property
    def cookRate(self) -> float:
        return self._rate

    @cookRate.setter
    def cookRate(self, rate: float) -> None:
        if not rate > 0:
            raise tdError(f"project.cookRate = {rate!r}: expected more than 0")
        self._rate = float(rate)

    @property
    def folder(self) -> str:
        return self._td.folder.as_posix()

    @property
    def name(self) -> str:
        return self._name

    @property
    def saveVersion(self) -> str:
        return self._td.app.version if self._save_time else ""

    @property
    def saveBuild(self) -> str:
        return self._td.app.build if self._save_time else ""

    @property
    def saveTime(self) -> str:
        return self._save_time

    @property
    def saveOSName(self) -> str:
        return self._td.app.osName if self._save_time else ""

    @property
    def saveOSVersion(self) -> str:
        return self._td.app.osVersion if self._save_time else ""

    def save(self, path: str | None = None, saveExternalToxs: bool = False) -> bool:
        self._td._watchers.execute("onProjectPreSave")
        self._save_time = datetime.datetime.now().isoformat(timespec="seconds")
        target = self._td._resolve_file(path or self._name)
        target.write_bytes(self._td.saved())
        self._name = target.name
        self._td._watchers.execute("onProjectPostSave")
        return True

    def load(self, path: str | None = None) -> None:
        if path is None:
            raise NotModelled("project.load of the default project")
        self._td.open(self._td._resolve_file(path).read_bytes())

    def quit(self, force: bool = False, crash: bool = False) -> None:
        self._td.quit(crash=crash)


class App(Guarded):
    """The application."""

    power = Member(True)

    def __init__(self, td: TouchDesigner, build: str) -> None:
        self._td = td
        self._members: dict[str, object] = {}
        self._build = build
        self._limits: list[tuple[str | None, tuple[int, int]]] = []

    @property
    def version(self) -> str:
        return "099"

    @property
    def build(self) -> str:
        return self._build

    @property
    def product(self) -> str:
        return "TouchDesigner"

    @property
    def osName(self) -> str:
        return "Windows"

    @property
    def osVersion(self) -> str:
        return "11"

    @property
    def architecture(self) -> str:
        return "64"

    @property
    def experimental(self) -> bool:
        return False

    @property
    def processId(self) -> int:
        return os.getpid()

    @property
    def preferencesFolder(self) -> str:
        return (self._td.folder / "preferences").as_posix()

    @property
    def tempFolder(self) -> str:
        return (self._td.folder / "temp").as_posix()

    @property
    def pythonExecutable(self) -> str:
        return sys.executable

    def addNonCommercialLimit(self, password: str | None = None) -> None:
        self._limits.append((password, NON_COMMERCIAL_LIMIT_PX))

    def removeNonCommercialLimit(self, password: str | None = None) -> bool:
        return self._remove(password)

    def addResolutionLimit(self, x: int, y: int, password: str | None = None) -> None:
        self._limits.append((password, (x, y)))

    def removeResolutionLimit(self, password: str | None = None) -> bool:
        return self._remove(password)

    def _remove(self, password: str | None) -> bool:
        kept = [one for one in self._limits if password is None or one[0] != password]
        found = len(kept) < len(self._limits)
        self._limits = kept
        return found


class AbsTime(Guarded):
    """Frames and seconds since the application began."""

    def __init__(self, td: TouchDesigner) -> None:
        self._td = td

    @property
    def frame(self) -> float:
        return float(self._td._num_played)

    @property
    def seconds(self) -> float:
        return self._td._num_played / self._td.project.cookRate

    @property
    def step(self) -> float:
        return 1.0

    @property
    def stepSeconds(self) -> float:
        return 1.0 / self._td.project.cookRate


class License(Guarded):
    """One installed licence."""

    def __init__(self, td: TouchDesigner) -> None:
        self._td = td

    @property
    def index(self) -> int:
        return 0

    @property
    def isEnabled(self) -> bool:
        return True

    @property
    def type(self) -> str:
        return self._td.licenses.type

    @property
    def status(self) -> int:
        return 0


class Licenses(Guarded):
    """The installed licences: one, Commercial or Non-Commercial."""

    disablePro = Member(False)

    def __init__(self, td: TouchDesigner) -> None:
        self._td = td
        self._members: dict[str, object] = {}

    @property
    def isPro(self) -> bool:
        return False

    @property
    def isNonCommercial(self) -> bool:
        return self._td.resolution_limit_px == NON_COMMERCIAL_LIMIT_PX

    @property
    def machine(self) -> str:
        return "stand-in"

    @property
    def type(self) -> str:
        return "Non-Commercial" if self.isNonCommercial else "Commercial"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> License:
        if index != 0:
            raise IndexError(index)
        return License(self._td)

    def __iter__(self) -> Iterator[License]:
        return iter([License(self._td)])


class UI(Guarded):
    """The user interface; what would be shown to a person is kept in session.opened."""

    status = Member("")
    clipboard = Member("")

    def __init__(self, td: TouchDesigner) -> None:
        self._td = td
        self._members: dict[str, object] = {}

    def messageBox(self, title: str, message: str, buttons: list[str] | None = None) -> int:
        self._td.opened.append(f"{title}: {message}")
        return 0

    def chooseFolder(
        self, title: str = "Select Folder", start: str | None = None, asExpression: bool = False
    ) -> str | None:
        self._td.opened.append(title)
        return None

    def viewFile(self, URL_or_path: str, showInFolder: bool = False) -> None:
        self._td.opened.append(f"file {URL_or_path}")
