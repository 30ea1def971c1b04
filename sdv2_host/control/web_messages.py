"""Every message of the WebSocket and HTTP protocol, as models. Pure; `web_schema` publishes them.

WebSocket `/socket`, subprotocol `sdv2.v1.json`: JSON objects with a `type`, text both ways. Unknown
fields are ignored, an unknown type is an error and no reason to close. Binary messages go to the
client only and are pictures (see control/pictures.py).

    client  hello first, within seconds; then set, call, drawn, ping
    server  welcome once; ack, result, pong or error answer; state, status, notice are pushed
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from sdv2_host.actions import MAX_FADE_S
from sdv2_host.control.console import Fact
from sdv2_host.param_table import ParamValue

PROTOCOL = 1
SUBPROTOCOL = "sdv2.v1.json"

MAX_TEXT_BYTES = 64 * 1024
"""Of one WebSocket message or HTTP body from a client."""
MAX_VALUES = 128
MAX_ARGS = 64
MAX_NAME_CHARS = 256

Topic = Literal["params", "status", "preview", "notices"]
TOPICS: tuple[Topic, ...] = ("params", "status", "preview", "notices")

Id = Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[str, Field(max_length=64)]
"""Chosen by the client; its answer carries the same."""
Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Given = Annotated[
    JsonValue,
    WithJsonSchema({"type": ["string", "number", "boolean"], "title": "Value"}),
]
"""A value as it came: what cannot be understood is an error of that one value."""
Scalar = str | bool | int | float


class Incoming(BaseModel):
    """From a client: kinds are not guessed, unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Hello(Incoming):
    """The first message."""

    type: Literal["hello"]
    protocol: int = Field(PROTOCOL, description="Version of this protocol that the client speaks.")
    token: Annotated[str, Field(max_length=256)] = Field(
        "",
        description="As printed at the start; none is needed where the host listens on loopback.",
    )
    client: Annotated[str, Field(max_length=64)] = Field("", description="Its name, for people.")
    subscribe: Annotated[list[Topic], Field(max_length=8)] = Field(
        list(TOPICS), description="What it is told without asking."
    )


class SetRequest(Incoming):
    """Values to set, as one change: the answer says what of it is in force."""

    values: Annotated[dict[Name, Given], Field(max_length=MAX_VALUES)] = Field(
        description="By parameter name or OSC address."
    )
    fade: Annotated[float, Field(ge=0, le=MAX_FADE_S, allow_inf_nan=False)] | None = Field(
        None, description="Seconds; without it prompts take the parameter transition."
    )


class Set(SetRequest):
    type: Literal["set"]
    id: Id | None = None


class CallRequest(Incoming):
    """An action to do."""

    action: Name
    args: Annotated[list[Scalar], Field(max_length=MAX_ARGS)] = []


class Call(CallRequest):
    type: Literal["call"]
    id: Id | None = None


class Drawn(Incoming):
    """One picture was drawn: another may be sent."""

    type: Literal["drawn"]


class Ping(Incoming):
    type: Literal["ping"]
    id: Id | None = None


class LearnRequest(Incoming):
    """The next unknown OSC address that comes shall play this parameter or action."""

    target: Name = Field(description="Its name or OSC address.")


class UnlearnRequest(Incoming):
    """Forget what was learnt, or stop learning."""

    address: Name = Field("", description="The learnt OSC address; '' = what is being learnt now.")


ClientMessage = Hello | Set | Call | Drawn | Ping
CLIENT_MESSAGES: dict[str, type[ClientMessage]] = {
    "hello": Hello,
    "set": Set,
    "call": Call,
    "drawn": Drawn,
    "ping": Ping,
}


