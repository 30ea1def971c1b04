"""Pictures out of and into TOPs: two seams, and the way by numpy that every machine has."""

from __future__ import annotations

from typing import Protocol

import td

from sdv2_host.client.mailbox import Picture
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.types import Frame

STALE_NS = NS_PER_S // 2
"""What was asked for before that, before a pause, say, is no picture of now."""


class Download(Protocol):
    """A TOP's picture for the host."""

    def fetch(self, top: td.TOP) -> Picture | None:
        """The newest finished picture; None = one is on its way. Never waits for the card."""

    def close(self) -> None:
        """What was allocated is freed."""


class Upload(Protocol):
    """The host's picture for a Script TOP, called inside its cook."""

    def show(self, script_top: td.scriptTOP, frame: Frame) -> bool:
        """Whether it has this picture; if not it keeps the one before, and is to cook again."""

    def close(self) -> None:
        """What was allocated is freed."""


class NumpyDownload:
    """By `numpyArray(delayed=True)`: the picture of the call before, so one frame late.

    TouchDesigner hands out a new array each time, float32 and bottom row first, and the host
    converts: that is cheaper there than on TouchDesigner's main thread.
    Source: TOP_Class, numpyArray.
    """

    def __init__(self) -> None:
        self._asked_ns = 0
        """When the picture that comes next was asked for."""

    def fetch(self, top: td.TOP) -> Picture | None:
        now = now_ns()
        asked_ns, self._asked_ns = self._asked_ns, now
        pixels = top.numpyArray(delayed=True)
        if pixels is None or now - asked_ns > STALE_NS:
            return None
        return Picture(pixels, capture_ts_ns=asked_ns)

    def close(self) -> None:
        pass


def picture_now(top: td.TOP) -> Picture:
    """The picture that the TOP has in this frame; waits for the card. For renders."""
    pixels = top.numpyArray()
    assert pixels is not None, "numpyArray gave None without delayed"
    return Picture(pixels, capture_ts_ns=now_ns())


class NumpyUpload:
    """By `copyNumpyArray`. Source: ScriptTOP_Class."""

    def show(self, script_top: td.scriptTOP, frame: Frame) -> bool:
        script_top.copyNumpyArray(frame.pixels)
        return True

    def close(self) -> None:
        pass
