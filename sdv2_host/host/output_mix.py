"""What is done to a picture on its way out: wet and dry, panic, blackout. Pure, clock given.

Pictures are RGBA8, top row first, opaque. A mixture is rounded once per stage, to the nearest of
256 levels; at its ends it is one of the two pictures, untouched.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdv2_host.clock import NS_PER_S
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta, Size, centre_crop

Picture = NDArray[np.uint8]

MAX_DRY_FRAMES = 120
MAX_DRY_BYTES = 128 * 1024 * 1024
STALE_NS = NS_PER_S
"""An input that is older than this is no live picture: panic shows black instead."""
OPAQUE = 255


class _Beside(NamedTuple):
    """An input picture, and which frame of the source it is."""

    source_frame: int
    captured_ns: int
    picture: Picture


class _Dry(NamedTuple):
    number: int
    """In the input ring."""
    captured_ns: int
    at_ns: int
    picture: Picture


@dataclass(slots=True)
class OutputMix:
    """Fields, per process: the parameters that it follows; the fade to the safe picture and back,
    as level, goal and times; the last input frames while they are needed; the one that the mixture
    on the output was made of; the picture that a panic holds; the picture that was composed last;
    whether the look changed since."""

    params: Params
    is_changed: bool = False
    keeps_past: bool = False
    """Pictures of older input frames than was shown may come: another worker takes over, whose
    pictures are later."""
    _level: float = 0.0
    _level_ns: int = 0
    _dry: deque[_Dry] = field(default_factory=deque)
    _beside: _Beside | None = None
    _kept: Picture | None = None
    _last: Picture | None = None

    def play(self, params: Params, now: int) -> None:
        """The output looks like this from the next picture on."""
        self._level = self.safe_level(now)
        self._level_ns = now
        if params.panicked and not self.params.panicked and self._level <= 0:
            self._kept = self._last
        self.is_changed |= _look(params) != _look(self.params)
        self.params = params

    def safe_level(self, now: int) -> float:
        """0 = the styled picture, 1 = the safe one."""
        goal = 1.0 if self.params.panicked else 0.0
        if self.params.panic_s <= 0:
            return goal
        step = (now - self._level_ns) / (self.params.panic_s * NS_PER_S)
        if goal > self._level:
            return min(goal, self._level + step)
        return max(goal, self._level - step)

    def is_fading(self, now: int) -> bool:
        return self.safe_level(now) != (1.0 if self.params.panicked else 0.0)

    def needs_dry(self, now: int) -> bool:
        """Input frames shall be offered: reading them costs a copy each."""
        shows_input = self.params.safe == "input" and self.safe_level(now) > 0
        return self.params.mix < 1 or shows_input or self.params.panicked

    def offer(self, frame: Frame, size: Size, now: int) -> None:
        """The newest frame of the input, for pictures of this size."""
        if self._dry and frame.meta.frame <= self._dry[-1].number:  # another source
            self._dry.clear()
        captured_ns = frame.meta.capture_ts_ns or frame.meta.publish_ts_ns
        self._dry.append(_Dry(frame.meta.frame, captured_ns, now, fitted(frame, size)))
        most = max(1, MAX_DRY_BYTES // self._dry[-1].picture.nbytes)
        most = min(MAX_DRY_FRAMES, most) if self.params.mix < 1 else 1
        while len(self._dry) > most:
            self._dry.popleft()
        if self.params.safe == "input" and self.safe_level(now) > 0:
            self.is_changed = True

    def has_dry_of(self, styled: FrameMeta) -> bool:
        """The input frame that this one was made from was offered, and is still there."""
        wanted = styled.source_frame, styled.source_capture_ts_ns
        return any((dry.number, dry.captured_ns) == wanted for dry in self._dry)

    def lacks(self, styled: FrameMeta, now: int) -> bool:
        """The input frame of this one is to be mixed in, and is not there."""
        is_mixed = self.params.mix < 1 and self.safe_level(now) < 1 and not self.params.blackout
        return is_mixed and not self.has_dry_of(styled)

    def forget_dry(self) -> None:
        """None is needed any more, but that of the mixture on the output: freeze and pause hold it
        for longer than frames are kept, and the fader may come back to it."""
        self._dry.clear()

    def compose(self, styled: Frame, now: int) -> Picture:
        """The picture to show at `now` in place of `styled`; that itself where nothing is to do."""
        self.is_changed = False
        level = self.safe_level(now)
        picture: Picture = styled.pixels
        if self.params.mix < 1 and level < 1 and not self.params.blackout:
            dry = self._aligned(styled)
            picture = mixed(dry, picture, self.params.mix) if dry is not None else picture
        if level > 0 and not self.params.blackout:
            picture = mixed(picture, self._safe(picture, now), level)
        if self.params.blackout:
            picture = black(picture)
        self._last = picture
        return picture

    def _aligned(self, styled: Frame) -> Picture | None:
        """The input frame that the styled one was made from; None = it was not read.

        After the mix left 1 that is so for as long as a frame takes through the host, and for a
        picture that is held until it moves again: the styled picture alone is shown until then.
        """
        wanted = styled.meta.source_frame, styled.meta.source_capture_ts_ns
        if self._beside is None or self._beside[:2] != wanted:
            numbers = [dry.number for dry in self._dry]
            if styled.meta.source_frame not in numbers:
                return None
            index = numbers.index(styled.meta.source_frame)
            self._beside = _Beside(*wanted, self._dry[index].picture)
            if not self.keeps_past:
                for _ in range(index):
                    self._dry.popleft()
        return resized(self._beside.picture, _size(styled.pixels))

    def _safe(self, picture: Picture, now: int) -> Picture:
        if self.params.safe == "hold" and self._kept is not None:
            return resized(self._kept, _size(picture))
        is_live = bool(self._dry) and now - self._dry[-1].at_ns < STALE_NS
        if self.params.safe == "input" and is_live:
            return resized(self._dry[-1].picture, _size(picture))
        return black(picture)


def _look(params: Params) -> tuple[float, bool, bool, str]:
    return params.mix, params.blackout, params.panicked, params.safe


def _size(picture: Picture) -> Size:
    return Size(picture.shape[1], picture.shape[0])


def black(like: Picture) -> Picture:
    picture = np.zeros_like(like)
    picture[..., 3] = OPAQUE
    return picture


def mixed(first: Picture, second: Picture, share: float) -> Picture:
    """`first` at share 0, `second` at 1, in steps of 1/256."""
    weight = round(share * 256)
    if weight <= 0 or weight >= 256:
        return second if weight else first
    # 16 bits hold it: 255 * 256 + 128 < 65536.
    total = first.astype(np.uint16) * np.uint16(256 - weight)
    total += second.astype(np.uint16) * np.uint16(weight)
    total += np.uint16(128)
    picture: Picture = (total >> np.uint16(8)).astype(np.uint8)
    return picture


def fitted(frame: Frame, size: Size) -> Picture:
    """The frame as an opaque picture of this size, cropped as the engine crops it."""
    pixels = resized(to_rgba8(frame), size)
    if np.shares_memory(pixels, frame.pixels):
        pixels = pixels.copy()
    pixels[..., 3] = OPAQUE
    return pixels


def resized(picture: Picture, size: Size) -> Picture:
    """Of this size and opaque, cropped as the engine crops it; itself where it has the size."""
    if _size(picture) == size:
        return picture
    rows, columns = centre_crop(_size(picture), size)
    image = Image.fromarray(np.ascontiguousarray(picture[rows, columns, :3]))
    scaled = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    made: Picture = np.empty((*scaled.shape[:2], 4), np.uint8)
    made[..., :3], made[..., 3] = scaled, OPAQUE
    return made
