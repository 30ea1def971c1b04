"""Files embedded in a component (VFS_Class, VFSFile_Class)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fake_td.access import Guarded
from tests.fake_td.errors import tdError
from tests.fake_td.names import matches

if TYPE_CHECKING:
    from tests.fake_td.components import COMP
    from tests.fake_td.operators import OP


class VFSFile(Guarded):
    """One embedded file; invalid once destroyed."""

    def __init__(self, vfs: VFS, name: str, content: bytes, origin: str = "") -> None:
        self._td = vfs._td
        self._vfs = vfs
        self._name = name
        self._content = bytes(content)
        self._date = datetime.datetime.now()
        self._origin = origin

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        _check_file_name(name)
        if name in self._vfs._files:
            raise tdError(f"VFS file {name!r}: the name is taken")
        del self._vfs._files[self._name]
        self._name = name
        self._vfs._files[name] = self

    @property
    def size(self) -> int:
        return len(self._content)

    @property
    def date(self) -> datetime.datetime:
        return self._date

    @property
    def virtualPath(self) -> str:
        return f"vfs:{self._vfs._comp.path}:{self._name}"

    @property
    def originalFilePath(self) -> str:
        return self._origin

    @property
    def owner(self) -> OP:
        return self._vfs._comp

    @property
    def byteArray(self) -> bytearray:
        return bytearray(self._content)

    @byteArray.setter
    def byteArray(self, content: bytearray) -> None:
        _check_bytes(content)
        self._content = bytes(content)

    def destroy(self) -> None:
        self._vfs._files.pop(self._name)

    def export(self, folder: str) -> str:
        path = Path(folder) / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._content)
        return path.as_posix()


class VFS(Guarded):
    """The files of one component, by name."""

    def __init__(self, comp: COMP) -> None:
        self._td = comp._td
        self._comp = comp
        self._files: dict[str, VFSFile] = {}

    @property
    def owner(self) -> OP:
        return self._comp

    def __getitem__(self, name: str) -> VFSFile:
        self._guard("[]")
        if name not in self._files:
            raise tdError(f"{self._comp.path} has no VFS file {name!r}; has {list(self._files)}")
        return self._files[name]

    def __len__(self) -> int:
        self._guard("len")
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        self._guard("iter")
        return iter(list(self._files))

    def addByteArray(self, byteArray: bytes | bytearray, name: str) -> VFSFile:
        _check_bytes(byteArray)
        return self._add(name, bytes(byteArray), "")

    def addFile(self, filePath: str, overrideName: str | None = None) -> VFSFile:
        path = Path(filePath)
        if not path.is_file():
            raise tdError(f"VFS addFile: {filePath!r} is no file")
        return self._add(overrideName or path.name, path.read_bytes(), str(path))

    def export(self, folder: str, pattern: str = "*", overwrite: bool = False) -> list[str]:
        files = self.find(pattern)
        if not overwrite:
            files = [one for one in files if not (Path(folder) / one.name).exists()]
        return [one.export(folder) for one in files]

    def find(self, pattern: str = "*") -> list[VFSFile]:
        return [one for name, one in self._files.items() if matches(name, pattern)]

    def _add(self, name: str, content: bytes, origin: str) -> VFSFile:
        _check_file_name(name)
        if name in self._files:
            raise tdError(f"{self._comp.path} has a VFS file {name!r} already: destroy it first")
        self._files[name] = VFSFile(self, name, content, origin)
        return self._files[name]


def _check_file_name(name: str) -> None:
    if not isinstance(name, str) or not name or name.startswith(("/", "\\")):
        raise tdError(f"VFS file name {name!r}: may hold slashes, not begin with one")


def _check_bytes(content: object) -> None:
    if not isinstance(content, bytes | bytearray):
        raise tdError(f"VFS content: expected bytes or bytearray, not {type(content).__name__}")
