"""LookOrder: what the host asks an engine to do with the looks that it keeps."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

MAX_LOOKS = 32
"""Kept at once."""
MAX_ORDERS = 16
"""Kept in the parameters: more than can be asked for between two chunks by hand."""


class LookOrder(BaseModel):
    """Something to do with a look, once, before the chunk that comes with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: int
    """Counts orders, from 1."""
    verb: Literal["save", "recall", "forget"]
    name: str


def with_order(
    orders: tuple[LookOrder, ...], serial: int, verb: str, name: str
) -> tuple[LookOrder, ...]:
    """The newest orders, oldest first, and this one after them."""
    order = LookOrder.model_validate({"serial": serial, "verb": verb, "name": name})
    return (*orders, order)[-MAX_ORDERS:]
