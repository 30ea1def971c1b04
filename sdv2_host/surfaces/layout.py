"""What every surface shows: the two tables as rows of widgets, group by group."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from sdv2_host.actions import ACTIONS
from sdv2_host.param_rows import Group
from sdv2_host.param_table import PARAMS, ParamSpec

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 9400
WIDE_RANGE = 10_000
"""A number with more values than this is typed, not slid."""


class Kind(Enum):
    FADER = "fader"
    NUMBER = "number"
    """A box: its range is too wide for a fader."""
    TOGGLE = "toggle"
    CHOICE = "choice"
    TEXT = "text"
    BANG = "bang"
    """An action without arguments."""


class Widget(NamedTuple):
    """One control."""

    kind: Kind
    name: str
    address: str
    spec: ParamSpec | None
    """None = an action."""
    help: str

    @property
    def label(self) -> str:
        return self.name.replace("_", " ")


def widgets(group: Group) -> list[Widget]:
    """The controls of one group: its parameters, then its actions that need no argument."""
    found = [
        Widget(_kind(spec), spec.name, spec.address, spec, spec.help)
        for spec in PARAMS.values()
        if spec.group is group
    ]
    found += [
        Widget(Kind.BANG, action.name, action.address, None, action.help)
        for action in ACTIONS.values()
        if action.group is group and all(arg.is_optional for arg in action.args)
    ]
    return found


def _kind(spec: ParamSpec) -> Kind:
    if spec.choices:
        return Kind.CHOICE
    if spec.kind is bool:
        return Kind.TOGGLE
    if spec.kind is str:
        return Kind.TEXT
    assert spec.minimum is not None, f"{spec.name} lacks a range"
    assert spec.maximum is not None, f"{spec.name} lacks a range"
    return Kind.NUMBER if spec.maximum - spec.minimum > WIDE_RANGE else Kind.FADER
