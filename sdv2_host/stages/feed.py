"""Chunks on their way through the ring, so that another ring can be fed what this one owes.

A chunk that is given is *owed* until its pictures have come. Some more of the past are kept: a new
epoch begins with one frame and then the past, whose pictures are known already and dropped, so
that the stream looks back on what it would have looked back on. In each epoch chunks are fed in
order and their pictures come in order; no picture comes twice.

Pure: no thread, no clock, no socket.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, Self, TypeVar


class Feedable(Protocol):
    """What a stream is made of."""

    def opening(self) -> Self:
        """A chunk of its last frame alone, which a stream can begin with."""


C = TypeVar("C", bound=Feedable)


class Feed(Generic[C]):
    """The chunks of a session: owed ones and the newest before them. Numbered from 0 in it.

    Fields: `_kept` the newest chunks, oldest first; `_next` number of the next to be given, `_owed`
    of the oldest whose pictures have not come. Per epoch: `_first` number of the chunk that it is
    fed first, of which it gets the opening unless it is the session's first; `_num_fed` and
    `_num_come` chunks.
    """

    def __init__(self, num_replayed: int) -> None:
        """Chunks of the past that a new epoch is fed again."""
        self._num_replayed = num_replayed
        self._kept: deque[C] = deque()
        self._next = 0
        self._owed = 0
        self._first = 0
        self._num_fed = 0
        self._num_come = 0

    @property
    def num_owed(self) -> int:
        """Chunks given whose pictures have not come."""
        return self._next - self._owed

    @property
    def num_in_flight(self) -> int:
        """Chunks that are in the ring now, those of the past included."""
        return self._num_fed - self._num_come

    @property
    def chunks(self) -> list[C]:
        """All that may be fed again."""
        return list(self._kept)

    def give(self, chunk: C) -> None:
        """It is owed from now on."""
        self._kept.append(chunk)
        self._next += 1

    def restart(self) -> None:
        """The next chunk is the first of a session; what is owed is forgotten."""
        self._kept.clear()
        self._next = self._owed = 0
        self.begin()

    def begin(self) -> None:
        """The ring is empty: it is fed anew, with as much of the past as is kept."""
        self._first = self._next - len(self._kept)
        self._num_fed = self._num_come = 0

    def due(self, most_in_flight: int) -> list[C]:
        """What is to be fed now, in order; it counts as in flight from here on."""
        due = []
        while self.num_in_flight < most_in_flight and self._first + self._num_fed < self._next:
            due.append(self._fed_as(self._num_fed))
            self._num_fed += 1
        return due

    def awaited(self, index: int) -> C:
        """Chunk `index` of the epoch as it was fed; its pictures have not all come.

        Raises:
            ValueError: it is none of those in flight.
        """
        if not self._num_come <= index < self._num_fed:
            raise ValueError(
                f"chunk {index} came, expected one from {self._num_come} on, of {self._num_fed}"
            )
        return self._fed_as(index)

    def came(self) -> C | None:
        """The oldest chunk in flight is done: what was given, if it is owed."""
        index = self._num_come
        self._num_come += 1
        number = self._first + index
        if number != self._owed:
            return None
        chunk = self._chunk(number)
        self._owed += 1
        # One more than is fed again: the opening is its last frame.
        while self._owed - (self._next - len(self._kept)) > self._num_replayed + 1:
            self._kept.popleft()
        return chunk

    def _fed_as(self, index: int) -> C:
        """Chunk `index` of the epoch."""
        chunk = self._chunk(self._first + index)
        return chunk.opening() if index == 0 and self._first > 0 else chunk

    def _chunk(self, number: int) -> C:
        return self._kept[number - self._next]
