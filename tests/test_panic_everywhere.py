"""Panic, from every control path, whatever the worker does: the next output frame but one at most.

Counted in frames of the output ring and not in milliseconds: while the host tells its surfaces that
panic is on, one picture may be on its way to the ring; every later one is the safe one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.panic_room import PATHS, WORKERS, PanicRoom, panic_room


@pytest.fixture(scope="module", params=WORKERS, ids=lambda worker: worker.__name__)
def room(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PanicRoom]:
    """A host whose worker does this."""
    with panic_room(tmp_path_factory.mktemp("data")) as made:
        request.param(made)
        yield made


@pytest.mark.parametrize("press", PATHS, ids=lambda press: press.__name__)
def test_panic_is_the_next_frame_but_one_at_most(
    room: PanicRoom, press: Callable[[PanicRoom], None]
) -> None:
    room.calm()

    press(room)

    room.until(lambda: room.told_at is not None)
    assert room.told_at is not None
    on_its_way = room.told_at + 1
    room.until(lambda: room.seen and room.is_safe(room.seen[-1]))
    later = [frame for frame in room.seen if frame.meta.frame > on_its_way]
    assert all(room.is_safe(frame) for frame in later)
