"""Wires between operators (Connector_Class)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fake_td.access import Guarded
from tests.fake_td.errors import NotModelled, tdError

if TYPE_CHECKING:
    from tests.fake_td.operators import OP


class Connector(Guarded):
    """An input or output of an operator. A component's stand for the In and Out inside it."""

    def __init__(self, owner: OP, index: int, *, is_input: bool, inner: OP | None = None) -> None:
        self._td = owner._td
        self._owner = owner
        self._index = index
        self._is_input = is_input
        self._inner = inner

    @property
    def index(self) -> int:
        return self._index

    @property
    def isInput(self) -> bool:
        return self._is_input

    @property
    def isOutput(self) -> bool:
        return not self._is_input

    @property
    def inOP(self) -> OP | None:
        return self._inner if self._is_input else None

    @property
    def outOP(self) -> OP | None:
        return None if self._is_input else self._inner

    @property
    def owner(self) -> OP:
        return self._owner

    @property
    def connections(self) -> list[Connector]:
        if self._is_input:
            source = self._owner._wires.get(self._index)
            return [] if source is None else [source[0]._output(source[1])]
        return [
            other._input(index)
            for other in (self._owner._parent._children.values() if self._owner._parent else ())
            for index, (source, output) in other._wires.items()
            if source is self._owner and output == self._index
        ]

    def connect(self, target: OP | Connector) -> None:
        if self._is_input:
            source = target if isinstance(target, Connector) else target.outputConnectors[0]
            _join(source, self)
        else:
            into = target if isinstance(target, Connector) else _first_input(target)
            _join(self, into)

    def disconnect(self) -> None:
        if not self._is_input:
            for one in self.connections:
                one.disconnect()
            return
        if self._owner._wires.pop(self._index, None) is not None:
            self._owner._input_changed()

    @property
    def _family(self) -> str:
        return self._inner._family if self._inner is not None else self._owner._family


class Wired(Guarded):
    """The wires of an operator."""

    _wires: dict[int, tuple[OP, int]]
    _num_inputs: int
    _num_outputs: int

    @property
    def inputs(self) -> list[OP]:
        return [self._wires[index][0] for index in sorted(self._wires)]

    @property
    def outputs(self) -> list[OP]:
        found = [into.owner for one in self.outputConnectors for into in one.connections]
        return list(dict.fromkeys(found))

    @property
    def inputConnectors(self) -> list[Connector]:
        return [Connector(self, index, is_input=True) for index in range(self._num_inputs)]

    @property
    def outputConnectors(self) -> list[Connector]:
        return [Connector(self, index, is_input=False) for index in range(self._num_outputs)]

    def setInputs(self, listOfOPs: list[OP | None]) -> None:
        for one in self.inputConnectors:
            one.disconnect()
        for index, source in enumerate(listOfOPs):
            if source is not None:
                self._input(index).connect(source)

    def _input(self, index: int) -> Connector:
        if index >= len(self.inputConnectors):
            raise tdError(f"{self!r} has {len(self.inputConnectors)} inputs, not {index + 1}")
        return self.inputConnectors[index]

    def _output(self, index: int) -> Connector:
        return self.outputConnectors[index]


def _first_input(target: OP) -> Connector:
    if not target.inputConnectors:
        raise tdError(f"{target._path()} has no inputs")
    return target.inputConnectors[0]


def _join(source: Connector, into: Connector) -> None:
    if source._is_input or not into._is_input:
        raise tdError("a wire runs from an output to an input")
    if source._family != into._family:
        raise tdError(
            f"{source._owner._path()} ({source._family}) into {into._owner._path()}"
            f" ({into._family}): wires join operators of one family"
        )
    if source._owner._parent is not into._owner._parent:
        raise tdError(
            f"{source._owner._path()} into {into._owner._path()}: not in the same component"
        )
    if source._owner is into._owner:
        raise NotModelled("a wire from an operator to itself")
    into._owner._wires[into._index] = (source._owner, source._index)
    into._owner._input_changed()
