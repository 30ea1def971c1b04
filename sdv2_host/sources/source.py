"""The seam between a picture's origin and the feed that paces it into the input ring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One picture and when it is due."""

    pixels: NDArray[np.uint8]
    """[H, W, 4] RGBA, owned by the receiver until the next frame is asked for."""
    due_s: float
    """Seconds after the first frame; 0 for every frame of a device, which paces itself."""


class Source(Protocol):
    """Made ready by its constructor: a Source that exists has been opened and probed."""

    @property
    def title(self) -> str:
        """What it is, for one line of the log: name, size, fps."""

    @property
    def fps(self) -> float:
        """Nominal frames per second, > 0."""

    def frames(self) -> Iterator[SourceFrame]:
        """The pictures from the beginning, with `due_s` never falling."""

    def close(self) -> None: ...
