"""Cue lists: what happens in a show, in order."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sdv2_host.actions import NAME
from sdv2_host.control.documents import Format, Json

MAX_CUES = 999


class Cue(BaseModel):
    """One cue: a preset, or parameters by address, or both (the parameters win)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^\d{1,4}(\.\d{1,4})?$")
    name: Annotated[str, Field(max_length=100)] = ""
    preset: str | None = Field(None, pattern=f"^{NAME.pattern}$")
    params: dict[str, str | bool | int | float] = Field(default={}, max_length=64)
    fade: float | None = Field(None, ge=0, le=600)
    """Seconds; None = the preset's own."""
    pre_wait: float = Field(0.0, ge=0, le=3600)
    """Seconds from GO to the change."""
    follow: Literal["manual", "auto"] = "manual"
    """auto: the next cue goes by itself, `post_wait` seconds after this one's change."""
    post_wait: float = Field(0.0, ge=0, le=3600)

    @model_validator(mode="after")
    def _does_something(self) -> Cue:
        if self.preset is None and not self.params:
            raise ValueError(f"cue {self.id} has neither a preset nor parameters")
        return self


class CueList(BaseModel):
    """A show."""

    model_config = ConfigDict(frozen=True, extra="ignore", title="sdv2-host cue list")

    name: str = Field(pattern=f"^{NAME.pattern}$")
    cues: list[Cue] = Field(min_length=1, max_length=MAX_CUES)
    notes: Annotated[str, Field(max_length=2000)] = ""

    @field_validator("cues")
    @classmethod
    def _numbers_differ(cls, cues: list[Cue]) -> list[Cue]:
        ids = [cue.id for cue in cues]
        twice = next((id_ for id_ in ids if ids.count(id_) > 1), None)
        if twice is not None:
            raise ValueError(f"two cues have the number {twice}")
        return cues


def _from_version_0(raw: Json) -> Json:
    """Version 0 was the list of presets alone: {"name", "presets": [...]}."""
    presets = raw.get("presets", [])
    listed = presets if isinstance(presets, list) else []
    cues = [{"id": str(n + 1), "preset": preset} for n, preset in enumerate(listed)]
    return {"name": raw.get("name", "unnamed"), "cues": raw.get("cues", cues)}


CUES = Format("sdv2-cues", CueList, {0: _from_version_0})
