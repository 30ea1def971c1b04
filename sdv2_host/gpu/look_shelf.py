"""Looks: snapshots of the stream under names, in the memory of its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.look_orders import MAX_LOOKS, LookOrder
from sdv2_host.stream.snapshot import restore_, snapshot, state_bytes
from sdv2_host.stream.state import StreamState

MIB = 1 << 20
MAX_BYTES = 8 << 30


class LookShelf:
    """Fields, per process: the looks by name; the newest order done; what was wrong with it."""

    def __init__(self, spare_bytes: Callable[[], int], max_bytes: int = MAX_BYTES) -> None:
        """`spare_bytes` says what the device can give and a step still has what it needs."""
        self.problem = ""
        """Why the newest order was not done, for a person; '' = it was."""
        self._spare_bytes = spare_bytes
        self._max_bytes = max_bytes
        self._looks: dict[str, StreamState] = {}
        self._newest = 0

    @property
    def serial(self) -> int:
        """Of the newest order done."""
        return self._newest

    @property
    def names(self) -> tuple[str, ...]:
        """Of all looks there are."""
        return tuple(self._looks)

    @property
    def states(self) -> tuple[StreamState, ...]:
        """The looks in the order of their names."""
        return tuple(self._looks.values())

    def put_back_(self, looks: dict[str, StreamState], serial: int) -> None:
        """These are the looks, and orders up to this one are done."""
        self._looks, self._newest, self.problem = looks, serial, ""

    def skip(self, orders: tuple[LookOrder, ...]) -> None:
        """These were for an engine before this one."""
        self._newest = max((order.serial for order in orders), default=0)

    def is_due(self, orders: tuple[LookOrder, ...]) -> bool:
        """One of them is not done yet."""
        return any(order.serial > self._newest for order in orders)

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
        if name in self._looks:
            restore_(self._looks[name], state)  # into its own memory: that needs no more
            return
        needed = state_bytes(state)
        held = sum(state_bytes(look) for look in self._looks.values())
        if held + needed > self._max_bytes or len(self._looks) >= MAX_LOOKS:
            self.problem = (
                f"look {name!r} needs {needed / MIB:.0f} MiB beside {len(self._looks)} looks of "
                f"{held / MIB:.0f}, allowed are {MAX_LOOKS} of {self._max_bytes / MIB:.0f} in all: "
                "/sdv2/look/forget makes room"
            )
            return
        spare = self._spare_bytes()
        if needed > spare:
            self.problem = _no_room(name, needed, spare)
            return
        try:
            self._looks[name] = snapshot(state)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.problem = _no_room(name, needed, self._spare_bytes())


def _no_room(name: str, needed: int, spare: int) -> str:
    return (
        f"look {name!r} is not saved: it needs {needed / MIB:.0f} MiB, and the device has "
        f"{max(0, spare) / MIB:.0f} beside what steps and prompts take; "
        "/sdv2/look/forget makes room"
    )
