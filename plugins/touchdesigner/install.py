"""Makes the StreamDiffusion component in the open project. Run it once inside TouchDesigner:

    import runpy; runpy.run_path(r'FOLDER/install.py')        in the textport, or
    drag this file into the network and choose Run Script     from the menu of the DAT it becomes

The component is made beside the DAT, or in /project1; nothing outside the project is touched. To
save it for others: op('StreamDiffusion').Release('FOLDER').
"""

from __future__ import annotations

import importlib
import runpy
import zipfile
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import td

if TYPE_CHECKING:
    from td import me

BUNDLE, COMMAND = "sdv2.zip", "command.txt"


def folder_of_this() -> Path:
    """Where this file is, however it is run: as a file, or as a DAT that was made of it."""
    path = globals().get("__file__") or me.par.file.eval()
    return Path(str(path)).resolve().parent


def read_bundle(folder: Path) -> bytes:
    """The zip beside this file; in a checkout it is made of the sources."""
    if (folder / BUNDLE).is_file():
        return (folder / BUNDLE).read_bytes()
    made: bytes = runpy.run_path(str(folder / "sdv2_touch" / "bundle.py"))["make_bundle"](
        folder, folder.parent.parent / "sdv2_host"
    )
    return made


def install(parent: td.COMP, bundle: bytes) -> td.COMP:
    """The component, in `parent`."""
    with zipfile.ZipFile(BytesIO(bundle)) as archive:
        source = archive.read("sdv2_touch/dats/sdv2.py")
    loader = ModuleType("sdv2_loader")
    exec(compile(source, "sdv2.py", "exec"), loader.__dict__)
    note = loader.load(bundle)
    if note:
        raise RuntimeError(f"not installed: {note}")
    made: td.COMP = importlib.import_module("sdv2_touch.builder").build(parent, bundle)
    return made


def network_of_this() -> td.COMP:
    """Where the component goes: beside the DAT that this is; from the textport, the project."""
    place = td.op("/project1") if "__file__" in globals() else me.parent()
    return place if isinstance(place, td.COMP) else td.root


def command_beside(folder: Path) -> str:
    """Where sdv2-host is, as it said when it wrote the folder; of a checkout, the project."""
    told = folder / COMMAND
    return told.read_text("utf-8") if told.is_file() else str(folder.parent.parent)


component = install(network_of_this(), read_bundle(folder_of_this()))
component.par.Command.val = command_beside(folder_of_this())
print(
    f"made {component.path}: wire a TOP to its input, press Start host on its page Host, and look "
    "at its first output"
)
