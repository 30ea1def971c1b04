"""ParBoard: the component's parameters and the host's values are kept equal, both ways.

No echo: a parameter that is set because the host said so is remembered as agreed, so the callback
that TouchDesigner makes of it sends nothing. No fight: what the host told of a parameter that was
moved here within HOLD_S was told before the host heard of the move, and is dropped. The host is
silent about it for 200 ms after it heard, then tells what is in force if that is another value
(GRAB_NS in control/osc_feedback.py); so HOLD_S has to be shorter than that.

A parameter with an expression, an export or a bind belongs to that: it is never written to, and
its value is sent whenever it changes, and to every host that is met.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import td

from sdv2_host.client.mailbox import Change
from sdv2_host.surfaces.touch_row import Row, Value
from sdv2_touch.table import Table, as_row_value, same

HOLD_S = 0.15
MAX_PER_FRAME = 8
"""Parameters that are set in one frame: a whole look takes four frames, and no frame is late."""


class Sender(Protocol):
    """What the board needs of the courier."""

    def set(self, address: str, value: Value) -> None: ...


class OnChange(Protocol):
    def __call__(self, address: str, value: Value, origin: str) -> None: ...


@dataclass(slots=True)
class ParBoard:
    """Fields, per activation: the parameters by name; what was agreed last with the host of each;
    when each was last moved here; what the host told and is not shown yet; the parameters that are
    driven; which of them fails, for a person."""

    owner: td.COMP
    table: Table
    sender: Sender
    on_change: OnChange
    clock_s: Callable[[], float]
    _pars: dict[str, td.Par] = field(default_factory=dict)
    _agreed: dict[str, Value] = field(default_factory=dict)
    _moved_s: dict[str, float] = field(default_factory=dict)
    _told: dict[str, Change] = field(default_factory=dict)
    _driven: list[tuple[Row, td.Par]] = field(default_factory=list)
    trouble: str = ""

    def __post_init__(self) -> None:
        for row in self.table.by_address.values():
            assert row.default is not None, f"{row.par} is a parameter without a default"
            par = self.owner.par[row.par]
            assert par is not None, f"the component has lost its parameter {row.par}"
            self._pars[row.par] = par
            value = self._read(row, par)
            self._agreed[row.par] = row.default if value is None else value
        self.look_for_driven()

    def moved(self, row: Row, par: td.Par) -> None:
        """TouchDesigner says that this parameter has another value."""
        value = self._read(row, par)
        if value is None or row.is_sent_by_pulse:
            return
        if not same(value, self._agreed[row.par]):
            self._send(row, value)

    def put(self, row: Row, value: Value) -> None:
        """The parameter and the host have this value; what drives the parameter is left alone."""
        self._send(row, value)
        self._show(row, value)

    def bring_look(self) -> None:
        """The host is sent the values of here, as far as they are part of a look."""
        for row in self.table.by_address.values():
            if row.is_look:
                self._send(row, self._agreed[row.par])

    def bring_driven(self) -> None:
        """A host that was just met is sent what is driven here."""
        for row, par in self._driven:
            value = self._read(row, par)
            if value is not None and not row.is_sent_by_pulse:
                self._send(row, value)

    def take(self, changes: Iterable[Change]) -> None:
        """The host told these; `show_told` shows them."""
        for change in changes:
            self._told[change.address] = change

    def show_told(self) -> None:
        """Some of what the host told is shown, at most MAX_PER_FRAME."""
        for address in list(self._told)[:MAX_PER_FRAME]:
            row = self.table.by_address.get(address)
            change = self._told.pop(address)
            if row is not None:
                self._take_over(row, as_row_value(row, change.value))

    def follow_driven(self) -> None:
        """What expressions, exports and binds make of their parameters is sent where it changed."""
        self.trouble = ""
        for row, par in self._driven:
            self.moved(row, par)

    def look_for_driven(self) -> None:
        """Which parameters are driven now. A few times a second: nobody clicks faster."""
        pars = [(row, self._pars[row.par]) for row in self.table.by_address.values()]
        self._driven = [(row, par) for row, par in pars if par.mode != td.ParMode.CONSTANT]

    def _read(self, row: Row, par: td.Par) -> Value | None:
        """What the parameter evaluates to; None = what drives it fails, and `trouble` says so."""
        try:
            value = as_row_value(row, par.eval())
        except td.tdError as error:
            self.trouble = f"the parameter {row.par} cannot be evaluated: {error}"
            return None
        # Equal to nothing, itself included, it would be sent in each frame.
        if isinstance(value, float) and math.isnan(value):
            self.trouble = f"the parameter {row.par} cannot be evaluated: it is driven by no number"
            return None
        return value

    def _take_over(self, row: Row, value: Value) -> None:
        # A move that TouchDesigner has not called back for yet.
        self.moved(row, self._pars[row.par])
        is_held = self.clock_s() - self._moved_s.get(row.par, -HOLD_S) < HOLD_S
        if is_held or same(value, self._agreed[row.par]):
            return
        if self._show(row, value):
            self.on_change(row.address, value, "host")

    def _show(self, row: Row, value: Value) -> bool:
        """The parameter shows the value, unless something else drives it."""
        par = self._pars[row.par]
        if par.mode != td.ParMode.CONSTANT:
            return False
        self._agreed[row.par] = value  # first: TouchDesigner may call back at once
        par.val = value
        return True

    def _send(self, row: Row, value: Value) -> None:
        self._agreed[row.par] = value
        self._moved_s[row.par] = self.clock_s()
        self.sender.set(row.address, value)
        self.on_change(row.address, value, "here")
