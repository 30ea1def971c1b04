"""What the application's thread and the courier's hand to each other, without a lock.

Every box is a deque, of which one end is the application's and the other the courier's: `append`
and `popleft` are one step each for both, so neither ever waits for the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from sdv2_host.ipc.osc_encode import OutValue
from sdv2_host.types import AlphaMode, Frame, Orientation, PixelFormat


@dataclass(frozen=True, slots=True)
class Wish:
    """What the application wants of its courier; another one any time by `Courier.follow`."""

    host: str
    """Name of the host: its rings are NAME-in and NAME-out."""
    publishes: bool = True
    """Pictures given to `send_frame` go to the host. Else its input ring is left to others."""
    shows: bool = True
    """The host's pictures are fetched."""
    brings: frozenset[str] = frozenset()
    """Addresses of which the application's values win where the courier meets a host that it did
    not know: those that were ever `set`, as the host or the application had them last, are sent
    before the host tells its own. Of all others the host's win, and `Courier.changes` tells them.

    Empty: for a desk that joins a running show. The addresses of looks: for a project that was
    saved with a look in it, which comes back when it is opened and when the host restarts.
    """


class Picture(NamedTuple):
    """One frame for the host.

    `pixels` is [H, W, 4] float32 (0..1) or uint8, any strides. The courier keeps a reference and
    reads it from its own thread until the picture is published or a newer one took its place: do
    not write to the array after it was given away, take a new one.
    """

    pixels: NDArray[Any]
    pixel_format: PixelFormat = PixelFormat.RGBA32F
    alpha: AlphaMode = AlphaMode.PREMULTIPLIED
    orientation: Orientation = Orientation.BOTTOM_FIRST
    capture_ts_ns: int = 0
    """When it was taken, of `sdv2_host.clock`; 0 = when it was given to the courier."""


class Change(NamedTuple):
    """A parameter has this value at the host. Truth arrives as 1 and 0."""

    address: str
    value: OutValue


class Call(NamedTuple):
    """An action to be fired once."""

    address: str
    args: tuple[OutValue, ...]


@dataclass(slots=True)
class Errand:
    """A frame of a lock-step, for which the application waits until `done`."""

    picture: Picture
    deadline_ns: int
    done: threading.Event = field(default_factory=threading.Event)
    frame: Frame | None = None
    """The picture that it came back with; None = none is due yet."""
    refusal: str = ""
    """Why it came back without."""

    def finish(self, frame: Frame | None, refusal: str = "") -> None:
        """The application goes on."""
        self.frame, self.refusal = frame, refusal
        self.done.set()


def _box() -> deque[Any]:
    return deque(maxlen=1)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Per courier. Boxes of one hold the newest; values and calls wait in order."""

    pictures_out: deque[Picture] = field(default_factory=_box)
    pictures_in: deque[Frame] = field(default_factory=_box)
    errands: deque[Errand] = field(default_factory=_box)
    values: deque[Change] = field(default_factory=deque)
    calls: deque[Call] = field(default_factory=deque)
    told: deque[Mapping[str, OutValue]] = field(default_factory=_box)
    """Put in by the courier only when empty: what comes meanwhile waits on its side, one value per
    address."""
