"""What is done to a picture on its way out: wet and dry, panic, blackout. Pure, clock given.

Pictures are RGBA8, top row first, opaque or premultiplied, and so are their mixtures: the input
that is mixed in is as transparent as the picture that was made of it. Black is opaque. A mixture is
rounded once per stage, to the nearest of 256 levels; at its ends it is one of the two pictures,
untouched.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.alpha import OPAQUE, premultiplied
from sdv2_host.clock import NS_PER_S
from sdv2_host.host.matte import matte_of, scaled
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.params import Params
from sdv2_host.types import AlphaMode, Frame, FrameMeta, Size

Picture = NDArray[np.uint8]

MAX_DRY_FRAMES = 120
MAX_DRY_BYTES = 128 * 1024 * 1024
STALE_NS = NS_PER_S
"""An input that is older than this is no live picture: panic shows black instead."""
MIXED_AT_ONCE = 1 << 16
"""Values: with their 16 bits they stay in the processor's cache, which takes an eighth of the time
at 512x512."""


class _Dry(NamedTuple):
    """An input picture."""

    number: int
    """In the input ring."""
    captured_ns: int
    at_ns: int
    """When it was offered."""
    picture: Picture

    def is_of(self, styled: FrameMeta) -> bool:
        """Whether `styled` was made from it. Its number alone does not tell: another source begins
        at 1 again."""
        is_numbered = self.number == styled.source_frame
        return is_numbered and self.captured_ns == styled.source_capture_ts_ns


@dataclass(slots=True)
class Fade:
    """A level from 0 to 1 on its way to `goal`, at a steady speed: all of it takes `seconds`."""

    goal: float = 0.0
    seconds: float = 0.0
    _level: float = 0.0
    _level_ns: int = 0

    def level(self, now: int) -> float:
        if self.seconds <= 0:
            return self.goal
        step = (now - self._level_ns) / (self.seconds * NS_PER_S)
        if self.goal > self._level:
            return min(self.goal, self._level + step)
        return max(self.goal, self._level - step)

    def go(self, goal: float, seconds: float, now: int) -> None:
        """From where it is now."""
        self._level, self._level_ns = self.level(now), now
        self.goal, self.seconds = goal, seconds

    def cut(self) -> None:
        """It is at its goal."""
        self._level = self.goal


@dataclass(slots=True)
class OutputMix:
    """Fields, per process: the parameters that it follows; whether the model's pictures are
    missing; the fades to the safe picture and back, of a panic and of what is missing; the last
    input frames while they are needed; the one that the mixture on the output was made of; the
    picture that a panic holds; the picture that was composed last; whether the look changed
    since."""

    params: Params
    is_changed: bool = False
    is_missing: bool = False
    keeps_past: bool = False
    """Pictures of older input frames than was shown may come: another worker takes over, whose
    pictures are later."""
    _panic: Fade = field(default_factory=Fade)
    _gap: Fade = field(default_factory=Fade)
    _dry: deque[_Dry] = field(default_factory=deque)
    _beside: _Dry | None = None
    _kept: Picture | None = None
    _last: Picture | None = None

    def __post_init__(self) -> None:
        self._panic = Fade(float(self.params.panicked), self.params.panic_s)

    def play(self, params: Params, now: int) -> None:
        """The output looks like this from the next picture on."""
        self.is_changed |= _look(params) != _look(self.params)
        self._aim(params, self.is_missing, now)

    def miss(self, is_missing: bool, now: int) -> None:
        """The model's pictures are missing: the safe one is shown until they are not."""
        if is_missing != self.is_missing:
            self.is_changed = True
            self._aim(self.params, is_missing, now)

    def _aim(self, params: Params, is_missing: bool, now: int) -> None:
        """The safe picture fades in or out, from where it is."""
        was_safe = self.params.panicked or self.is_missing or self.safe_level(now) > 0
        if (params.panicked or is_missing) and not was_safe:
            self._kept = self._last
        self._panic.go(float(params.panicked), params.panic_s, now)
        self._gap.go(float(is_missing), params.panic_s, now)
        self.params, self.is_missing = params, is_missing

    def safe_level(self, now: int) -> float:
        """0 = the styled picture, 1 = the safe one."""
        return max(self._panic.level(now), self._gap.level(now))

    def is_fading(self, now: int) -> bool:
        return self.safe_level(now) != max(self._panic.goal, self._gap.goal)

    def needs_dry(self, now: int) -> bool:
        """Input frames shall be offered: reading them costs a copy each."""
        shows_input = self.params.safe == "input" and self.safe_level(now) > 0
        will_show = self.params.panicked or self.is_missing
        return self.params.mix < 1 or shows_input or will_show

    def offer(self, frame: Frame, size: Size, now: int) -> None:
        """The newest frame of the input, for pictures of this size."""
        if self._dry and frame.meta.frame <= self._dry[-1].number:  # another source
            self._dry.clear()
        picture = fitted(frame, size)
        self._dry.append(_Dry(frame.meta.frame, frame.meta.captured_ns, now, picture))
        most = max(1, MAX_DRY_BYTES // picture.nbytes)
        has_past = self.params.mix < 1 or frame.is_lockstep  # whose pictures are still to come
        most = min(MAX_DRY_FRAMES, most) if has_past else 1
        while len(self._dry) > most:
            self._dry.popleft()
        if self.params.safe == "input" and self.safe_level(now) > 0:
            self.is_changed = True

    def has_dry_of(self, styled: FrameMeta) -> bool:
        """The input frame that this one was made from was offered, and is still there."""
        return self._dry_of(styled) is not None

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
        if styled.is_lockstep and not self.is_missing:
            self._gap.cut()  # a render's frames are what they are, from the first on
        level = self.safe_level(now)
        picture: Picture = styled.pixels
        if self.params.mix < 1 and level < 1 and not self.params.blackout:
            dry = self._aligned(styled)
            picture = mixed(dry, picture, self.params.mix) if dry is not None else picture
        if level > 0 and not self.params.blackout:
            picture = mixed(picture, self._safe(styled, now), level)
        if self.params.blackout:
            picture = black(picture)
        self._last = picture
        return picture

    def _aligned(self, styled: Frame) -> Picture | None:
        """The input frame that the styled one was made from; None = it was not read.

        After the mix left 1 that is so for as long as a frame takes through the host, and for a
        picture that is held until it moves again: the styled picture alone is shown until then.
        """
        if self._beside is None or not self._beside.is_of(styled.meta):
            dry = self._dry_of(styled.meta)
            if dry is None:
                return None
            self._beside = dry
            while not self.keeps_past and self._dry[0] is not dry:
                self._dry.popleft()
        return resized(self._beside.picture, _size(styled.pixels), styled.meta.alpha)

    def _safe(self, styled: Frame, now: int) -> Picture:
        size, alpha = _size(styled.pixels), styled.meta.alpha
        if self.params.safe == "hold" and self._kept is not None:
            return resized(self._kept, size, alpha)
        is_live = bool(self._dry) and now - self._dry[-1].at_ns < STALE_NS
        if self.params.safe == "input" and is_live:
            return resized(self._live(styled), size, alpha)
        return black(styled.pixels)

    def _live(self, styled: Frame) -> Picture:
        """The newest input; behind a lock-step frame its own."""
        own = self._dry_of(styled.meta) if styled.is_lockstep else None
        return (own or self._dry[-1]).picture

    def _dry_of(self, styled: FrameMeta) -> _Dry | None:
        """The input frame that this one was made from, if it is there."""
        return next((dry for dry in self._dry if dry.is_of(styled)), None)


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
    made: Picture = np.empty_like(first)
    num_rows = max(1, MIXED_AT_ONCE // max(1, first[0].size))
    scratch = np.empty((2, num_rows, *first.shape[1:]), np.uint16)
    for begin in range(0, len(first), num_rows):
        rows = slice(begin, begin + num_rows)
        total, other = scratch[:, : len(first[rows])]
        # 16 bits hold it: 255 * 256 + 128 < 65536.
        np.multiply(first[rows], np.uint16(256 - weight), out=total)
        np.multiply(second[rows], np.uint16(weight), out=other)
        total += other
        total += np.uint16(128)
        total >>= np.uint16(8)
        made[rows] = total
    return made


def fitted(frame: Frame, size: Size) -> Picture:
    """The frame as a picture of this size, cropped as the engine crops it: premultiplied where it
    has alpha, else opaque."""
    has_alpha = matte_of(frame) is not None
    alpha = frame.meta.alpha if has_alpha else AlphaMode.OPAQUE
    whole = to_rgba8(frame)
    picture = resized(premultiplied(whole) if alpha is AlphaMode.STRAIGHT else whole, size, alpha)
    if np.shares_memory(picture, frame.pixels):
        picture = picture.copy()
    if not has_alpha:
        picture[..., 3] = OPAQUE
    return picture


def resized(picture: Picture, size: Size, alpha: AlphaMode = AlphaMode.OPAQUE) -> Picture:
    """Of this size, cropped as the engine crops it; itself where it has the size. Without `alpha`
    a resized one is opaque, whatever the picture has there."""
    if _size(picture) == size:
        return picture
    made: Picture = np.empty((size.height, size.width, 4), np.uint8)
    made[..., :3] = scaled(picture[..., :3], size)
    made[..., 3] = OPAQUE if alpha is AlphaMode.OPAQUE else scaled(picture[..., 3], size)
    return made
