"""Execute DAT: what TouchDesigner tells of its life and frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from td import me


def onStart() -> None:
    me.ext.StreamDiffusion.on_start()


def onFrameStart(frame: float) -> None:
    me.ext.StreamDiffusion.on_frame()


def onExit() -> None:
    me.ext.StreamDiffusion.on_exit()
