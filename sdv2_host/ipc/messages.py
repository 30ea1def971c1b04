"""What the daemon and its processes say to each other: one JSON object a line, of MAX_LINE_BYTES.

    daemon -> worker    Configure first, then SetParams and Stop
    worker -> daemon    Progress, Ready once, then Report per chunk and Heartbeat between them,
                        Problem and ShowTold when there is news, Failed before it exits on an
                        error
    daemon -> text      ConfigureText first, then EncodePrompt, one at a time, and Stop
    text -> daemon      Progress, PromptEncoded for each EncodePrompt, Failed before it exits on
                        an error

Codec only: no pipe, no clock. Anything that does not parse raises ProtocolError.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sdv2_host.config import Config
from sdv2_host.errors import ProtocolError
from sdv2_host.params import Params
from sdv2_host.picture_params import PROMPT_MAX_CHARS

M = TypeVar("M")

MAX_LINE_BYTES = 256 * 1024
"""A prompt of PROMPT_MAX_CHARS is at most 24 kB as JSON; the rest is head-room for notes."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Configure(_Message):
    """The worker's first line: everything it needs to be ready."""

    kind: Literal["configure"] = "configure"
    config: Config
    work_stream: str
    """The ring that it writes."""
    params: Params
    version: int = Field(ge=0)
    run_dir: str | None = None
    """Folder of the rings' descriptors; None = the default."""


class SetParams(_Message):
    """The snapshot to use from the next chunk on."""

    kind: Literal["set_params"] = "set_params"
    version: int = Field(ge=0)
    params: Params


class Stop(_Message):
    """Finish the chunk in hand, close the rings, exit."""

    kind: Literal["stop"] = "stop"


class Progress(_Message):
    """Start-up goes on: what is being done, fraction 0..1."""

    kind: Literal["progress"] = "progress"
    text: str
    fraction: float


class Ready(_Message):
    """The engine is warm; the next input frame is styled."""

    kind: Literal["ready"] = "ready"
    engine: str
    warmup_ms: float
    ready_ns: int
    """`clock.now_ns` of the worker."""
    width: int
    height: int
    """Output size, px; 0x0 = the size of the input."""
    first_chunk_frames: int
    chunk_frames: int
    delay_frames: int
    """Further frames, at most, until the picture of a frame is there."""
    layout: Literal["serial", "batch"] = "serial"
    """As started."""
    step_ms: dict[str, float] = {}
    """What a step takes, by shape; empty: the engine has one only."""


class Pace(_Message):
    """What the scheduler reckons with, once the first steps have put its table right."""

    source_fps: float
    slowdown: float
    """Of the device, against what `Ready` says that steps take."""
    is_lockstep: bool


class Report(_Message):
    """One chunk was published on the work ring. Counts are since the worker's start."""

    kind: Literal["report"] = "report"
    version: int
    """Of the parameters that the chunk was made with."""
    spans_ms: dict[str, float]
    took_ms: float = 0.0
    """From this chunk to the next while there always is one; 0 = not known."""
    notes: dict[str, float]
    frames_in: int
    """Frames the source published, the ones missed included."""
    frames_out: int
    """Frames whose pictures are on the work ring, or in flight in the engine."""
    dropped: int
    """Frames of the source that have no picture and will have none."""
    queue_depth: int
    """Frames still waiting in the intake."""
    rss_bytes: int
    no_room: str = ""
    """Why its pictures are not on the work ring, for a person; '' = they are."""
    pace: Pace | None = None
    """None = not known yet, or nothing is to be decided."""
    schedule: str = ""
    """What is done to keep the rate, and why; '' = nothing is to be decided."""
    look_serial: int = 0
    """Of the newest order about a look that the engine has done, or refused."""
    looks: tuple[str, ...] = ()
    """Names of the looks in its memory after that."""


class Heartbeat(_Message):
    """Alive, with no frames to style."""

    kind: Literal["heartbeat"] = "heartbeat"


class Problem(_Message):
    """Part of the parameters cannot be followed; the worker goes on without it."""

    kind: Literal["problem"] = "problem"
    text: str
    """One line for a person; '' = the last one is resolved."""


class ShowTold(_Message):
    """What has become of the show that was to be recorded."""

    kind: Literal["show_told"] = "show_told"
    show: str
    """As `Params.show` named it; '' = one that was recorded before."""
    text: str
    """One line for a person."""
    has_failed: bool
    """It is not recorded any more."""


class ConfigureText(_Message):
    """The text process' first line: everything it needs to load the encoder."""

    kind: Literal["configure_text"] = "configure_text"
    config: Config
    text_dim: int = Field(gt=0)
    """Numbers per token that the DiT takes."""


class EncodePrompt(_Message):
    """The prompt shall be in the bank."""

    kind: Literal["encode_prompt"] = "encode_prompt"
    prompt: str = Field(max_length=PROMPT_MAX_CHARS)


class PromptEncoded(_Message):
    """The prompt is in the bank."""

    kind: Literal["prompt_encoded"] = "prompt_encoded"
    prompt: str
    num_tokens: int


class Failed(_Message):
    """The process is about to exit: `error` is the class name, `message` one line for a person."""

    kind: Literal["failed"] = "failed"
    error: str
    message: str


ToWorker = Configure | SetParams | Stop
FromWorker = Progress | Ready | Report | Heartbeat | Problem | ShowTold | Failed
ToText = ConfigureText | EncodePrompt | Stop
FromText = Progress | PromptEncoded | Failed

# Built once: a TypeAdapter compiles its validator when made. Immutable after that.
_TO_WORKER: TypeAdapter[ToWorker] = TypeAdapter(Annotated[ToWorker, Field(discriminator="kind")])
_FROM_WORKER: TypeAdapter[FromWorker] = TypeAdapter(
    Annotated[FromWorker, Field(discriminator="kind")]
)
_TO_TEXT: TypeAdapter[ToText] = TypeAdapter(Annotated[ToText, Field(discriminator="kind")])
_FROM_TEXT: TypeAdapter[FromText] = TypeAdapter(Annotated[FromText, Field(discriminator="kind")])


def encode(message: ToWorker | FromWorker | ToText | FromText) -> bytes:
    """The message as one line, newline included."""
    line = message.model_dump_json().encode() + b"\n"
    assert len(line) <= MAX_LINE_BYTES, f"{message.kind} message of {len(line)} bytes"
    return line


def decode_to_worker(line: bytes) -> ToWorker:
    """The message of one line that the daemon sent.

    Raises:
        ProtocolError: too long, not JSON, or not one of the messages.
    """
    return _decode(_TO_WORKER, line, "daemon")


def decode_from_worker(line: bytes) -> FromWorker:
    """The message of one line that the worker sent.

    Raises:
        ProtocolError: too long, not JSON, or not one of the messages.
    """
    return _decode(_FROM_WORKER, line, "worker")


def decode_to_text(line: bytes) -> ToText:
    """The message of one line that the daemon sent to the text process.

    Raises:
        ProtocolError: too long, not JSON, or not one of the messages.
    """
    return _decode(_TO_TEXT, line, "daemon")


def decode_from_text(line: bytes) -> FromText:
    """The message of one line that the text process sent.

    Raises:
        ProtocolError: too long, not JSON, or not one of the messages.
    """
    return _decode(_FROM_TEXT, line, "text process")


def _decode(adapter: TypeAdapter[M], line: bytes, sender: str) -> M:
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"{sender}: line of {len(line)} bytes, allowed are {MAX_LINE_BYTES}")
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        raise ProtocolError(f"{sender}: not a message: {line[:80]!r}") from error
