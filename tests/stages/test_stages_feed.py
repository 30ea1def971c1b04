"""However often the ring is lost: every chunk's pictures come once, in order, after their past."""

from __future__ import annotations

from typing import NamedTuple, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.stages.feed import Feed


class Toy(NamedTuple):
    frames: tuple[int, ...]

    def opening(self) -> Self:
        return self._replace(frames=self.frames[-1:])


def toys(count: int) -> list[Toy]:
    """A session: 1 frame, then 4 at a time."""
    return [Toy((0,)), *(Toy(tuple(range(4 * n - 3, 4 * n + 1))) for n in range(1, count))]


class NaiveRing:
    """Holds what it is fed; says for each chunk which frames the stream had seen until then."""

    def __init__(self) -> None:
        self.fed: list[Toy] = []
        self.num_done = 0

    def feed(self, chunks: list[Toy]) -> None:
        self.fed += chunks

    def history(self) -> list[int]:
        return [frame for chunk in self.fed[: self.num_done] for frame in chunk.frames]


Happening = st.sampled_from(["give", "feed", "come", "come", "lost", "feed"])


@settings(max_examples=300)
@given(
    happenings=st.lists(Happening, max_size=80),
    num_replayed=st.integers(0, 4),
    most=st.integers(1, 5),
)
def test_every_chunk_comes_once_in_order_and_after_its_past(
    happenings: list[str], num_replayed: int, most: int
) -> None:
    feed: Feed[Toy] = Feed(num_replayed)
    ring, session = NaiveRing(), toys(81)
    num_given, shown = 0, []

    for happening in [*happenings, *["feed", "come"] * 100]:
        if happening == "give":
            feed.give(session[num_given])
            num_given += 1
        if happening == "feed":
            ring.feed(feed.due(most))
        if happening == "come" and ring.num_done < len(ring.fed):
            assert feed.awaited(ring.num_done) == ring.fed[ring.num_done]
            ring.num_done += 1
            chunk = feed.came()
            if chunk is not None:
                shown.append(chunk)
                expected = [f for one in session[: len(shown)] for f in one.frames]
                past = 1 + sum(len(one.frames) for one in shown[-num_replayed - 1 :][:-1])
                assert ring.history()[-past:] == expected[-past:] or num_replayed == 0
                assert ring.history() == expected[-len(ring.history()) :]
        if happening == "lost":
            feed.begin()
            ring = NaiveRing()
        assert feed.num_in_flight <= most
        assert feed.num_owed == num_given - len(shown)
        assert len(feed.chunks) <= feed.num_owed + num_replayed + 1

    assert shown == session[:num_given]


def test_a_ring_that_is_lost_is_fed_one_frame_and_then_the_past() -> None:
    feed: Feed[Toy] = Feed(2)
    for chunk in toys(7):
        feed.give(chunk)
    for _ in feed.due(6):
        feed.came()

    feed.begin()

    assert [chunk.frames for chunk in feed.due(9)] == [
        (12,),
        (13, 14, 15, 16),
        (17, 18, 19, 20),
        (21, 22, 23, 24),
    ]
    assert [feed.came() for _ in range(3)] == [None, None, None]
    assert feed.came() == toys(7)[6]


def test_pictures_of_chunks_that_are_not_in_flight_are_refused() -> None:
    feed: Feed[Toy] = Feed(2)
    for chunk in toys(3):
        feed.give(chunk)
    feed.due(2)

    assert [feed.awaited(index) for index in (0, 1)] == toys(2)
    with pytest.raises(ValueError, match="chunk 2 came, expected one from 0 on, of 2"):
        feed.awaited(2)
    feed.came()
    with pytest.raises(ValueError, match="chunk 0 came, expected one from 1 on, of 2"):
        feed.awaited(0)


def test_a_session_that_begins_owes_nothing_of_the_one_before() -> None:
    feed: Feed[Toy] = Feed(2)
    for chunk in toys(3):
        feed.give(chunk)
    feed.due(2)

    feed.restart()
    feed.give(toys(1)[0])

    assert feed.due(5) == toys(1)
    assert feed.came() == toys(1)[0]
    assert feed.num_owed == 0
