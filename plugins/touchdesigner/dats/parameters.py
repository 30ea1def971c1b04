"""Parameter Execute DAT: what happens to the component's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from td import Par, me


def onValueChange(par: Par, *before: object) -> None:
    # Builds differ in whether the new value comes before the old one; neither is needed.
    me.ext.StreamDiffusion.on_value(par)


def onPulse(par: Par) -> None:
    me.ext.StreamDiffusion.on_pulse(par)
