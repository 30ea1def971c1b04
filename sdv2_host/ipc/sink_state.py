"""What a sink's process says to the daemon that started it: a JSON object a line, the newest wins.

Codec only.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from sdv2_host.errors import ProtocolError

MAX_LINE_BYTES = 16 * 1024
MAX_TEXT_CHARS = 1000


class SinkState(BaseModel):
    """How the sink does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    """One line for a person."""
    is_problem: bool = False
    """It does not do what it is there for."""


def encode_state(state: SinkState) -> bytes:
    """One line, with its end."""
    short = state.model_copy(update={"text": state.text[:MAX_TEXT_CHARS]})
    return short.model_dump_json().encode() + b"\n"


def decode_state(line: bytes) -> SinkState:
    """Raises: ProtocolError."""
    try:
        return SinkState.model_validate_json(line)
    except ValidationError as error:
        raise ProtocolError(f"a sink said {line[:80]!r}: {error.errors()[0]['msg']}") from error
