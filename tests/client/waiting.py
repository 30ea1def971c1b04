"""Waiting for a condition, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sdv2_host.client.courier import Courier
from sdv2_host.client.mailbox import Picture
from sdv2_host.types import Frame

DEADLINE_S = 30.0


def until(
    condition: Callable[[], object], what: str = "", tell: Callable[[], object] = str
) -> None:
    """Returns when the condition holds; after half a minute it never will."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: {tell()}"
        time.sleep(0.005)


def numbered(number: int, width: int = 32, height: int = 16) -> NDArray[np.float32]:
    """A picture [H, W, 4] that no other number has, bottom row first; its levels are of 0..255."""
    levels = np.random.default_rng(number).integers(0, 256, (height, width, 4))
    return (levels / 255).astype(np.float32)


def levels(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What a host makes of it that changes nothing."""
    return np.rint(pixels * 255).astype(np.uint8)


def next_picture(courier: Courier, pixels: NDArray[np.float32] | None = None) -> Frame:
    """The next new picture; meanwhile `pixels` are sent again and again."""
    found: list[Frame] = []

    def has_come() -> bool:
        if pixels is not None:
            courier.send_frame(Picture(pixels))
        frame = courier.newest()
        if frame is not None:
            found.append(frame)
        return frame is not None

    until(has_come, "a picture", lambda: courier.status)
    return found[0]
