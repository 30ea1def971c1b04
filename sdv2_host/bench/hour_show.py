"""What `bench hour` streams: looks in turn, scenes that never come again, and one that always does.

Twice a minute comes the anchor: the same clip in the same look, so that what it looks like can be
compared over the hour. Then scene follows scene, each of a seed of its own, calm and fast by turns;
in the midst of the first after an anchor another look comes. The first minute is full of anchors,
with a glance at another scene in another look before each, as before the later ones: how much they
differ there is the noise that those are held against.

# T frames   H W size in px
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.held_out import (
    FIRST_HELD_OUT_SEED,
    FPS,
    START_S,
    as_seen,
)
from sdv2_host.bench.styles import STYLES
from sdv2_host.bench.world import Scene
from sdv2_host.types import Size

CHUNK_FRAMES = 4
MINUTE_CHUNKS = 451
"""60.1 s. 451 and the 45 chunks from one RoPE reset to the next have no common factor, so resets
come upon every part of a minute."""
ANCHOR_CHUNKS = 24
"""3.2 s."""
ANCHOR_STARTS = (0, 226)
"""Chunks of a minute."""
SCENE_STARTS = (24, 125, 250, 350)
NEW_LOOKS_AT = (39, 265)
"""Two seconds into a scene."""
GLANCE_CHUNKS = 10
"""Before each anchor of the first minute: longer than the window, and 10 + 24 anchor chunks have
no common factor with 45 either."""
ANCHORS_AT_FIRST = MINUTE_CHUNKS // (GLANCE_CHUNKS + ANCHOR_CHUNKS)
ANCHOR_LOOK = "watercolor"
ANCHOR_SEED = 9_500_000
SCENE_SEED = FIRST_HELD_OUT_SEED + 600_000
SPEEDS_UNITS_S = (40.0, 120.0, 240.0, 80.0, 160.0, 20.0, 320.0)
"""Of the scenes in turn; a unit is 1/256 of the picture's height."""
PACES = (1.0, 0.15, 1.5)
"""Of the stretches of a scene in turn: usual, calm, fast."""
STRETCH_CHUNKS = 17


class Moment(NamedTuple):
    """Where in the show a chunk is."""

    style: str
    is_cut: bool
    """The source shows another scene than in the chunk before."""
    has_new_look: bool
    anchor_chunk: int | None
    """Of the anchor clip; None = another scene."""
    scene: int
    """Number of that other scene in the show."""
    scene_chunk: int


class Shown(NamedTuple):
    """A chunk of the show."""

    moment: Moment
    pixels_THW4: NDArray[np.uint8]
    """Four frames, of a session's first chunk the last alone."""


