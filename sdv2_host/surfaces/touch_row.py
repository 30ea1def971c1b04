"""One row of the TouchDesigner component's parameter pages. Standard library only: the component
reads `parameters.json` with it, in TouchDesigner's Python."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Value = str | int | float | bool

LEFT_OUT = -1.0
"""A number that does not go with its action."""


class Style(StrEnum):
    """Of a custom parameter: `appendSTYLE` of TouchDesigner's Page makes it."""

    FLOAT = "Float"
    INT = "Int"
    STR = "Str"
    MENU = "Menu"
    STR_MENU = "StrMenu"
    """A text with a menu of suggestions."""
    TOGGLE = "Toggle"
    PULSE = "Pulse"
    DAT = "DAT"


class Page(StrEnum):
    """In this order."""

    STREAM = "Stream"
    PROMPT = "Prompt"
    NOISE = "Noise"
    SINKS = "Sinks"
    OUTPUT = "Output"
    SHOW = "Show"
    HOST = "Host"
    ABOUT = "About"


@dataclass(frozen=True, slots=True)
class Row:
    """One custom parameter."""

    par: str
    """TouchDesigner's name: a capital, then lower-case letters and digits."""
    style: Style
    label: str
    help: str
    default: Value | None = None
    """None = a pulse."""
    minimum: float | None = None
    maximum: float | None = None
    """Of the value; a slider goes no further than `slider_maximum`."""
    slider_maximum: float | None = None
    choices: tuple[str, ...] = ()
    param: str = ""
    """Our parameter that it is; '' = none."""
    action: str = ""
    """Our action that the pulse fires; '' = none."""
    address: str = ""
    arg_pars: tuple[str, ...] = ()
    """Whose values go with the action, in order; empty texts at the end are left out."""
    is_sent_by_pulse: bool = False
    """A parameter that goes out only with an action that takes it: a slider of the size would
    restart the engine with every pixel."""
    is_look: bool = False
    """Part of a look: what presets hold, and what is brought to a host."""
    suggestions: str = ""
    """What the menu of a text is filled with while it runs: 'hosts', 'presets' or 'cue_lists'."""
    multiple: int = 0
    """The value is a multiple of this, or 0; 0 = any."""
    max_chars: int = 0
    """Of a text; 0 = any."""
    allowed: str = ""
    """The allowed values in words."""
    begins_section: bool = False
    is_read_only: bool = False
