"""Brings the component's Python in from the zip that is embedded in it, and makes its extension.

From memory: nothing is written, so it works where a machine lets TouchDesigner write nowhere, and
no other user can put anything in its place. One version per process: what was loaded first stays.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import sys
import zipfile
from collections.abc import Sequence
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import td

BUNDLE = "sdv2.zip"


class Bundle(MetaPathFinder, ExecutionLoader):
    """Finds and loads the modules of a zip. Fields, per process: files by name; its digest."""

    def __init__(self, content: bytes) -> None:
        self.digest = hashlib.sha256(content).hexdigest()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._file(fullname)
        if file is None:
            return None
        spec = spec_from_loader(
            fullname, self, origin=f"{BUNDLE}/{file}", is_package=self.is_package(fullname)
        )
        assert spec is not None, "a spec with a loader was None"
        spec.has_location = True
        return spec

    def is_package(self, fullname: str) -> bool:
        return (self._file(fullname) or "").endswith("/__init__.py")

    def get_filename(self, fullname: str) -> str:
        return f"{BUNDLE}/{self._file(fullname)}"

    def get_source(self, fullname: str) -> str:
        return self.files[self._file(fullname) or fullname].decode()

    def get_data(self, path: str) -> bytes:
        return self.files[path.replace("\\", "/").removeprefix(f"{BUNDLE}/")]

    def _file(self, fullname: str) -> str | None:
        base = fullname.replace(".", "/")
        return next((f for f in (f"{base}/__init__.py", f"{base}.py") if f in self.files), None)


def load(content: bytes) -> str:
    """The component's modules can be imported; what a person has to know of it, '' = nothing."""
    digest = hashlib.sha256(content).hexdigest()
    loaded = sys.modules.get("sdv2_touch")
    if loaded is None:
        sys.meta_path.insert(0, Bundle(content))
        importlib.import_module("sdv2_touch")
        return ""
    # Of whatever class: each component has a Bundle class of its own.
    if getattr(loaded.__loader__, "digest", "") == digest:
        return ""
    return (
        "another version of this component was loaded first and is used for both: restart "
        "TouchDesigner, and keep one version in the project"
    )


def extension(owner: td.COMP) -> Any:
    """The object whose capitalised members are the component's."""
    note = load(bytes(owner.vfs[BUNDLE].byteArray))
    return importlib.import_module("sdv2_touch.component").StreamDiffusion(owner, note)
