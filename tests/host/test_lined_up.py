"""Wet and dry line up: every mixture is of a picture and of the input frame that it was made from.

Whatever frames an engine leaves out, however late a batch makes its pictures, and while another
engine takes over. On a simulated clock; the mixture of one number with another one's input would
be of another level.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.host.output_mix import OutputMix, Picture
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta
from tests.host.test_handover import CHUNK, INTERVAL_MS, MS, NEXT, OLD, SMALL, Output, Worker

LAST = 60
LATENESS_MS = st.integers(1, 1000)
"""The latest are those of a batch of four steps, which are six chunks late."""
LEFT_OUT = st.sets(st.integers(1, LAST), max_size=LAST // 2)


def input_of(number: int) -> Picture:
    """One level, which no neighbour has."""
    return np.full((SMALL.height, SMALL.width, 4), (number * 6) % 252, np.uint8)


def naive(wet: Picture, dry: Picture) -> Picture:
    """Half of each, opaque."""
    half = (wet.astype(np.float64) + dry.astype(np.float64)) / 2
    half[..., 3] = 255
    return np.floor(half + 0.5).astype(np.uint8)


@dataclass
class LinedUp:
    """An output half wet and half dry. Fields: what was mixed of what."""

    output: Output
    mix: OutputMix = field(default_factory=lambda: OutputMix(Params(mix=0.5)))
    mixtures: list[tuple[Frame, Picture]] = field(default_factory=list)

    def read(self, number: int) -> None:
        """An input frame, as soon as it is captured."""
        at_ns = number * INTERVAL_MS * MS
        meta = FrameMeta(*SMALL, frame=number, capture_ts_ns=at_ns)
        self.mix.offer(Frame(meta, input_of(number)), SMALL, at_ns)

    def look(self, at_ms: int) -> None:
        output = self.output
        num_shown = len(output.shown)
        output.look(at_ms)
        is_handing_over = output.handover is not None and not output.is_done
        self.mix.keeps_past = is_handing_over or output.playout.is_catching_up
        for _, _, frame in self.output.shown[num_shown:]:
            self.mixtures.append((frame, self.mix.compose(frame, at_ms * MS)))


def play(lined_up: LinedUp, old: Worker, following: Worker, left_out: Collection[int]) -> None:
    """The source, both workers and the output, every 5 ms; the next worker is ready in time."""
    output = lined_up.output
    ways = [(list(old.chunks(LAST)), output.old), (list(following.chunks(LAST)), output.next)]
    for at_ms in range(INTERVAL_MS, (LAST - CHUNK) * INTERVAL_MS + 1000, 5):
        if at_ms % INTERVAL_MS == 0:
            lined_up.read(at_ms // INTERVAL_MS)
        if output.handover is None and at_ms >= following.first * INTERVAL_MS:
            output.begin(at_ms)
        for chunks, offer in ways:
            while chunks and chunks[0][0] <= at_ms:
                frames = chunks.pop(0)[1]
                offer([f for f in frames if f.meta.source_frame not in left_out])
        lined_up.look(at_ms)


@settings(max_examples=40)
@given(LATENESS_MS, LATENESS_MS, LEFT_OUT, st.integers(10, 40), st.sampled_from([0.0, 0.4]))
def test_every_mixture_is_of_a_picture_and_its_own_input(
    old_ms: int, next_ms: int, left_out: set[int], first: int, fade_s: float
) -> None:
    lined_up = LinedUp(Output(fade_s))

    play(lined_up, Worker(OLD, 1, old_ms), Worker(NEXT, first, next_ms), left_out)

    assert lined_up.mixtures
    for frame, picture in lined_up.mixtures:
        expected = naive(frame.pixels, input_of(frame.meta.source_frame))
        np.testing.assert_array_equal(picture[..., :3], expected[..., :3])


def test_the_law_sees_an_input_that_is_one_frame_off() -> None:
    wet = np.full((SMALL.height, SMALL.width, 4), OLD, np.uint8)
    mixtures = [int(naive(wet, input_of(number))[0, 0, 0]) for number in range(1, LAST)]

    assert all(a != b for a, b in pairwise(mixtures))
