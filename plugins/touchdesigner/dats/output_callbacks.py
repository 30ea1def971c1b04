"""Script TOP: cooked by the component when a new picture is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from td import scriptTOP


def onCook(scriptOp: scriptTOP) -> None:
    scriptOp.ext.StreamDiffusion.cook_output(scriptOp)
