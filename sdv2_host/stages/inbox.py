"""News on their way to the driver's thread from all others."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S, now_ns

STILL_S = 0.3
"""Beyond what was waited for: well below the silence of a rank that has died."""

News = Callable[[], None]


class Turn(NamedTuple):
    news: News | None
    """None = there are none, and it is time."""
    stood_still: bool
    """This process, since the turn before: a machine that was busy, or a person who stopped it.
    What others said meanwhile may not have been read."""


class Inbox:
    """Calls, in the order in which they were put. Any thread puts, one takes.

    Fields: `_turned_ns` when it last looked for news.
    """

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._turned_ns = now_ns()

    def put(self, news: News) -> None:
        self._news.put(news)

    def turn(self, due_ns: int) -> Turn:
        """The next news, as soon as there are any; none once it is time and all are heard."""
        wait_s = max(0.0, (due_ns - now_ns()) / NS_PER_S)
        news: News | None = None
        with contextlib.suppress(queue.Empty):
            news = self._news.get(timeout=wait_s)
        turned_ns, self._turned_ns = self._turned_ns, now_ns()
        return Turn(news, self._turned_ns - turned_ns > (wait_s + STILL_S) * NS_PER_S)
