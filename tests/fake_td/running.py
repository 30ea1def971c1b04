"""Running scripts: for which operator, how long they take, and what they raise."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.fake_td import module
from tests.fake_td.errors import tdError
from tests.fake_td.meter import ComponentMeter

if TYPE_CHECKING:
    from tests.fake_td.dats import DAT
    from tests.fake_td.operators import OP


class Failure(NamedTuple):
    """A script that raised; TouchDesigner shows it and goes on."""

    where: str
    what: str
    trace: str


class Running:
    """The scripts that run now, innermost last: `_stack` holds their operators."""

    root: Any

    def _begin_running(self) -> None:
        self.failures: list[Failure] = []
        self._stack: list[OP] = []
        self._module_readers: list[list[tuple[DAT, int]]] = []
        self._meter = ComponentMeter()

    def take_failures(self) -> list[Failure]:
        """The scripts that raised so far; leaving the session does not complain of them again."""
        taken, self.failures = self.failures, []
        return taken

    def _call_dat(self, dat: DAT, name: str, *args: Any, complain_to: OP | None = None) -> Any:
        """What the DAT's function `name` returns; None if it has none or raised."""

        def call() -> Any:
            function = getattr(dat.module, name, None)
            return None if function is None else function(*args)

        return self._guarded_call(dat, name, call, complain_to)

    def _guarded_call(
        self, me: OP, name: str, call: Callable[[], Any], complain_to: OP | None = None
    ) -> Any:
        """The component's code, timed; what it raises becomes a script error and a Failure."""
        try:
            with self._running(me), self._meter.component():
                return call()
        except Exception as problem:
            where = f"{me._path()} {name}"
            what = f"{type(problem).__name__}: {problem}"
            self.failures.append(Failure(where, what, traceback.format_exc()))
            (complain_to or me)._script_errors.append(f"{where}: {what}")
            return None

    @contextmanager
    def _running(self, me: OP) -> Iterator[None]:
        self._stack.append(me)
        try:
            yield
        finally:
            self._stack.pop()

    def _evaluate(self, expression: str, me: OP) -> Any:
        try:
            with self._running(me):
                return eval(expression, self._names_for(me))
        except Exception as problem:
            raise tdError(f"{me._path()}: expression {expression!r}: {problem}") from problem

    def _quietly(self, read: Callable[[], Any]) -> Any:
        """What `read` returns, None if an expression in it fails: seen when it is used."""
        with contextlib.suppress(tdError):
            return read()
        return None

    def _names_for(self, me: OP) -> dict[str, Any]:
        return module.names_for(self, me)

    def _me(self) -> OP | None:
        return self._stack[-1] if self._stack else None

    def _me_or_root(self) -> OP:
        return self._stack[-1] if self._stack else self.root
