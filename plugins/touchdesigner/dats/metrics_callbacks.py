"""Script CHOP: cooked by the component when a number has changed, ten times a second at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from td import scriptCHOP


def onCook(scriptOp: scriptCHOP) -> None:
    scriptOp.ext.StreamDiffusion.cook_metrics(scriptOp)
