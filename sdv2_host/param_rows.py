"""What a field of `Params` says of itself beside type, range, default and help."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Group(StrEnum):
    """Where surfaces show a parameter or an action, in this order."""

    PROMPT = "Prompt"
    NOISE = "Noise"
    MODEL = "Model"
    OUTPUT = "Output"
    TIMING = "Timing"
    TEMPO = "Tempo"
    SHOW = "Show"


def row(
    address: str,
    group: Group,
    unit: str = "",
    step: float | None = None,
    *,
    in_preset: bool = True,
    can_fade: bool = False,
    swaps_engine: bool = False,
    is_output: bool = False,
) -> dict[str, Any]:
    """What the table says of a field beside its type, range, default and help."""
    return {
        "address": address,
        "group": group,
        "unit": unit,
        "step": step,
        "in_preset": in_preset,
        "can_fade": can_fade,
        "swaps_engine": swaps_engine,
        "is_output": is_output,
    }


def state(address: str, group: Group = Group.OUTPUT, unit: str = "") -> dict[str, Any]:
    """A row of what the output stage does: at once, and in no preset."""
    return row(address, group, unit, in_preset=False, is_output=True)
