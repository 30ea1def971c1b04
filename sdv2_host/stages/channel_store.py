"""Where the places of an epoch find each other's addresses: a store that the driver carries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from torch.distributed.distributed_c10d import Store

from sdv2_host.stages.transport import TransportError


class ChannelStore(Store):
    """What any place of the epoch has set. Lifetime: one epoch; for threads of any number.

    What is set here goes out by `publish`; whoever holds the channels hands it to the other places'
    `learn`. So the store needs no port, is as trusted as the channel, and a wait can be ended.
    Counting (`add`) would need an answer from the driver; process groups do not use it.

    torch asks the Python object by a plain pointer: keep it as long as a group that has it lives.
    """

    def __init__(self, publish: Callable[[str, bytes], None]) -> None:
        super().__init__()
        self._publish = publish
        self._changed = threading.Condition()
        self._values: dict[str, bytes] = {}
        self._is_cancelled = False

    def set(self, key: str, value: str | bytes) -> None:
        raw = value.encode() if isinstance(value, str) else value
        self.learn(key, raw)
        self._publish(key, raw)

    def get(self, key: str) -> bytes:
        """Waits for it.

        Raises:
            TransportError: cancelled, before or meanwhile.
        """
        with self._changed:
            self._wait([key], deadline=None)
            return self._values[key]

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """All of these can be got without waiting.

        Raises:
            TransportError: cancelled, or not all were set in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
        with self._changed:
            self._wait(keys, deadline)

    def check(self, keys: list[str]) -> bool:
        """Whether all of these are set."""
        with self._changed:
            return all(key in self._values for key in keys)

    def learn(self, key: str, value: bytes) -> None:
        """Another place has set this."""
        with self._changed:
            self._values[key] = value
            self._changed.notify_all()

    def cancel(self) -> None:
        """Every wait, now and later, ends with a TransportError: the epoch is over."""
        with self._changed:
            self._is_cancelled = True
            self._changed.notify_all()

    def _wait(self, keys: list[str], deadline: float | None) -> None:
        while not self._is_cancelled:
            missing = [key for key in keys if key not in self._values]
            if not missing:
                return
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise TransportError(f"no place has set {', '.join(missing)} in time")
            self._changed.wait(left_s)
        raise TransportError("the epoch is over")