class Outgoing(BaseModel):
    """From the server: new fields may appear without a new protocol version."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class ParamRow(Outgoing):
    """One parameter: what a surface needs to show it."""

    name: str
    address: str
    norm_address: str | None = Field(description="0..1 over the range; null = not a number.")
    kind: Literal["str", "int", "float", "bool"]
    default: Scalar
    minimum: float | None
    maximum: float | None
    max_chars: int | None = Field(description="Of a text.")
    choices: list[str] = Field(description="The allowed texts; empty = any.")
    unit: str
    step: float | None
    help: str
    group: str
    in_preset: bool
    can_fade: bool
    swaps_engine: bool
    is_output: bool


class ArgRow(Outgoing):
    name: str
    kind: Literal["str", "int", "float"]
    help: str
    minimum: float | None
    maximum: float | None
    optional: bool
    repeats: bool


class ActionRow(Outgoing):
    """One action."""

    name: str
    address: str
    group: str
    help: str
    args: list[ArgRow]
    sets: list[str] = Field(description="The parameters that its arguments are the values of.")


class NoticeRow(Outgoing):
    """One line of the log that people are shown."""

    at_ms: float = Field(description="Unix time, in order.")
    level: Literal["info", "warning", "error"]
    origin: str
    text: str


class Welcome(Outgoing):
    """Answers hello: everything there is to show, as of `seq`."""

    type: Literal["welcome"] = "welcome"
    protocol: int = PROTOCOL
    version: str
    name: str
    engine: str
    listen: str = Field(description="Address that is listened on.")
    port: int = Field(description="Of page, WebSocket, OSCQuery and OSC.")
    seq: int
    schema_hash: str = Field(description="Of /api/schema.")
    params: list[ParamRow]
    actions: list[ActionRow]
    values: dict[str, ParamValue]
    board: dict[str, Fact]
    notices: list[NoticeRow]
    styles: dict[str, str] = Field(description="Text of a button: the prompt it asks for.")


class SetAnswer(Outgoing):
    seq: int
    values: dict[str, ParamValue] = Field(
        description="In force now, of what was set and what that pushed along; what waits for "
        "the beat is not among them."
    )
    clamped: dict[str, str] = Field(description="By name: what was done to the value and why.")
    errors: dict[str, str] = Field(description="By name as it came: why it was left out.")


class Ack(SetAnswer):
    """Answers set."""

    type: Literal["ack"] = "ack"
    id: Id | None = None


class CallAnswer(Outgoing):
    text: str = Field(description="What was done, in one line.")


class Result(CallAnswer):
    """Answers call."""

    type: Literal["result"] = "result"
    id: Id | None = None


class Failure(Outgoing):
    """What could not be done; over HTTP the body of every refusal."""

    code: str = Field(description="For programs: not_json, unknown_type, bad_message, refused...")
    message: str = Field(description="For people, one line.")


class ErrorReply(Failure):
    """Answers what could not be done; the connection stays."""

    type: Literal["error"] = "error"
    id: Id | None = None


class State(Outgoing):
    """What changed, whoever changed it; several changes may be told as one, the last value wins."""

    type: Literal["state"] = "state"
    seq: int = Field(description="Of the newest change in it.")
    origin: str = Field(description="Of the newest change in it.")
    values: dict[str, ParamValue]
    board: dict[str, Fact]


class NoticeMessage(NoticeRow):
    type: Literal["notice"] = "notice"


class Pong(Outgoing):
    """Answers ping."""

    type: Literal["pong"] = "pong"
    id: Id | None = None
    uptime_s: float


class ClientRow(Outgoing):
    """One WebSocket client."""

    id: int
    client: str
    address: str
    subscribe: list[str]


class StateAnswer(Outgoing):
    seq: int
    values: dict[str, ParamValue]
    board: dict[str, Fact]
    clients: list[ClientRow]


class NoticesAnswer(Outgoing):
    notices: list[NoticeRow]


class LineRow(Outgoing):
    """One thing that happened: an OSC message, a change, or a line of the log."""

    number: int = Field(description="Counts lines; a gap means that some were missed.")
    at_ms: float = Field(description="Unix time, in order.")
    origin: str
    address: str = Field(description="OSC address; '' = about no single one.")
    text: str = Field(description="Arguments as they came; '= value' is a change.")


class MonitorAnswer(Outgoing):
    """What happened while somebody asked; lines are kept from the first question on."""

    newest: int = Field(description="Number of the newest line: what to ask for next.")
    lines: list[LineRow]


class HealthAnswer(Outgoing):
    """200 while frames flow or could flow, else 503."""

    state: str
    detail: str


class LearnAnswer(Outgoing):
    learning: str = Field(description="The target that waits for an address; '' = none.")
    rows: list[dict[str, JsonValue]]
