"""The JSON Schema of every message, from the models: at /api/schema and in docs/.

python -m sdv2_host.control.web_schema > docs/protocol.schema.json
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, JsonValue, create_model
from pydantic.json_schema import models_json_schema

from sdv2_host.control import web_messages as messages
from sdv2_host.status import HostStatus

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _model_of(shape: Any) -> Any:
    """The model of what `HostStatus.to_json` makes of a type: objects, also of named tuples."""
    if get_origin(shape) is UnionType:
        kept = [_model_of(one) for one in get_args(shape) if one is not NoneType]
        assert len(kept) == 1, "a field is of one kind, or null"
        return kept[0] | None
    names = (
        [one.name for one in fields(shape)]
        if is_dataclass(shape)
        else getattr(shape, "_fields", None)
    )
    if names is None:
        return shape
    hints = get_type_hints(shape)
    members: dict[str, Any] = {name: (_model_of(hints[name]), ...) for name in names}
    return create_model(shape.__name__, **members)


STATUS_FIELDS: type[BaseModel] = _model_of(HostStatus)


class StatusMessage(STATUS_FIELDS):  # type: ignore[misc, valid-type]
    """The state of the host, five times a second."""

    type: Literal["status"]


class StatusAnswer(STATUS_FIELDS):  # type: ignore[misc, valid-type]
    """The state of the host, and who it is."""

    name: str
    version: str
    listen: str
    uptime_s: float


CLIENT: tuple[type[BaseModel], ...] = tuple(messages.CLIENT_MESSAGES.values())
SERVER: tuple[type[BaseModel], ...] = (
    messages.Welcome,
    messages.Ack,
    messages.Result,
    messages.ErrorReply,
    messages.State,
    StatusMessage,
    messages.NoticeMessage,
    messages.Pong,
)
HTTP: dict[str, tuple[type[BaseModel] | None, type[BaseModel]]] = {
    "GET /api/status": (None, StatusAnswer),
    "GET /api/state": (None, messages.StateAnswer),
    "POST /api/set": (messages.SetRequest, messages.SetAnswer),
    "POST /api/call": (messages.CallRequest, messages.CallAnswer),
    "GET /api/notices": (None, messages.NoticesAnswer),
    "GET /api/monitor": (None, messages.MonitorAnswer),
    "GET /api/learn": (None, messages.LearnAnswer),
    "POST /api/learn": (messages.LearnRequest, messages.LearnAnswer),
    "DELETE /api/learn": (messages.UnlearnRequest, messages.LearnAnswer),
    "GET /healthz": (None, messages.HealthAnswer),
}
"""Of each route: what is sent, what is answered; refusals are answered by `Failure`."""


def protocol_schema() -> dict[str, JsonValue]:
    """One JSON Schema document: the messages of each direction, and the bodies of HTTP."""
    asked = [model for model, _ in HTTP.values() if model is not None]
    answered = [model for _, model in HTTP.values()]
    incoming = [(model, "validation") for model in dict.fromkeys([*CLIENT, *asked])]
    outgoing = [
        (model, "serialization") for model in dict.fromkeys([*SERVER, *answered, messages.Failure])
    ]
    inputs: Any = [*incoming, *outgoing]
    refs, definitions = models_json_schema(inputs)
    ref = {model: schema for (model, _), schema in refs.items()}
    document: dict[str, Any] = {
        "$schema": DIALECT,
        "title": "sdv2-host control protocol",
        "description": "WebSocket /socket (subprotocol "
        f"{messages.SUBPROTOCOL}) and HTTP. Generated from sdv2_host/control/web_messages.py.",
        "protocol": messages.PROTOCOL,
        "client": {"oneOf": [ref[model] for model in CLIENT]},
        "server": {"oneOf": [ref[model] for model in SERVER]},
        "http": {
            route: {"request": ref[sent] if sent else None, "response": ref[got]}
            for route, (sent, got) in HTTP.items()
        },
        "http_error": ref[messages.Failure],
        "$defs": definitions["$defs"],
    }
    return document


def schema_text() -> str:
    """The document as it is committed and served."""
    return json.dumps(protocol_schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def schema_hash() -> str:
    """Changes when a message does."""
    return hashlib.sha256(schema_text().encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.stdout.write(schema_text())
