"""Values kept with an operator (OP_Class, Storage)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.fake_td.access import Guarded
from tests.fake_td.errors import tdError
from tests.fake_td.names import matches

if TYPE_CHECKING:
    from tests.fake_td.operators import OP

MISSING = object()


class Storage(Guarded):
    """What `store` keeps, and what takes its place when a file is opened."""

    _storage: dict[str, Any]
    _startup: dict[str, Any]
    _parent: Any

    @property
    def storage(self) -> dict[str, Any]:
        return self._storage

    def fetch(
        self,
        key: str,
        default: object = MISSING,
        search: bool = True,
        storeDefault: bool = False,
    ) -> Any:
        holder = self._holder(key) if search else (self if key in self._storage else None)
        if holder is not None:
            return holder._storage[key]
        if default is MISSING:
            raise tdError(f"{self!r} has nothing stored under {key!r}")
        if storeDefault:
            self._storage[key] = default
        return default

    def fetchOwner(self, key: str) -> OP | None:
        return self._holder(key)

    def store(self, key: str, value: object) -> Any:
        if not isinstance(key, str):
            raise tdError(f"{self!r}.store({key!r}): the key is a str")
        self._storage[key] = value
        return value

    def unstore(self, *keys: str) -> None:
        self._storage = _without(self._storage, keys)

    def storeStartupValue(self, key: str, value: object) -> None:
        self._startup[key] = value

    def unstoreStartupValue(self, *keys: str) -> None:
        self._startup = _without(self._startup, keys)

    def _holder(self, key: str) -> OP | None:
        return next((one for one in self._upwards() if key in one._storage), None)

    def _upwards(self) -> Iterator[OP]:
        at: OP | None = self
        while at is not None:
            yield at
            at = at._parent


def _without(entries: dict[str, Any], patterns: tuple[str, ...]) -> dict[str, Any]:
    return {
        key: value
        for key, value in entries.items()
        if not any(matches(key, pattern) for pattern in patterns)
    }
