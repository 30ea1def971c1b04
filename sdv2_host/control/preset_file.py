"""Preset files: a look, or a part of one, by parameter address.

Version 0 had the parameters by name at the top, as `--json` reports carry them; version 1 has them
by address under "params", with a name of its own.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sdv2_host.actions import NAME
from sdv2_host.blend import parse_blend
from sdv2_host.control.documents import Format, Json
from sdv2_host.errors import ConfigError
from sdv2_host.param_table import BY_ADDRESS, PARAMS, ParamValue
from sdv2_host.param_values import coerce_all
from sdv2_host.params import Params

Text = Annotated[str, Field(max_length=2000)]


class Transition(BaseModel):
    """How the look comes in."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seconds: float = Field(ge=0, le=120)


class Preset(BaseModel):
    """One look. Parameters that it does not list stay as they are."""

    model_config = ConfigDict(frozen=True, extra="ignore", title="sdv2-host preset")

    name: str = Field(pattern=f"^{NAME.pattern}$")
    created: Annotated[str, Field(max_length=40)] = ""
    app_version: Annotated[str, Field(max_length=40)] = ""
    engine: Literal["tiny", "wan", ""] = ""
    """The kind of model that it was made for; '' = any."""
    params: dict[str, str | bool | int | float] = Field(max_length=64)
    """By address."""
    transition: Transition | None = None
    """None: prompts take the time that the parameter `transition` says, the rest none."""
    tags: list[Annotated[str, Field(max_length=40)]] = Field(default=[], max_length=16)
    notes: Text = ""


def _from_version_0(raw: Json) -> Json:
    by_name = {name: raw[name] for name in PARAMS if name in raw}
    rest = {key: value for key, value in raw.items() if key not in by_name}
    params = {PARAMS[name].address: value for name, value in by_name.items()}
    return {"name": "unnamed", **rest, "params": params}


PRESET = Format("sdv2-preset", Preset, {0: _from_version_0})


class Look(Preset):
    """A preset that was checked against the table."""

    values: dict[str, ParamValue]
    """By name, in range."""
    warnings: list[str]

    @property
    def is_output(self) -> bool:
        """Nothing of it goes through the model."""
        return all(PARAMS[name].is_output for name in self.values)

    def is_shown_by(self, params: Params) -> bool:
        return all(getattr(params, name) == value for name, value in self.values.items())


def as_look(preset: Preset, where: str, unknown: tuple[str, ...] = ()) -> Look:
    """What the preset sets.

    Out of range is clamped and told; what is unknown or no part of a look is left out and told.

    Raises:
        ConfigError: a value that makes no sense; then nothing of the preset is to be used.
    """
    warnings = [f"{where}: unknown key {key!r:.60} left alone" for key in unknown]
    taken = {}
    for address, value in preset.params.items():
        spec = BY_ADDRESS.get(address)
        if spec is None:
            warnings.append(f"{where}: unknown parameter {address!r:.80} left alone")
        elif not spec.in_preset:
            warnings.append(f"{where}: {address} is no part of a look, left alone")
        else:
            taken[address] = value
    patch, clamped, errors = coerce_all(taken)
    if errors:
        raise ConfigError(f"{where}: {next(iter(errors.values()))}")
    warnings += [f"{where}: {text}" for text in clamped.values()]
    return Look(**preset.model_dump(), values=patch, warnings=warnings)


def texts_of(look: Look) -> list[str]:
    """The single prompts that the look needs."""
    decks = [str(look.values[name]) for name in ("prompt", "prompt_b") if look.values.get(name)]
    return [part.text for deck in decks for part in parse_blend(deck)]
