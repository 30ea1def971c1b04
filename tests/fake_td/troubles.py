"""Errors and warnings shown on an operator (OP_Class, Errors)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fake_td.access import Guarded
from tests.fake_td.errors import tdError
from tests.fake_td.names import matches

if TYPE_CHECKING:
    from tests.fake_td.operators import OP


class Troubles(Guarded):
    """What an operator complains of: of its cook, until the next; of its scripts, until cleared."""

    _cooking: bool
    children: Any

    def _begin_troubles(self) -> None:
        self._errors: list[str] = []
        self._warnings: list[str] = []
        self._script_errors: list[str] = []

    def _clear_cook_troubles(self) -> None:
        self._errors.clear()
        self._warnings.clear()

    def addScriptError(self, msg: str) -> None:
        self._script_errors.append(_text(msg))

    def addError(self, msg: str) -> None:
        self._check_cooking("addError")
        self._errors.append(_text(msg))

    def addWarning(self, msg: str) -> None:
        self._check_cooking("addWarning")
        self._warnings.append(_text(msg))

    def errors(self, recurse: bool = False) -> str:
        return self._gather("_errors", recurse)

    def warnings(self, recurse: bool = False) -> str:
        return self._gather("_warnings", recurse)

    def scriptErrors(self, recurse: bool = False) -> str:
        return self._gather("_script_errors", recurse)

    def clearScriptErrors(self, recurse: bool = False, error: str = "*") -> None:
        kept = [one for one in self._script_errors if error != "*" and not matches(one, error)]
        self._script_errors = kept
        if recurse:
            for child in self.children:
                child.clearScriptErrors(recurse, error)

    def _gather(self, kind: str, recurse: bool) -> str:
        found = list(getattr(self, kind))
        children: list[OP] = self.children if recurse else []
        found += [text for child in children if (text := child._gather(kind, True))]
        return "\n".join(found)

    def _check_cooking(self, what: str) -> None:
        if not self._cooking:
            raise tdError(f"{what}: only valid while the operator is cooking")


def _text(message: object) -> str:
    if not isinstance(message, str):
        raise tdError(f"message {message!r}: expected str")
    return message
