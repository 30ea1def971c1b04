"""Params: what can change while the stream runs. The one table: PARAMS is derived from the model.

A `Params` is a frozen snapshot; `apply` makes the next one. A chunk carries the snapshot it was
made with, so no change is ever half applied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sdv2_host.errors import ParamError
from sdv2_host.loras import LORA_MAX_CHARS, LORA_SYNTAX, parse_loras

ParamValue = str | int | float | bool
Patch = Mapping[str, ParamValue]
"""Validated {parameter name: value}; made by `validate`."""

PROMPT_MAX_CHARS = 2000


def _extra(address: str, unit: str = "", step: float | None = None) -> dict[str, Any]:
    return {"address": address, "unit": unit, "step": step}


class Params(BaseModel):
    """One snapshot of the live parameters. Field order is the order in tables and pages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(
        "watercolor painting",
        max_length=PROMPT_MAX_CHARS,
        description="What the picture should look like, in plain words.",
        json_schema_extra=_extra("/sdv2/prompt"),
    )
    steps: int = Field(
        2,
        ge=1,
        le=4,
        description="Denoising steps per chunk: more is closer to the prompt, and slower.",
        json_schema_extra=_extra("/sdv2/steps", "steps", 1),
    )
    noise_s_min: float = Field(
        0.35,
        ge=0.0,
        le=1.0,
        description="Noise for the fastest motion: lower keeps moving things intact.",
        json_schema_extra=_extra("/sdv2/noise/s_min", "", 0.01),
    )
    noise_s_max: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="Noise for a still picture: higher gives the prompt more freedom.",
        json_schema_extra=_extra("/sdv2/noise/s_max", "", 0.01),
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Chooses the noise; equal seeds and inputs give equal pictures.",
        json_schema_extra=_extra("/sdv2/seed", "", 1),
    )
    freeze: bool = Field(
        False,
        description="Hold the output on its last frame; the stream goes on behind it.",
        json_schema_extra=_extra("/sdv2/freeze"),
    )
    lora: str = Field(
        "",
        max_length=LORA_MAX_CHARS,
        description="LoRAs merged into the model, by name and strength: 'ghibli:0.8, ink'.",
        json_schema_extra=_extra("/sdv2/lora"),
    )
    lora_strength: float = Field(
        1.0,
        ge=0.0,
        le=2.0,
        description="Multiplies the strength of all LoRAs; 0 = the model without them.",
        json_schema_extra=_extra("/sdv2/lora/strength", "", 0.01),
    )

    @field_validator("lora")
    @classmethod
    def _check_lora(cls, text: str) -> str:
        try:
            parse_loras(text)
        except ParamError as error:
            raise ValueError(str(error)) from error
        return text


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One row of the table that feeds validation, OSC, pages, plug-ins and docs."""

    name: str
    address: str
    kind: type[str] | type[int] | type[float] | type[bool]
    default: ParamValue
    minimum: float | None
    maximum: float | None
    max_chars: int | None
    """Of a text."""
    unit: str
    help: str

    @property
    def allowed(self) -> str:
        """The allowed values in words, for messages."""
        if self.kind is bool:
            return "true or false"
        if self.name == "lora":
            return LORA_SYNTAX
        if self.kind is str:
            return f"text of at most {self.max_chars} characters"
        return f"{self.minimum:.10g}..{self.maximum:.10g}"


def _spec(name: str) -> ParamSpec:
    field = Params.model_fields[name]
    limits = {type(m).__name__: m for m in field.metadata}
    extra = field.json_schema_extra
    assert isinstance(extra, dict), f"{name} lacks table data"
    assert field.annotation is not None, f"{name} lacks a type"
    kind: Any = field.annotation
    return ParamSpec(
        name=name,
        address=str(extra["address"]),
        kind=kind,
        default=field.default,
        minimum=limits["Ge"].ge if "Ge" in limits else None,
        maximum=limits["Le"].le if "Le" in limits else None,
        max_chars=limits["MaxLen"].max_length if "MaxLen" in limits else None,
        unit=str(extra["unit"]),
        help=field.description or "",
    )


PARAMS: dict[str, ParamSpec] = {name: _spec(name) for name in Params.model_fields}
BY_ADDRESS: dict[str, ParamSpec] = {spec.address: spec for spec in PARAMS.values()}


class Coerced(NamedTuple):
    value: ParamValue
    clamped: bool


def coerce(spec: ParamSpec, raw: ParamValue) -> Coerced:
    """A live value as the parameter's own type, clamped to its range (OSC faders overshoot).

    Ints may arrive as floats and booleans as numbers: CHOPs and faders send floats only.

    Raises:
        ParamError: not a number, not finite, text where a number is wanted, or LoRAs that are not
            written as such: half a name would be another one, so these are never cut.
    """
    if spec.name == "lora":
        parse_loras(str(raw))
        return Coerced(str(raw), False)
    if spec.kind is str:
        text = str(raw)
        return Coerced(text[: spec.max_chars], len(text) > (spec.max_chars or len(text)))
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
    value: ParamValue = round(kept) if spec.kind is int else kept
    return Coerced(value, kept != number)


def validate(raw: Mapping[str, ParamValue], where: str) -> Params:
    """Params from names and values of a file, a flag or an API: refused, not clamped.

    Raises:
        ParamError: naming `where`, the parameter, its value and what is allowed.
    """
    for name, value in raw.items():
        spec = PARAMS.get(name)
        if spec is None:
            known = ", ".join(PARAMS)
            raise ParamError(f"{where}: unknown parameter {name!r}, known are {known}")
        result = coerce(spec, value)
        whole = spec.kind is not int or float(value) == result.value
        if result.clamped or not whole:
            raise ParamError(f"{where}: {name} = {value}, expected {spec.allowed}")
    return apply(Params(), dict(raw))


def apply(params: Params, patch: Patch) -> Params:
    """The next snapshot. A noise bound set past the other one pushes the other along."""
    changed: dict[str, Any] = {**patch}
    merged = {**params.model_dump(), **changed}
    if merged["noise_s_min"] > merged["noise_s_max"]:
        moved = "noise_s_min" if "noise_s_min" in patch else "noise_s_max"
        other = "noise_s_max" if moved == "noise_s_min" else "noise_s_min"
        merged[other] = merged[moved]
    return Params.model_validate(merged)
