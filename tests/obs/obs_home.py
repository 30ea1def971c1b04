"""A throw-away OBS home: no wizard, no updater, websocket on, one profile, one scene collection.

Written so that OBS 29 (global.ini), 30 and 32 (user.ini, plugin_config) take it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

NAME = "sdv2test"
PASSWORD = "sdv2test"

_GLOBAL = """[General]
FirstRun=true
EnableAutoUpdates=false
Pre19Defaults=false
Pre21Defaults=false
Pre23Defaults=false
Pre24.1Defaults=false
Pre24.1.3Defaults=false
MaxLogs=20
InfoIncrement=999
LastVersion=536870912
ConfirmOnExit=false

[Basic]
Profile={name}
ProfileDir={name}
SceneCollection={name}
SceneCollectionFile={name}
ConfigOnNewProfile=false

[BasicWindow]
PreviewEnabled={preview}
SysTrayEnabled=false
SysTrayWhenStarted=false

[Video]
Renderer=OpenGL

[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort={port}
AlertsEnabled=false
AuthRequired=true
ServerPassword={password}
"""

_PROFILE = """[General]
Name={name}

[Video]
BaseCX={width}
BaseCY={height}
OutputCX={width}
OutputCY={height}
FPSType=1
FPSInt={fps}
FPSCommon={fps}
ColorFormat=NV12
ColorSpace=709
ColorRange=Partial

[Output]
Mode=Simple
"""


def write_home(
    home: Path, port: int, *, size: tuple[int, int], fps: int, preview: bool = False
) -> None:
    """OBS started with this HOME serves its websocket on `port`; PASSWORD is its password."""
    config = home / ".config" / "obs-studio"
    for folder in ("basic/scenes", f"basic/profiles/{NAME}", "plugin_config/obs-websocket"):
        (config / folder).mkdir(parents=True, exist_ok=True)
    ini = _GLOBAL.format(
        name=NAME, port=port, password=PASSWORD, preview="true" if preview else "false"
    )
    (config / "global.ini").write_text(ini)
    (config / "user.ini").write_text(ini)
    profile = _PROFILE.format(name=NAME, width=size[0], height=size[1], fps=fps)
    (config / "basic/profiles" / NAME / "basic.ini").write_text(profile)
    server = {
        "first_load": False,
        "server_enabled": True,
        "server_port": port,
        "alerts_enabled": False,
        "auth_required": True,
        "server_password": PASSWORD,
    }
    (config / "plugin_config/obs-websocket/config.json").write_text(json.dumps(server))
    collection = config / "basic/scenes" / f"{NAME}.json"
    if not collection.exists():
        collection.write_text(json.dumps(_collection()))


def _collection() -> dict[str, object]:
    scene = {"id": "scene", "versioned_id": "scene", "name": "Main", "settings": {"items": []}}
    return {
        "name": NAME,
        "current_scene": "Main",
        "current_program_scene": "Main",
        "current_transition": "Cut",
        "transition_duration": 300,
        "transitions": [],
        "scene_order": [{"name": "Main"}],
        "groups": [],
        "quick_transitions": [],
        "saved_projectors": [],
        "modules": {},
        "sources": [scene],
    }


def install_plugin(home: Path, module: Path, data: Path) -> None:
    """The plugin is where OBS before 33 looks for a user's own."""
    folder = home / ".config" / "obs-studio" / "plugins" / "sdv2"
    (folder / "bin" / "64bit").mkdir(parents=True, exist_ok=True)
    shutil.copy2(module, folder / "bin" / "64bit" / "sdv2.so")
    shutil.copytree(data, folder / "data", dirs_exist_ok=True)
