"""A component with an extension and an Execute DAT that note what they are told."""

from __future__ import annotations

from typing import Any

EXTENSION = """
calls = []
class Ext:
    def __init__(self, owner):
        self.owner = owner
        calls.append("init")
    def onInitTD(self):
        calls.append("onInitTD")
    def onDestroyTD(self):
        calls.append("onDestroyTD " + ("stands" if self.owner.valid else "gone"))
    def Hello(self):
        return "hello from " + self.owner.path
    def quiet(self):
        return "quiet"
"""


def extend(comp: Any) -> Any:
    """`comp` has a promoted extension."""
    dat = comp.create("textDAT", "code")
    dat.text = EXTENSION
    comp.par.ext0object = "op('./code').module.Ext(me)"
    comp.par.ext0promote = True
    return comp


def calls(comp: Any) -> list[str]:
    """What the extension's code noted so far."""
    found: list[str] = comp.op("code").module.calls
    return found


def execute(comp: Any, **toggles: bool) -> Any:
    """An Execute DAT that notes what is called, with these toggles on."""
    dat = comp.create("executeDAT", "execute")
    dat.text = "calls = []\n" + "".join(
        f"def {name}(*args):\n    calls.append(('{name}', *args))\n"
        for name in (
            *("onStart", "onCreate", "onExit", "onFrameStart", "onFrameEnd"),
            *("onPlayStateChange", "onDeviceChange", "onProjectPreSave", "onProjectPostSave"),
        )
    )
    for name, value in toggles.items():
        dat.par[name] = value
    return dat
