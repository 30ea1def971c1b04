"""What the driver of a ring and its ranks say to each other. Hostile until checked.

Every message is a JSON header and, for some, a payload of raw bytes: pixels, an embedding, a value
of the store. How they travel is `channel.py`.

A *rank* is a process with one device, known by a number that is never used twice. An *epoch*
numbers what the stream begins anew: sessions, and every change of who takes part. A *group* is the
epoch from which on the same ranks are connected to each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sdv2_host.config import Config
from sdv2_host.errors import ProtocolError
from sdv2_host.params import Params
from sdv2_host.stages.route import MAX_PLACES

MAX_HEADER_BYTES = 256 * 1024
"""A prompt's parameters and the headers of a chunk's frames take some ten kB."""
MAX_SIDE_PX = 16384
MAX_FRAMES = 64
MAX_TEXT_CHARS = 2000


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Number = Annotated[int, Field(ge=0, lt=2**53)]
"""Of a rank, an epoch, a group or a chunk: whole, and exact in JSON."""
Line = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
"""For a person."""


class Load(_Message):
    """The driver's first message: build the models, then say `Loaded`."""

    kind: Literal["load"] = "load"
    rank: Number
    config: Config
    num_ranks: int = Field(ge=1, le=MAX_PLACES)
    """That the stream begins with, as far as is known."""


class Refuse(_Message):
    """The rank cannot take part, whatever it does; the connection ends."""

    kind: Literal["refuse"] = "refuse"
    reason: Line


class Begin(_Message):
    """A new epoch: whatever was in flight is forgotten, the stream begins anew."""

    kind: Literal["begin"] = "begin"
    epoch: Number
    group: Number
    """Equal to `epoch`: connect anew. Less: connected since then."""
    place: int = Field(ge=0, lt=MAX_PLACES)
    plan: dict[str, Any]
    """Of `RoutePlan.to_json`."""
    lanes: int = Field(ge=1, le=4 * MAX_PLACES)


class FrameHeader(_Message):
    """One frame of a chunk; its pixels follow those of the frame before in the payload."""

    shape: tuple[int, ...]
    dtype: Literal["uint8", "uint16", "float16", "float32"]
    pixel_format: int
    orientation: int
    alpha: int = 0


class Chunk(_Message):
    """To the entry: frames to restyle. Payload: their pixels."""

    kind: Literal["chunk"] = "chunk"
    epoch: Number
    frames: tuple[FrameHeader, ...] = Field(min_length=1, max_length=MAX_FRAMES)
    params: Params
    text_id: Number


class Text(_Message):
    """A prompt, or blend of prompts, that chunks to come are made with. Payload: [1, L, E]."""

    kind: Literal["text"] = "text"
    text_id: Number
    shape: tuple[int, int, int]
    dtype: Literal["float32", "bfloat16", "float16"]


class ForgetTexts(_Message):
    """All texts but these are not needed any more."""

    kind: Literal["forget_texts"] = "forget_texts"
    keep: tuple[Number, ...]


class Rebalance(_Message):
    """To the entry: from the next call on blocks are where this plan says."""

    kind: Literal["rebalance"] = "rebalance"
    epoch: Number
    plan: dict[str, Any]


class Entry(_Message):
    """An entry of a group's store, from any rank to all others. Payload: its value."""

    kind: Literal["entry"] = "entry"
    group: Number
    key: str = Field(max_length=1024)


class Hello(_Message):
    """A rank's first message."""

    kind: Literal["hello"] = "hello"
    version: str = Field(max_length=64)
    """Of this program, of torch and what carries links: ranks that differ may not understand each
    other."""
    ticket: int = Field(ge=-1, lt=2**53)
    """What the driver called the process it started; -1 = an agent did."""
    device: str = Field(max_length=16)
    machine: str = Field(max_length=255)
    pid: Number


class Progress(_Message):
    """Loading goes on: what is being done, fraction 0..1."""

    kind: Literal["progress"] = "progress"
    text: Line
    fraction: float


class Loaded(_Message):
    """The models are there. Times as measured on this device, in ms for one chunk; 0 = not
    measured."""

    kind: Literal["loaded"] = "loaded"
    num_blocks: int = Field(ge=1, le=256)
    """Of the model."""
    encode_ms: float = Field(0.0, ge=0)
    block_ms: float = Field(0.0, ge=0)
    """Of one block for one row."""
    decode_ms: float = Field(0.0, ge=0)
    row_saving: float = Field(0.0, ge=0, le=1)
    room_bytes: Number | None = None
    """Memory for weights and caches; None = not counted."""


class Pulse(_Message):
    """Alive. Sent by a thread of its own, so it also says whether the main thread is."""

    kind: Literal["pulse"] = "pulse"
    busy_ms: float = Field(ge=0)
    """Since when the main thread is at one piece of work; 0 = it waits for some."""
    longest_ms: float = Field(ge=0)
    """That one piece of work took so far."""
    encode_ms: float = Field(0.0, ge=0)
    block_ms: float = Field(0.0, ge=0)
    """Smoothed, of one block for one row; 0 = not measured yet."""
    decode_ms: float = Field(0.0, ge=0)


class EpochReady(_Message):
    """It has the blocks of its place, and connects to its neighbours."""

    kind: Literal["epoch_ready"] = "epoch_ready"
    epoch: Number


class LinkFailed(_Message):
    """The connection to a neighbour has ended, or never came about."""

    kind: Literal["link_failed"] = "link_failed"
    group: Number
    reason: Line


class Picture(_Message):
    """From the exit: one chunk, done, or a band of it. Payload: [T, H, W, 4] uint8."""

    kind: Literal["picture"] = "picture"
    epoch: Number
    index: Number
    """Of the epoch's chunks, from 0."""
    shape: tuple[int, int, int, int]
    first_row: int = Field(ge=0, lt=MAX_SIDE_PX)
    """Of the whole picture, that is the first one here."""
    notes: dict[str, float] = Field(max_length=64)


class Failed(_Message):
    """The rank is about to exit: `error` is the class name, `message` one line for a person."""

    kind: Literal["failed"] = "failed"
    error: str = Field(max_length=64)
    message: Line


ToRank = Load | Refuse | Begin | Chunk | Text | ForgetTexts | Rebalance | Entry
FromRank = Hello | Progress | Loaded | Pulse | EpochReady | LinkFailed | Picture | Entry | Failed

# Built once: a TypeAdapter compiles its validator when made. Immutable after that.
_TO_RANK: TypeAdapter[ToRank] = TypeAdapter(Annotated[ToRank, Field(discriminator="kind")])
_FROM_RANK: TypeAdapter[FromRank] = TypeAdapter(Annotated[FromRank, Field(discriminator="kind")])


def encode(message: ToRank | FromRank) -> bytes:
    """The header of a message."""
    header = message.model_dump_json().encode()
    assert len(header) <= MAX_HEADER_BYTES, f"{message.kind} message of {len(header)} bytes"
    return header


def decode_to_rank(header: bytes) -> ToRank:
    """What the driver said.

    Raises:
        ProtocolError: not JSON, or not one of its messages.
    """
    try:
        return _TO_RANK.validate_json(header)
    except ValidationError as error:
        raise ProtocolError(f"driver: not a message: {header[:80]!r}") from error


def decode_from_rank(header: bytes) -> FromRank:
    """What a rank said.

    Raises:
        ProtocolError: not JSON, or not one of its messages.
    """
    try:
        return _FROM_RANK.validate_json(header)
    except ValidationError as error:
        raise ProtocolError(f"rank: not a message: {header[:80]!r}") from error
