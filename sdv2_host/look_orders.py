"""LookOrder: what the host asks an engine to do with the looks that it keeps."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

MAX_LOOKS = 32
"""Kept at once."""


class LookOrder(BaseModel):
    """Something to do with a look, once, before the chunk that comes with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: int
    """Counts orders, from 1."""
    verb: Literal["save", "recall", "forget"]
    name: str