@dataclass(frozen=True, slots=True)
class Show:
    """Chunk by chunk what is seen and in which look; pure in the chunk's number."""

    num_chunks: int
    size: Size
    keeps_look: bool = False
    """The anchors' look all the time."""

    @property
    def looks(self) -> tuple[str, ...]:
        """That come in turn."""
        return tuple(name for name in STYLES if name != ANCHOR_LOOK)

    def moment(self, chunk: int) -> Moment:
        """What a chunk shows."""
        now = self._moment(chunk)
        if chunk == 0:
            return now
        before = self._moment(chunk - 1)
        is_cut = (now.scene, now.anchor_chunk is None) != (
            before.scene,
            before.anchor_chunk is None,
        )
        return now._replace(is_cut=is_cut, has_new_look=now.style != before.style)

    def _moment(self, chunk: int) -> Moment:
        """Without regard to the chunk before."""
        minute, place = divmod(chunk, MINUTE_CHUNKS)
        if minute == 0:
            return self._first_minute(place)
        half = int(place >= ANCHOR_STARTS[1])
        if place < ANCHOR_STARTS[half] + ANCHOR_CHUNKS:
            return Moment(ANCHOR_LOOK, False, False, place - ANCHOR_STARTS[half], 0, 0)
        number = sum(place >= start for start in SCENE_STARTS) - 1
        look = self._look(2 * minute + half) if place >= NEW_LOOKS_AT[half] else ANCHOR_LOOK
        scene = ANCHORS_AT_FIRST + 1 + (minute - 1) * len(SCENE_STARTS) + number
        return Moment(look, False, False, None, scene, place - SCENE_STARTS[number])

    def _first_minute(self, place: int) -> Moment:
        """The chunks that are left over at its end are another glance."""
        glance, within = divmod(place, GLANCE_CHUNKS + ANCHOR_CHUNKS)
        if within < GLANCE_CHUNKS:
            return Moment(self._look(glance), False, False, None, glance, within)
        return Moment(ANCHOR_LOOK, False, False, within - GLANCE_CHUNKS, 0, 0)

    def _look(self, number: int) -> str:
        return ANCHOR_LOOK if self.keeps_look else self.looks[number % len(self.looks)]

    def chunks(self) -> Iterator[Shown]:
        """The whole show, a stretch rendered at a time."""
        anchor_THW4 = _anchor(self.size)
        scene = Stretches(self.size)
        for chunk in range(self.num_chunks):
            moment = self.moment(chunk)
            if moment.anchor_chunk is not None:
                begin = moment.anchor_chunk * CHUNK_FRAMES
                frames_THW4 = anchor_THW4[begin : begin + CHUNK_FRAMES]
            else:
                frames_THW4 = scene.frames(moment.scene, moment.scene_chunk)
            yield Shown(moment, frames_THW4 if chunk else frames_THW4[-1:])

    def changes(self) -> list[int]:
        """Chunks that come in another look than the chunk before."""
        return [chunk for chunk in range(self.num_chunks) if self.moment(chunk).has_new_look]

    def anchors(self) -> list[int]:
        """First chunks of the anchors that are shown whole."""
        last = self.num_chunks - ANCHOR_CHUNKS
        return [chunk for chunk in range(last + 1) if self.moment(chunk).anchor_chunk == 0]


class Stretches:
    """The stretch of a scene that is being shown, rendered."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._of: tuple[int, int] | None = None
        self._pixels_THW4 = np.empty((0, size.height, size.width, 4), np.uint8)
        self._scene = Scene.random(SCENE_SEED)

    def frames(self, scene: int, chunk: int) -> NDArray[np.uint8]:
        """The four frames of a chunk."""
        stretch, place = divmod(chunk, STRETCH_CHUNKS)
        if self._of is None or self._of[0] != scene:
            speed = SPEEDS_UNITS_S[scene % len(SPEEDS_UNITS_S)]
            self._scene = Scene.random(SCENE_SEED + scene, speed=speed)
        if self._of != (scene, stretch):
            self._of = (scene, stretch)
            self._pixels_THW4 = self._render(stretch)
        begin = place * CHUNK_FRAMES
        return self._pixels_THW4[begin : begin + CHUNK_FRAMES]

    def _render(self, stretch: int) -> NDArray[np.uint8]:
        num_frames = STRETCH_CHUNKS * CHUNK_FRAMES
        paces = [PACES[index % len(PACES)] for index in range(stretch + 1)]
        start_s = START_S + sum(paces[:-1]) * num_frames / FPS
        return _pixels(self._scene, self._size, num_frames, start_s, paces[-1])


def _anchor(size: Size) -> NDArray[np.uint8]:
    """Usual, calm and fast motion."""
    scene = Scene.random(ANCHOR_SEED, num_layers=6, speed=120.0)
    third = ANCHOR_CHUNKS * CHUNK_FRAMES // len(PACES)
    parts, start_s = [], START_S
    for pace in PACES:
        parts.append(_pixels(scene, size, third, start_s, pace))
        start_s += third * pace / FPS
    return np.concatenate(parts)


def _pixels(
    scene: Scene, size: Size, num_frames: int, start_s: float, pace: float
) -> NDArray[np.uint8]:
    """Frames of a scene in which time runs at a pace."""
    clip = scene.render(num_frames, size.height, size.width, start=start_s, fps=FPS / pace)
    return as_seen(clip, 0, 0.0).pixels_THW4
