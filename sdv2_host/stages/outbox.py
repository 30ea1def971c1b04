"""Pictures on their way from the driver's thread to the engine's."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.errors import HostError


class Styled(NamedTuple):
    """One chunk, done."""

    pixels: NDArray[np.uint8]
    """[T, H, W, 4]."""
    notes: dict[str, float]


class Outbox:
    """What has come and was not taken yet, and how much is still owed. For two threads.

    Fields, per session: `_styled`, `_num_owed` chunks; per engine: `_session` its number,
    `_failure` why no picture comes any more.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._styled: list[Styled] = []
        self._num_owed = 0
        self._session = 0
        self._failure: HostError | None = None

    def begin_session(self) -> int:
        """Nothing is owed; pictures of sessions before are not taken in any more. Its number."""
        with self._changed:
            self._styled.clear()
            self._num_owed = 0
            self._session += 1
            return self._session

    def owe(self) -> None:
        """One chunk more."""
        with self._changed:
            self._num_owed += 1

    def put(self, session: int, styled: Styled) -> None:
        """The oldest chunk that is owed has come."""
        with self._changed:
            if session == self._session:
                self._styled.append(styled)
                self._num_owed -= 1
                self._changed.notify_all()

    def fail(self, failure: HostError) -> None:
        """No picture comes any more."""
        with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()

    def check(self) -> None:
        """
        Raises:
            HostError: what `fail` was told.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure

    def take(self, most_owed: int) -> list[Styled]:
        """What has come, oldest first; waits until no more than that is owed.

        Raises:
            HostError: what `fail` was told.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._num_owed <= most_owed)
            if self._failure is not None:
                raise self._failure
            styled, self._styled = self._styled, []
            return styled
