"""PARAMS: the one table of the live parameters, read off the fields of `Params`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from sdv2_host.blend import BLEND_SYNTAX
from sdv2_host.loras import LORA_SYNTAX
from sdv2_host.param_rows import Group
from sdv2_host.params import MAX_SIDE_PX, MIN_SIDE_PX, SIDE_MULTIPLE, Params

ParamValue = str | int | float | bool
Patch = Mapping[str, ParamValue]
"""Validated {parameter name: value}; made by `validate` or `coerce_all`."""


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
    choices: tuple[str, ...]
    """The allowed texts; () = any."""
    unit: str
    step: float | None
    help: str
    group: Group
    in_preset: bool
    """Part of a look. What is not, stays as it is when a preset is loaded."""
    can_fade: bool
    """May change gradually."""
    swaps_engine: bool
    """Another engine is made ready with it, beside the one in use, and takes over."""
    is_output: bool
    """Acts at the output or in the daemon, at once; others from the next chunk on."""

    @property
    def allowed(self) -> str:
        """The allowed values in words, for messages."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return " or ".join(self.choices)
        if self.name == "lora":
            return LORA_SYNTAX
        if self.kind is str:
            return f"at most {self.max_chars} characters of {BLEND_SYNTAX}"
        if self.swaps_engine:
            sides = f"a multiple of {SIDE_MULTIPLE} from {MIN_SIDE_PX} to {MAX_SIDE_PX}"
            return f"0 or {sides}"
        return f"{self.minimum:.10g}..{self.maximum:.10g}"


def _spec(name: str) -> ParamSpec:
    field = Params.model_fields[name]
    limits = {type(m).__name__: m for m in field.metadata}
    extra: Any = field.json_schema_extra
    assert isinstance(extra, dict), f"{name} lacks table data"
    kind: Any = field.annotation
    choices = get_args(kind)
    return ParamSpec(
        name=name,
        kind=str if choices else kind,
        default=field.default,
        minimum=limits["Ge"].ge if "Ge" in limits else None,
        maximum=limits["Le"].le if "Le" in limits else None,
        max_chars=limits["MaxLen"].max_length if "MaxLen" in limits else None,
        choices=choices,
        help=field.description or "",
        **extra,
    )


PARAMS: dict[str, ParamSpec] = {
    name: _spec(name) for name in Params.model_fields if name not in {"blend", "show", "looks"}
}
BY_ADDRESS: dict[str, ParamSpec] = {spec.address: spec for spec in PARAMS.values()}
NORM_ROOT = "/sdv2/norm/"
BY_NORM_ADDRESS: dict[str, ParamSpec] = {
    NORM_ROOT + spec.address.removeprefix("/sdv2/"): spec
    for spec in PARAMS.values()
    if spec.minimum is not None
}
"""The alias of each number for faders that know only 0..1; see `from_norm`."""
