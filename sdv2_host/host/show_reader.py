"""A recorded show, read as if an enemy had written it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.host.show_format import (
    MAX_LINE_BYTES,
    MAX_PARTS,
    MAX_STEPS,
    MEMORY_FILE,
    PART,
    PART_FILE,
    SHOW,
    SHOW_FILE,
    STEPS_FILE,
    Call,
    PartFile,
    Step,
    decode_call,
    next_params,
    part_name,
    video_name,
)
from sdv2_host.host.show_video import VideoReader, as_it_was, meta_of
from sdv2_host.params import Params
from sdv2_host.types import Frame, Size

MAX_STEP_BYTES = 1 << 30
"""Of the frames of one step: eight of 4096x4096."""


class Part(NamedTuple):
    """What one worker made."""

    folder: Path
    facts: PartFile
    config: Config
    params: Params
    """The engine was warmed up with."""

    @property
    def memory(self) -> Path | None:
        """What the engine remembered as the part began; None = it was new."""
        return self.folder / MEMORY_FILE if self.facts.has_memory else None


class RecordedCall(NamedTuple):
    """A call of the engine."""

    number: int
    """In its part, from 1."""
    call: Call
    params: Params
    """Of this step, or of the newest."""


class FedCall(NamedTuple):
    """A call, with the frames of a step."""

    recorded: RecordedCall
    frames: list[Frame]


def open_show(folder: Path) -> list[Part]:
    """Its parts, in order; those that a worker died in before it had begun are left out.

    Raises:
        ConfigError: it is no show, or one that this version cannot read.
    """
    if not (folder / SHOW_FILE).is_file():
        raise ConfigError(
            f"{folder} is not a recorded show: expected a folder with {SHOW_FILE} in it, such as "
            "sdv2-20261127-200000-000.show in the recordings folder"
        )
    SHOW.read(_file(folder / SHOW_FILE))
    parts = []
    for number in range(1, MAX_PARTS + 1):
        part = folder / part_name(number)
        if not part.is_dir():
            break
        if part.is_symlink():
            raise ConfigError(f"{part} is a link: a show has files only")
        if (part / PART_FILE).exists() and (part / STEPS_FILE).exists():
            parts.append(_open_part(part))
    if not parts:
        raise ConfigError(f"{folder} holds no part: nothing was recorded")
    return parts


def _open_part(folder: Path) -> Part:
    path = _file(folder / PART_FILE)
    facts = PART.read(path).value
    config, params = facts.made_config(str(path)), facts.made_params(str(path))
    return Part(folder, facts, config, params.model_copy(update={"show": ""}))


def read_calls(part: Part) -> Iterator[RecordedCall]:
    """Every call of the part, in order; a last line without an end was being written when the
    worker died, and is left out.

    Raises:
        ConfigError: a line is none, or asks for what cannot be.
    """
    params = part.params
    path = _file(part.folder / STEPS_FILE)
    must_begin = part.memory is None
    try:
        with path.open("rb") as lines:
            for number in range(1, MAX_STEPS + 1):
                line = lines.readline(MAX_LINE_BYTES + 1)
                if not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
                    return
                where = f"{path}, line {number}"
                call = decode_call(line, where)
                if isinstance(call, Step):
                    params = next_params(params, call.params, where)
                    most = part.config.num_step_rows
                    if params.steps > most:
                        raise ConfigError(f"{where}: {params.steps} steps, allowed are {most}")
                    if must_begin and not call.begins_session:
                        raise ConfigError(f"{where}: the first step begins no session")
                    must_begin = False
                yield RecordedCall(number, call, params)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    raise ConfigError(f"{path}: more than {MAX_STEPS} lines")


def feed(part: Part) -> Iterator[FedCall]:
    """Every call of the part with its frames, up to the first step whose frames are not there:
    there the recording was cut off.

    Raises:
        ConfigError: a file is not what a show is recorded to.
    """
    video: VideoReader | None = None
    number = 0
    try:
        for recorded in read_calls(part):
            call = recorded.call
            if not isinstance(call, Step):
                yield FedCall(recorded, [])
                continue
            if video is None or call.video != number:
                if call.video != number + 1:
                    raise ConfigError(f"{part.folder}: step {recorded.number} skips a video")
                if video is not None:
                    video.close()
                path, number = part.folder / video_name(call.video), call.video
                if not path.exists():
                    return
                video = VideoReader(path)
            frames = _frames(video, call)
            if len(frames) < len(call.frames):
                return
            yield FedCall(recorded, frames)
    finally:
        if video is not None:
            video.close()


def _frames(video: VideoReader, call: Step) -> list[Frame]:
    num_bytes = 4 * video.size.num_pixels * len(call.frames)
    if num_bytes > MAX_STEP_BYTES:
        raise ConfigError(
            f"a step of {len(call.frames)} frames of {video.size} takes {num_bytes >> 20} MiB, "
            f"allowed are {MAX_STEP_BYTES >> 20}"
        )
    frames = []
    for pixels, source in zip(video.take(len(call.frames)), call.frames, strict=False):
        height, width = pixels.shape[:2]
        meta = meta_of(Size(width, height), call.form, source, is_lockstep=call.is_lockstep)
        frames.append(as_it_was(pixels, meta, call.form))
    return frames


def _file(path: Path) -> Path:
    """Raises: ConfigError: it is a link, which might lead anywhere."""
    if path.is_symlink():
        raise ConfigError(f"{path} is a link: a show has files only")
    return path
