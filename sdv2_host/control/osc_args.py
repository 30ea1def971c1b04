"""What the arguments of an OSC message mean, whatever types a sender has for them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sdv2_host.actions import Args
from sdv2_host.errors import ParamError
from sdv2_host.ipc.osc import OscArgument
from sdv2_host.param_table import ParamSpec, ParamValue
from sdv2_host.param_values import from_norm

SHOWN_CHARS = 80


def from_fader(spec: ParamSpec, raw: ParamValue) -> ParamValue:
    """Raises: ParamError."""
    try:
        position = float(raw)
    except (ValueError, OverflowError):
        raise ParamError(f"/sdv2/norm of {spec.name} = {shown(raw)}, expected 0..1") from None
    return from_norm(spec, min(max(position, 0.0), 1.0)) if math.isfinite(position) else position


def joined(args: Sequence[OscArgument]) -> Args:
    """Arguments as an action takes them; words that follow each other are one text.

    Raises:
        ParamError: an argument that is neither text, number nor truth.
    """
    values: list[ParamValue] = []
    for arg in args:
        if not isinstance(arg, str | int | float):
            raise ParamError(f"argument {shown(arg)}, expected texts and numbers")
        if isinstance(arg, str) and values and isinstance(values[-1], str):
            values[-1] = f"{values[-1]} {arg}"
        else:
            values.append(arg)
    return tuple(values)


def single_value(spec: ParamSpec, args: tuple[OscArgument, ...]) -> ParamValue:
    """The one value in the arguments, of a kind that `coerce` can judge.

    Several words for a text are joined by spaces: Pd and Max send a prompt word by word.

    Raises:
        ParamError: no value, too many, or of a kind this parameter cannot take.
    """
    if spec.kind is str:
        words = [_word(arg) for arg in args if isinstance(arg, str | int | float)]
        if words and len(words) == len(args):
            return " ".join(words)
    elif len(args) == 1:
        value = args[0]
        if isinstance(value, bool) and spec.kind is bool:
            return value
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return value
    came = shown(args[0] if len(args) == 1 else args)
    raise ParamError(f"{spec.address} came with {came}, expected {spec.allowed}")


def _word(arg: str | int | float) -> str:
    return f"{arg:g}" if isinstance(arg, float) else str(arg)


def shown(value: object) -> str:
    """Quoted and cut, so that a peer's bytes cannot forge or flood the log."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."
