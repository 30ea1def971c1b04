"""Panic, from every control path, whatever the worker does: the next output frame but one at most.

Counted in frames of the output ring and not in milliseconds: while the host tells its surfaces that
panic is on, one picture may be on its way to the ring; every later one is the safe one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdv2_host.bench.end_process import kill_at_once
from tests.host.live_host import QUICK
from tests.panic_paths import PATHS, osc
from tests.panic_room import WORKERS, PanicRoom, is_black, panic_room, working


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

    room.check_next_frame()


AFTERWARDS: tuple[tuple[str, tuple[str | float, ...]], ...] = (
    ("preset_load", ("look",)),
    ("preset_next", ()),
    ("cue_go", ("2",)),
    ("seed_randomise", ()),
    ("prompt_transition", ("neon", 0.1)),
    ("tap", ()),
    ("output_size", (128, 64)),
)


def test_nothing_but_resume_ends_a_panic(tmp_path: Path) -> None:
    with panic_room(tmp_path / "data", QUICK) as room:
        working(room)
        first_pid = room.worker_pid()
        room.call("preset_save", "look")
        room.call("cues_load", "alarm")
        osc(room)
        room.until(lambda: room.told_at is not None)
        on_its_way = (room.told_at or 0) + 1

        for action, args in AFTERWARDS:
            room.call(action, *args)
        room.set(mix=0.3, freeze=True, blackout=True)
        room.set(freeze=False, blackout=False)
        room.until(lambda: room.stage.daemon.snapshot().worker_pid not in (None, first_pid))
        kill_at_once(room.worker_pid())
        room.until(lambda: room.stage.daemon.snapshot().worker_restarts == 1)
        room.end_source()
        room.begin_source()
        num_fresh = len(room.stage.fresh)
        room.until(lambda: len(room.stage.fresh) > num_fresh + 20)
        held = [frame for frame in room.seen if frame.meta.frame > on_its_way]
        room.until(lambda: room.is_kept)

        assert len(held) > 20
        assert all(is_black(frame) for frame in held)
        room.call("resume")
        room.until(lambda: not is_black(room.seen[-1]))
        room.until(lambda: not room.is_kept)
