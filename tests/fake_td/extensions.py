"""Python objects attached to a component (Extensions, COMP_Extensions_Page)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.fake_td.errors import tdError

if TYPE_CHECKING:
    from tests.fake_td.components import COMP
    from tests.fake_td.dats import DAT


class Made(NamedTuple):
    """An extension as it was made, and from what."""

    instance: Any
    name: str
    is_promoted: bool
    definition: tuple[str, str, bool]
    read: tuple[tuple[DAT, int], ...]
    """DATs whose modules were read to make it, with the version of their text."""


class Extensions:
    """The extension of one component, made when it is first asked for or its definition changed."""

    def __init__(self, comp: COMP) -> None:
        self._comp = comp
        self._made: Made | None = None
        self._is_busy = False

    @property
    def is_ready(self) -> bool:
        return not self._is_busy

    def instances(self) -> list[Any]:
        """All extensions, fresh."""
        made = self._fresh()
        return [] if made is None else [made.instance]

    def named(self, name: str) -> Any | None:
        """The extension of that name, fresh; None if there is none."""
        if not self._defined():
            return None
        made = self._fresh()
        return made.instance if made is not None and made.name == name else None

    def promoted(self, name: str) -> Any:
        """A capitalised member of a promoted extension; AttributeError if there is none."""
        made = self._fresh() if self._defined() else None
        if made is None or not made.is_promoted or not name[:1].isupper():
            raise AttributeError(f"{self._comp._path()} has no member {name!r}")
        return getattr(made.instance, name)

    def remake(self) -> Any | None:
        """As the button Re-Init Extensions: the old one goes, a new one is made."""
        self.drop()
        return self._make() if self._defined() else None

    def drop(self) -> None:
        """The extension goes: told by onDestroyTD, while the component still stands."""
        made, self._made = self._made, None
        td = self._comp._td
        if made is None:
            return
        td._initialised.pop(id(made.instance), None)
        end = getattr(made.instance, "onDestroyTD", None)
        if end is not None and td.has_on_destroy:
            self._is_busy = True
            try:
                td._guarded_call(self._comp, "onDestroyTD", end)
            finally:
                self._is_busy = False

    def _defined(self) -> bool:
        return bool(self._definition()[0])

    def _definition(self) -> tuple[str, str, bool]:
        pars = self._comp._pars
        if "ext0object" not in pars:
            return ("", "", False)
        return (
            str(pars["ext0object"]._current()),
            str(pars["ext0name"]._current()),
            bool(pars["ext0promote"]._current()),
        )

    def _fresh(self) -> Made | None:
        if self._is_busy:
            raise tdError(
                f"{self._comp._path()}: cannot use an extension while it begins or ends;"
                " see extensionsReady"
            )
        if self._made is not None and self._is_current(self._made):
            return self._made
        self.drop()
        return self._make() if self._defined() else None

    def _is_current(self, made: Made) -> bool:
        return made.definition == self._definition() and all(
            dat._alive and dat._version == version for dat, version in made.read
        )

    def _make(self) -> Made | None:
        td, comp = self._comp._td, self._comp
        definition = self._definition()
        read: list[tuple[DAT, int]] = []
        self._is_busy = True
        td._module_readers.append(read)
        try:
            instance = td._guarded_call(
                comp, "extension", lambda: td._evaluate(definition[0], comp)
            )
        finally:
            td._module_readers.pop()
            self._is_busy = False
        if instance is None:
            return None
        name = definition[1] or type(instance).__name__
        self._made = Made(instance, name, definition[2], definition, tuple(read))
        if hasattr(instance, "onInitTD"):
            td._initialised[id(instance)] = (comp, instance)
        return self._made
