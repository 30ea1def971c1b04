"""The user's callbacks DAT: found by the parameter Callbackdat, called where it has a function."""

from __future__ import annotations

import traceback

import td


def call_back(owner: td.COMP, name: str, *args: object) -> None:
    """The user's function of this name has run, if there is one.

    What it raises is the user's to see and no reason to stop the pictures: it becomes a script
    error of the component, with the line of their DAT.
    """
    dat = owner.par.Callbackdat.eval()
    if not isinstance(dat, td.DAT):
        return
    try:
        function = getattr(dat.module, name, None)
        if function is not None:
            function(owner, *args)
    except Exception:
        owner.addScriptError(f"{name} in {dat.path}:\n{traceback.format_exc(limit=-3)}")
