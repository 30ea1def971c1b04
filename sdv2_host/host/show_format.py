"""A recorded show on the disk: what its files are called and what stands in them. No I/O.

    NAME.show/
      show.json               that it is one
      part-001/               what one worker made, from its start or from when recording began
        part.json             with which settings, on what machine
        steps.jsonl           one line per call of the engine, in order
        input-001.mkv         the frames of these steps, in order, without loss
        input-002.mkv         the next ones, where the source's size changed or its alpha came
        memory.safetensors    what the engine remembered, where it had been at work before

All names are numbered, none is read from a file. What is read is refused where it is not as written
here: a show may come from anyone.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sdv2_host.config import Config
from sdv2_host.config_checks import parse_size
from sdv2_host.control.documents import Format, parse_json
from sdv2_host.errors import ConfigError
from sdv2_host.params import Params
from sdv2_host.types import AlphaMode, Frame, Layout, Orientation, PixelFormat, StyledChunk

M = TypeVar("M", bound=BaseModel)

SHOW_FILE = "show.json"
PART_FILE = "part.json"
STEPS_FILE = "steps.jsonl"
MEMORY_FILE = "memory.safetensors"
MAX_PARTS = 999
MAX_VIDEOS = 999
MAX_LINE_BYTES = 256 * 1024
MAX_STEP_FRAMES = 256
MAX_STEPS = 20_000_000
"""Of a part: weeks."""
DIGEST_BYTES = 8
MAX_THREADS = 1024
MAX_DEVICES = 64

CONFIG_NAMES = frozenset(
    (
        *("engine", "width", "height", "threads", "compile", "device", "dtype", "vae", "mode"),
        *("layout", "max_steps", "graphs", "attention", "linears", "overlap"),
        *("devices", "route", "transport", "lanes"),
    )
)
"""What of the settings the pictures depend on. No folder or address of the machine is kept."""

_Digest = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * DIGEST_BYTES}}}$")]
_Text = Annotated[str, Field(max_length=500)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ShowFile(BaseModel):
    """What says that the folder is a show."""

    app: _Text = ""


SHOW = Format("sdv2-show", ShowFile, {})


class Machine(_Model):
    """What equal settings may give other pictures on, in the last bit."""

    app: _Text
    torch: _Text
    python: _Text
    system: _Text
    processor: _Text
    cores: Annotated[int, Field(ge=0, le=100_000)]
    weights: _Text = ""
    """Of the model, as `weights_of` names them; '' = there are none, or it was not told."""


class PartFile(BaseModel):
    """Of one worker, from its start or from when the recording began."""

    config: dict[str, Any]
    params: dict[str, Any]
    """The engine was warmed up with."""
    delay_frames: int = Field(ge=0, le=10_000)
    """Of the engine: says whether its stages overlapped, where that was its own choice."""
    has_memory: bool
    """The engine had been at work before: what it remembered is beside this."""
    machine: Machine

    def made_config(self, where: str) -> Config:
        """Raises: ConfigError: not settings of this version."""
        unknown = self.config.keys() - CONFIG_NAMES
        if unknown:
            raise ConfigError(f"{where}: unknown setting {min(unknown)!r:.60}")
        config = _validated(Config, self.config, where)
        parse_size(f"{config.width}x{config.height}", f"{where}: size")
        if config.threads > MAX_THREADS or len(config.ring_devices) > MAX_DEVICES:
            raise ConfigError(
                f"{where}: {config.threads} threads on {len(config.ring_devices)} devices, allowed "
                f"are {MAX_THREADS} on {MAX_DEVICES}"
            )
        return config

    def made_params(self, where: str) -> Params:
        """Raises: ConfigError: not parameters of this version."""
        return _validated(Params, self.params, where)


PART = Format("sdv2-show-part", PartFile, {})


class SourceFrame(NamedTuple):
    """Which frame of the source it was."""

    number: Annotated[int, Field(ge=0, le=2**63 - 1)]
    """In its ring."""
    capture_ns: Annotated[int, Field(ge=0, le=2**63 - 1)]
    """Of the clock that all times of a host are of; 0 = unknown."""


class Form(NamedTuple):
    """How the pixels of a step's frames lay in memory. The file has them as RGBA, top row first,
    8 bits each: that is what an engine makes of them first."""

    pixel_format: PixelFormat = PixelFormat.RGBA8
    alpha: AlphaMode = AlphaMode.OPAQUE
    orientation: Orientation = Orientation.TOP_FIRST


class Step(_Model):
    """`Engine.step`."""

    do: Literal["step"] = "step"
    frames: tuple[SourceFrame, ...] = Field(min_length=1, max_length=MAX_STEP_FRAMES)
    video: int = Field(ge=1, le=MAX_VIDEOS)
    """Number of the file that has them."""
    form: Form
    is_lockstep: bool = False
    begins_session: bool = False
    params: dict[str, Any] = {}
    """What of them is not as in the step before; in the first, as in part.json."""
    layout: Layout
    out: tuple[_Digest, ...] = ()
    """Of the pictures that came back, which may be of frames before."""


class Finish(_Model):
    """`Engine.finish`: the source had stalled."""

    do: Literal["finish"] = "finish"
    out: tuple[_Digest, ...] = ()


class Collect(_Model):
    """`Engine.collect`: pictures that were done between two steps."""

    do: Literal["collect"] = "collect"
    out: tuple[_Digest, ...] = ()


Call = Step | Finish | Collect
_CALL: TypeAdapter[Call] = TypeAdapter(Annotated[Call, Field(discriminator="do")])


def part_name(number: int) -> str:
    return f"part-{number:03}"


def video_name(number: int) -> str:
    return f"input-{number:03}.mkv"


def encode_call(call: Call) -> bytes:
    """The call as one line."""
    return call.model_dump_json().encode() + b"\n"


def decode_call(line: bytes, where: str) -> Call:
    """The call of one line.

    Raises:
        ConfigError: it is none.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ConfigError(f"{where}: longer than {MAX_LINE_BYTES} bytes")
    try:
        return _CALL.validate_python(parse_json(line, where))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first(error)}") from None


def plain_params(params: Params) -> dict[str, Any]:
    """As JSON has them; without the folder of the show."""
    return params.model_copy(update={"show": ""}).model_dump(mode="json")


def changed_params(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What of plain parameters differs."""
    return {name: value for name, value in after.items() if before[name] != value}


def next_params(before: Params, changes: dict[str, Any], where: str) -> Params:
    """Raises: ConfigError: no such parameter, or out of its range."""
    if not changes:
        return before
    return _validated(Params, {**plain_params(before), **changes, "show": ""}, where)


def digests_of(styled: StyledChunk) -> tuple[str, ...]:
    """One per picture."""
    return tuple(digest_of(picture) for picture in styled.frames)


def digest_of(picture: NDArray[np.uint8]) -> str:
    """Of pixels and size."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    digest.update(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def form_of(frame: Frame) -> Form:
    """16 bits and floats are rounded to 8 by whoever takes them, and so are in the file."""
    meta = frame.meta
    is_bytes = meta.pixel_format in (PixelFormat.R8, PixelFormat.BGRA8)
    kept = meta.pixel_format if is_bytes else PixelFormat.RGBA8
    return Form(kept, meta.alpha, meta.orientation)


def _validated(model: type[M], raw: dict[str, Any], where: str) -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place!r:.120}: {first['msg']:.200}"
