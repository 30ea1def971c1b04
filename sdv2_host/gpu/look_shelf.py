"""Looks: snapshots of the stream under names, in the memory of its device."""

from __future__ import annotations

from collections.abc import Iterator

from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.look_orders import MAX_LOOKS, LookOrder
from sdv2_host.stream.snapshot import restore_, snapshot, state_bytes
from sdv2_host.stream.state import StreamState

MIB = 1 << 20
MAX_BYTES = 8 << 30


class LookShelf:
    """Fields, per process: the looks by name; the newest order done; what was wrong with it."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.problem = ""
        """Why the newest order was not done, for a person; '' = it was."""
        self._max_bytes = max_bytes
        self._looks: dict[str, StreamState] = {}
        self._newest = 0

    def skip(self, orders: tuple[LookOrder, ...]) -> None:
        """These were for an engine before this one."""
        self._newest = max((order.serial for order in orders), default=0)

    def due(self, orders: tuple[LookOrder, ...]) -> Iterator[LookOrder]:
        """Orders not done yet, oldest first; each counts as done with the next one."""
        for order in orders:
            if order.serial > self._newest:
                self._newest = order.serial
                yield order

    def do_(self, order: LookOrder, state: StreamState) -> None:
        """The look is saved, recalled into `state`, or gone; or `problem` says why not."""
        self.problem = ""
        if order.verb == "save":
            self._save(order.name, state)
        elif order.name not in self._looks:
            known = f"there are {', '.join(self._looks)}" if self._looks else "there are none"
            self.problem = f"no look {order.name!r} in this engine's memory, {known}"
        elif order.verb == "recall":
            restore_(state, self._looks[order.name])
        else:
            del self._looks[order.name]

    def _save(self, name: str, state: StreamState) -> None:
        self._looks.pop(name, None)
        needed = state_bytes(state)
        held = sum(state_bytes(look) for look in self._looks.values())
        if held + needed > self._max_bytes or len(self._looks) >= MAX_LOOKS:
            self.problem = (
                f"look {name!r} needs {needed / MIB:.0f} MiB beside {len(self._looks)} looks of "
                f"{held / MIB:.0f}, allowed are {MAX_LOOKS} of {self._max_bytes / MIB:.0f} in all: "
                "/sdv2/look/forget makes room"
            )
            return
        try:
            self._looks[name] = snapshot(state)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.problem = (
                f"look {name!r} needs {needed / MIB:.0f} MiB, which the device has not free: "
                "/sdv2/look/forget makes room"
            )
