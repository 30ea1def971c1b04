"""Values as they come from files, flags and surfaces, made into values of the parameters.

Live ones are coerced and clamped: faders overshoot. Those of files and flags are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from sdv2_host.blend import parse_blend
from sdv2_host.errors import ParamError
from sdv2_host.loras import parse_loras
from sdv2_host.param_table import BY_ADDRESS, PARAMS, ParamSpec, ParamValue, Patch
from sdv2_host.params import MIN_SIDE_PX, SIDE_MULTIPLE, Params


def from_norm(spec: ParamSpec, position: float) -> float:
    """The value at `position` 0..1 of the range."""
    assert spec.minimum is not None, f"{spec.name} lacks a range"
    assert spec.maximum is not None, f"{spec.name} lacks a range"
    return spec.minimum + position * (spec.maximum - spec.minimum)


def to_norm(spec: ParamSpec, value: float) -> float:
    """Where `value` stands in the range, 0..1."""
    assert spec.minimum is not None, f"{spec.name} lacks a range"
    assert spec.maximum is not None, f"{spec.name} lacks a range"
    return (value - spec.minimum) / (spec.maximum - spec.minimum)


TRUTH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
"""Words for a switch."""


class Coerced(NamedTuple):
    value: ParamValue
    clamped: bool


def coerce(spec: ParamSpec, raw: ParamValue) -> Coerced:
    """A live value as the parameter's own type, clamped to its range (OSC faders overshoot).

    Ints may arrive as floats and booleans as numbers: CHOPs and faders send floats only.

    Raises:
        ParamError: not a number, not finite, text where a number is wanted, a text that is not
            among the choices, or LoRAs that are not written as such: half a name would be another
            one, so these are never cut.
    """
    if spec.kind is str:
        return _coerce_text(spec, str(raw))
    if spec.kind is bool and isinstance(raw, str):
        raw = TRUTH.get(raw.strip().lower(), raw)
    try:
        number = float(raw)
    except (ValueError, OverflowError):
        raise ParamError(f"{spec.address} = {raw!r}, expected {spec.allowed}") from None
    if not math.isfinite(number):
        raise ParamError(f"{spec.address} = {raw!r}, expected {spec.allowed}")
    if spec.kind is bool:
        return Coerced(number >= 0.5, False)
    assert spec.minimum is not None, f"{spec.name} lacks a range"
    assert spec.maximum is not None, f"{spec.name} lacks a range"
    kept = min(max(number, spec.minimum), spec.maximum)
    if spec.swaps_engine and kept:
        kept = max(MIN_SIDE_PX, round(kept / SIDE_MULTIPLE) * SIDE_MULTIPLE)
    value: ParamValue = round(kept) if spec.kind is int else kept
    return Coerced(value, kept != number)


def _coerce_text(spec: ParamSpec, text: str) -> Coerced:
    if spec.name == "lora":
        parse_loras(text)
        return Coerced(text, False)
    if spec.choices:
        known = {choice.lower(): choice for choice in spec.choices}
        found = known.get(text.strip().lower())
        if found is None:
            raise ParamError(f"{spec.address} = {text[:80]!r}, expected {spec.allowed}")
        return Coerced(found, False)
    cut = text[: spec.max_chars]
    parse_blend(cut)
    return Coerced(cut, cut != text)


class CoercedPatch(NamedTuple):
    """What became of values that came by name."""

    patch: dict[str, ParamValue]
    clamped: dict[str, str]
    """{name: what was done to its value and why}."""
    errors: dict[str, str]
    """{name as it came: why it was not taken}."""


def coerce_all(raw: Mapping[str, object]) -> CoercedPatch:
    """Live values by name or address, each coerced by `coerce`; nothing is raised."""
    result = CoercedPatch({}, {}, {})
    for key, value in raw.items():
        spec = PARAMS.get(key) or BY_ADDRESS.get(key)
        if spec is None:
            result.errors[key] = f"unknown parameter {key[:80]!r}, known are {', '.join(PARAMS)}"
            continue
        if not isinstance(value, str | int | float):
            result.errors[key] = f"{spec.address} = {value!r:.80}, expected {spec.allowed}"
            continue
        try:
            coerced = coerce(spec, value)
        except ParamError as error:
            result.errors[key] = str(error)
            continue
        result.patch[spec.name] = coerced.value
        if coerced.clamped:
            shown = f"{value!r:.80}, expected {spec.allowed}: {coerced.value!r:.80} is used"
            result.clamped[spec.name] = f"{spec.address} = {shown}"
    return result


def validate(raw: Mapping[str, ParamValue], where: str, before: Params | None = None) -> Params:
    """Params from names and values of a file, a flag or an API: refused, not clamped.

    `before` has those that are not named, None = the defaults.

    Raises:
        ParamError: naming `where`, the parameter, its value and what is allowed.
    """
    patch: dict[str, ParamValue] = {}
    for name, value in raw.items():
        spec = PARAMS.get(name)
        if spec is None:
            known = ", ".join(PARAMS)
            raise ParamError(f"{where}: unknown parameter {name!r}, known are {known}")
        result = coerce(spec, value)
        whole = spec.kind is not int or float(value) == result.value
        if result.clamped or not whole:
            raise ParamError(f"{where}: {name} = {value}, expected {spec.allowed}")
        patch[name] = result.value
    return apply(before or Params(), patch)


def apply(params: Params, patch: Patch) -> Params:
    """The next snapshot. A noise bound set past the other one pushes the other along."""
    after = params.model_copy(update=patch)  # validated: a storm of OSC has no time for it twice
    if after.noise_s_min <= after.noise_s_max:
        return after
    moved = "noise_s_min" if "noise_s_min" in patch else "noise_s_max"
    other = "noise_s_max" if moved == "noise_s_min" else "noise_s_min"
    return after.model_copy(update={other: getattr(after, moved)})
