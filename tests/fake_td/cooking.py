"""When an operator makes its result anew (Cook, OP_Class)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fake_td.access import Guarded
from tests.fake_td.errors import tdError

if TYPE_CHECKING:
    from tests.fake_td.operators import OP
    from tests.fake_td.parameters import Par


class Cooking(Guarded):
    """Cooks on demand, if out of date; nothing cooks of itself."""

    _td: Any
    _wires: dict[int, tuple[OP, int]]
    children: Any

    def _begin_cooking(self) -> None:
        self._dirty = True
        self._cooking = False
        self._total_cooks = 0
        self._cook_frame = -1

    @property
    def cookAbsFrame(self) -> float:
        return self._cook_frame

    @property
    def cookedThisFrame(self) -> bool:
        return self._cook_frame == self._td._frame

    @property
    def totalCooks(self) -> int:
        return self._total_cooks

    def cook(
        self, force: bool = False, recurse: bool = False, includeUtility: bool = False
    ) -> None:
        if self._cooking:
            raise tdError(f"{self!r} cooks already: a cook loop")
        with self._td._meter.apart():
            if force:
                self._dirty = True
            self._demand()
            if recurse:
                for child in self.children:
                    child.cook(force, recurse)

    def _demand(self) -> None:
        """Somebody wants the result: cooks what is out of date, inputs first, once."""
        if self._cooking or not self._may_cook():
            return
        for source in self._sources():
            source._demand()
        if self._dirty:
            self._dirty = False
            self._cooking = True
            try:
                self._clear_cook_troubles()
                self._cook()
            finally:
                self._cooking = False
            self._total_cooks += 1
            self._cook_frame = self._td._frame
            self._changed()

    def _may_cook(self) -> bool:
        at: Any = self
        while at is not None:
            if not at._members.get("allowCooking", True):
                return False
            at = at._parent
        return True

    def _sources(self) -> list[OP]:
        """The operators whose results a cook reads."""
        return [source._behind(output) for source, output in self._wires.values()]

    def _behind(self, output: int) -> OP:
        """Who makes what leaves by output `output`."""
        return self

    def _cook(self) -> None:
        """Makes the result anew."""

    def _changed(self) -> None:
        """Whoever reads this operator's result has to cook."""
        for reader in self._td._readers_of(self):
            reader._make_dirty()

    def _make_dirty(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._changed()

    def _input_changed(self) -> None:
        self._make_dirty()

    def _par_changed(self, par: Par) -> None:
        self._make_dirty()
        self._td._watchers.par_changed(par)

    def _pulsed(self, par: Par) -> None:
        self._td._watchers.pulsed(par)
