"""Yours: called by the component. To keep it through an update, copy it out of the component and
name the copy in the parameter Callbacks DAT, page About."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from td import COMP


def onStateChange(comp: COMP, state: str, sentence: str) -> None:
    """`state` as in the table status: 'live', 'no host' and so on; `sentence` says what to do."""


def onHostChange(comp: COMP, host: str, version: str) -> None:
    """Another host is there, or none: then `version` is empty."""


def onParameterChange(comp: COMP, address: str, value: object, origin: str) -> None:
    """A parameter of the look was moved: `origin` is 'here' or 'host'."""
