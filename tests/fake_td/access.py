"""Who may touch an object of TouchDesigner, and which members it has."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from tests.fake_td.errors import tdError

if TYPE_CHECKING:
    from tests.fake_td.session import TouchDesigner


class MainThread:
    """The thread that TouchDesigner runs on: whoever made the stand-in."""

    def __init__(self) -> None:
        self._ident = threading.get_ident()

    def check(self, what: str) -> None:
        """Raises off the main thread, where TouchDesigner may crash or answer anything."""
        if threading.get_ident() != self._ident:
            thread = threading.current_thread().name
            raise tdError(f"{what}: used from thread {thread!r}; only the main thread may")


class Guarded:
    """An object that only the main thread may use and that takes no members of one's own.

    `_td` is the session the object belongs to; names with an underscore are the stand-in's own.
    """

    _td: TouchDesigner

    def __init_subclass__(cls) -> None:
        """Each public method and property asks `_guard` when it is used, not when it is fetched."""
        for name, member in list(vars(cls).items()):
            if name.startswith("_"):
                continue
            if isinstance(member, FunctionType):
                setattr(cls, name, _asking(name, member))
            elif isinstance(member, property):
                accessors = (member.fget, member.fset)
                setattr(cls, name, property(*(one and _asking(name, one) for one in accessors)))

    def __setattr__(self, name: str, value: object) -> None:
        if name[0] != "_":
            member = getattr(type(self), name, None)
            if not hasattr(type(member), "__set__"):
                raise AttributeError(f"{type(self).__name__} has no member {name!r} to set")
        object.__setattr__(self, name, value)

    def _guard(self, name: str) -> None:
        self._td._main_thread.check(f"{type(self).__name__}.{name}")


def _asking(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._guard(name)
        return function(self, *args, **kwargs)

    return ask


class Member:
    """A member that is read and set: checked for its type, kept in the object's `_members`."""

    def __init__(self, default: Any, *kinds: type) -> None:
        self._default = default
        self._kinds = kinds or (type(default),)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        owner._guard(self._name)
        return owner._members.get(self._name, self._default)

    def __set__(self, owner: Any, value: Any) -> None:
        owner._guard(self._name)
        kinds = (*self._kinds, int) if bool in self._kinds or float in self._kinds else self._kinds
        if not isinstance(value, kinds):
            names = " or ".join(kind.__name__ for kind in self._kinds)
            raise tdError(f"{type(owner).__name__}.{self._name} = {value!r}: expected {names}")
        owner._members[self._name] = bool(value) if self._kinds == (bool,) else value
