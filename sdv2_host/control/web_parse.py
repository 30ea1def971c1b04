"""From what a client sent to a message, or to the error that it is answered with. Pure."""

from __future__ import annotations

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json

from sdv2_host.control.web_messages import CLIENT_MESSAGES, ClientMessage
from sdv2_host.errors import ProtocolError


class MessageError(ProtocolError):
    """A message that is not of the protocol; `id` is its own where it had one."""

    def __init__(self, code: str, text: str, id_: int | str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.id = id_


def parse_message(text: str) -> ClientMessage:
    """The message in a client's text.

    Raises:
        MessageError: not JSON, not an object, unknown type, or a field of the wrong kind.
    """
    content = parse_object(text.encode("utf-8", "surrogatepass"))
    kind = content.get("type")
    model = CLIENT_MESSAGES.get(kind) if isinstance(kind, str) else None
    id_ = _id_of(content)
    if model is None:
        known = ", ".join(CLIENT_MESSAGES)
        raise MessageError("unknown_type", f"type {kind!r:.40}, known are {known}", id_)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise MessageError("bad_message", first_fault(error), id_) from None


def parse_object(raw: bytes) -> dict[str, JsonValue]:
    """The JSON object in `raw`.

    Raises:
        MessageError: not UTF-8, not JSON, nested too deep, or no object.
    """
    try:
        content = from_json(raw)
    except ValueError as error:
        raise MessageError("not_json", f"not JSON: {error}"[:200]) from None
    if not isinstance(content, dict):
        raise MessageError("not_json", "not a JSON object")
    return content


def first_fault(error: ValidationError) -> str:
    """Where and what, without the input: it may be long, and is the sender's own."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(f"{part!s:.40}" for part in fault["loc"]) or "message"
    return f"{where}: {fault['msg']}"[:200]


def _id_of(content: dict[str, JsonValue]) -> int | str | None:
    found = content.get("id")
    if isinstance(found, str):
        return found[:64]
    is_small = isinstance(found, int) and not isinstance(found, bool) and abs(found) <= 2**53
    return found if is_small and isinstance(found, int) else None
