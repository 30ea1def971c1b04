"""The show's laws: one clip comes again and again, nothing else ever does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.bench.hour_resets import reset_chunks
from sdv2_host.bench.hour_show import (
    ANCHOR_CHUNKS,
    ANCHOR_LOOK,
    MINUTE_CHUNKS,
    STRETCH_CHUNKS,
    Show,
    Stretches,
)
from sdv2_host.bench.styles import STYLES
from sdv2_host.types import Size

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = Size(64, 64)
HOUR = Show(60 * MINUTE_CHUNKS, SIZE)

BEGINNING = Show(82, SIZE)
"""Three glances, two anchors and a part of one."""


@pytest.fixture(scope="module")
def beginning() -> list[NDArray[np.uint8]]:
    """The pixels of each chunk."""
    return [shown.pixels_THW4 for shown in BEGINNING.chunks()]


def test_no_part_of_a_scene_comes_twice_in_an_hour() -> None:
    moments = [HOUR.moment(chunk) for chunk in range(HOUR.num_chunks)]
    parts = [(m.scene, m.scene_chunk) for m in moments if m.anchor_chunk is None]

    assert len(parts) == len(set(parts)) > 23_000


def test_no_picture_of_one_scene_is_in_another(beginning: list[NDArray[np.uint8]]) -> None:
    scenes: dict[int | None, set[bytes]] = {}
    for chunk, pixels in enumerate(beginning):
        moment = BEGINNING.moment(chunk)
        key = moment.scene if moment.anchor_chunk is None else None
        scenes.setdefault(key, set()).update(frame.tobytes() for frame in pixels)

    assert len(scenes) == 4
    assert len(set.union(*scenes.values())) == sum(map(len, scenes.values()))


def test_every_anchor_is_the_same_clip_in_the_same_look(
    beginning: list[NDArray[np.uint8]],
) -> None:
    clips = [np.concatenate(beginning[at : at + ANCHOR_CHUNKS]) for at in BEGINNING.anchors()]

    assert len(clips) == 2
    assert np.array_equal(*clips)
    assert {HOUR.moment(at + 8).style for at in HOUR.anchors()} == {ANCHOR_LOOK}


def test_a_scene_goes_on_where_a_stretch_of_it_ends() -> None:
    scene = Stretches(SIZE)
    chunks = [scene.frames(3, chunk) for chunk in range(STRETCH_CHUNKS - 4, STRETCH_CHUNKS + 4)]

    steps = [
        float(np.abs(after[0].astype(float) - before[-1]).mean())
        for before, after in itertools.pairwise(chunks)
    ]

    other = np.abs(scene.frames(4, 0)[0].astype(float) - chunks[-1][-1]).mean()
    assert max(steps) < other / 3
    assert steps[3] <= 2 * steps[0]


def test_the_first_chunk_is_one_frame_and_later_ones_are_four(
    beginning: list[NDArray[np.uint8]],
) -> None:
    assert [len(pixels) for pixels in beginning] == [1] + [4] * 81


def test_a_shorter_show_is_the_beginning_of_a_longer_one(
    beginning: list[NDArray[np.uint8]],
) -> None:
    short = [shown.pixels_THW4 for shown in Show(50, SIZE).chunks()]

    assert all(np.array_equal(a, b) for a, b in zip(short, beginning[:50], strict=True))


def test_all_looks_come_in_turn_and_every_anchor_follows_another_look() -> None:
    looks = {HOUR.moment(chunk).style for chunk in HOUR.changes()}

    assert looks == set(STYLES)
    assert all(HOUR.moment(anchor).has_new_look for anchor in HOUR.anchors())


def test_a_show_that_keeps_its_look_never_changes_it_and_shows_the_same() -> None:
    kept = Show(HOUR.num_chunks, SIZE, keeps_look=True)

    assert kept.changes() == []
    assert kept.anchors() == HOUR.anchors()


def test_resets_come_upon_every_part_of_a_minute() -> None:
    chunks = np.flatnonzero(reset_chunks(46 * MINUTE_CHUNKS))

    assert {int(chunk) % MINUTE_CHUNKS for chunk in chunks} == set(range(MINUTE_CHUNKS))
