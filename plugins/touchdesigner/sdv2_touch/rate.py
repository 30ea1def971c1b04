"""Rate: events per second, over the last second or so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 1.0


@dataclass(slots=True)
class Rate:
    """Fields, per activation: when the window began, what it counted, what the last one gave."""

    clock_s: Callable[[], float]
    _begin_s: float = 0.0
    _num: int = 0
    _per_s: float = 0.0

    def count(self) -> None:
        """One more happened now."""
        self._num += 1

    def per_s(self) -> float:
        """Asked a few times a second."""
        now_s = self.clock_s()
        if now_s - self._begin_s >= WINDOW_S:
            self._per_s = self._num / (now_s - self._begin_s)
            self._begin_s, self._num = now_s, 0
        return round(self._per_s, 1)
