"""One part of a show, being written: what waits for the disk, and the thread that writes it."""

from __future__ import annotations

import errno
import os
import platform
import queue
import threading
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from av.error import FFmpegError

from sdv2_host import __version__
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError, HostError
from sdv2_host.host.engine_memory import KeptMemory
from sdv2_host.host.show_format import (
    CONFIG_NAMES,
    MAX_PARTS,
    MAX_VIDEOS,
    MEMORY_FILE,
    PART,
    PART_FILE,
    SHOW,
    SHOW_FILE,
    STEPS_FILE,
    Call,
    Collect,
    Finish,
    Machine,
    PartFile,
    ShowFile,
    SourceFrame,
    Step,
    changed_params,
    digests_of,
    encode_call,
    form_of,
    part_name,
    plain_params,
    video_name,
)
from sdv2_host.host.show_video import VideoWriter, kind_of
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.models.weights import weights_of
from sdv2_host.models.whole_file import write_whole
from sdv2_host.params import Params
from sdv2_host.types import Frame, Layout, StyledChunk

MAX_WAITING_BYTES = 256 << 20
"""Frames that wait for the disk: 2.4 s of 1280x720 at 30 fps."""


class Beginning(NamedTuple):
    """What a part begins with."""

    config: Config
    params: Params
    """The engine was warmed up with."""
    delay_frames: int
    kept: KeptMemory | None
    """None: nothing, it has not been at work."""


class Stepped(NamedTuple):
    """A step as it was made."""

    frames: list[Frame]
    params: Params
    layout: Layout
    begins_session: bool
    styled: StyledChunk

    @property
    def num_bytes(self) -> int:
        pictures = self.styled.frames.nbytes
        return sum(frame.pixels.nbytes for frame in self.frames) + pictures


class Returned(NamedTuple):
    """Pictures that came without a step."""

    do: Literal["finish", "collect"]
    styled: StyledChunk

    @property
    def num_bytes(self) -> int:
        return self.styled.frames.nbytes


class ShowPart:
    """Used by the engine's thread, which it never makes wait. Owns a thread.

    Why a thread: encoding and writing a frame takes as long as styling one may, and a disk may
    take seconds. It holds the interpreter little: codec and digests release it.

    Fields, all for the part: what waits, how many bytes of it, why it ended.
    """

    def __init__(
        self, show: Path, beginning: Beginning, max_waiting_bytes: int = MAX_WAITING_BYTES
    ) -> None:
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: queue.SimpleQueue[Stepped | Returned | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._is_ending = False
        self.problem = ""
        """Why it ended before it was asked to, for a person; '' = it did not."""
        self.num_steps = 0
        """That are on the disk."""
        self.show = show
        self.folder = show
        """Of the part, once there is one."""
        self._thread = threading.Thread(
            target=self._run, args=(show, beginning), name="show", daemon=True
        )
        self._thread.start()

    @property
    def is_written(self) -> bool:
        """It has ended, and all that will be of it is on the disk."""
        return not self._thread.is_alive()

    def put(self, said: Stepped | Returned) -> None:
        """It will be written; or the part ends, where too much waits already."""
        if self._is_ending:
            return
        with self._lock:
            self._waiting_bytes += said.num_bytes
            is_too_much = self._waiting_bytes > self._max_waiting_bytes
        if is_too_much:
            self.problem = (
                f"{self._max_waiting_bytes >> 20} MiB of frames wait to be written: the disk or "
                "the processor is too slow for a source of this size"
            )
            self.end()
            return
        self._waiting.put(said)

    def end(self) -> None:
        """What waits is written, and nothing more; `is_written` says when."""
        if not self._is_ending:
            self._is_ending = True
            self._waiting.put(None)

    def join(self, timeout_s: float) -> None:
        """Waits until it is written, at most so long."""
        self._thread.join(timeout_s)

    def _run(self, show: Path, beginning: Beginning) -> None:
        problem = "the recorder has failed, see the log"
        try:
            self.folder = begin_part(show, beginning)
            with (self.folder / STEPS_FILE).open("xb") as lines:
                writer = _StepWriter(self.folder, lines, beginning.params)
                try:
                    self._write_all(writer)
                    writer.close()
                except BaseException:
                    writer.abandon()
                    raise
            problem = ""
        except (OSError, FFmpegError, HostError) as error:
            problem = _reason(error, show)
        finally:
            self.problem = self.problem or problem
            self._is_ending = True

    def _write_all(self, writer: _StepWriter) -> None:
        while (said := self._waiting.get()) is not None:
            writer.write(said)
            self.num_steps += isinstance(said, Stepped)
            with self._lock:
                self._waiting_bytes -= said.num_bytes


class _StepWriter:
    """Fields, per part: its files; the newest parameters; the video in hand, and its number."""

    def __init__(self, folder: Path, lines: BinaryIO, params: Params) -> None:
        self._folder = folder
        self._lines = lines
        self._params = plain_params(params)
        self._video: VideoWriter | None = None
        self._number = 0

    def write(self, said: Stepped | Returned) -> None:
        """It is in the files, as far as the system can tell."""
        self._write_line(self._step(said) if isinstance(said, Stepped) else _returned(said))

    def _step(self, said: Stepped) -> Step:
        pictures = [to_rgba8(frame) for frame in said.frames]
        captures = [frame.meta.captured_ns for frame in said.frames]
        kind = kind_of(pictures)
        if self._video is None or self._video.kind != kind:
            self._next_video()
            self._video = VideoWriter(self._folder / video_name(self._number), kind)
        # Frames before their step: what a step names is there.
        for picture, capture_ns in zip(pictures, captures, strict=True):
            self._video.write(picture, capture_ns)
        params = plain_params(said.params)
        changes = changed_params(self._params, params)
        self._params = params
        numbers = [frame.meta.frame for frame in said.frames]
        return Step(
            frames=tuple(map(SourceFrame, numbers, captures)),
            video=self._number,
            form=form_of(said.frames[0]),
            is_lockstep=any(frame.is_lockstep for frame in said.frames),
            begins_session=said.begins_session,
            params=changes,
            layout=said.layout,
            out=digests_of(said.styled),
        )

    def _next_video(self) -> None:
        self.close()
        self._number += 1
        if self._number > MAX_VIDEOS:
            raise ConfigError(f"the source has changed its size {MAX_VIDEOS} times, no more fit in")

    def _write_line(self, call: Call) -> None:
        self._lines.write(encode_call(call))
        self._lines.flush()

    def close(self) -> None:
        if self._video is not None:
            self._video.close()

    def abandon(self) -> None:
        if self._video is not None:
            self._video.abandon()


def _returned(said: Returned) -> Call:
    digests = digests_of(said.styled)
    return Finish(out=digests) if said.do == "finish" else Collect(out=digests)


def begin_part(show: Path, beginning: Beginning) -> Path:
    """The folder of a new part of the show, which is made where it is not there.

    Raises:
        OSError: the disk is full or gone.
        ConfigError: there are as many parts as there may be.
        ModelError: the register of models is damaged.
    """
    show.mkdir(parents=True, exist_ok=True)
    if not (show / SHOW_FILE).exists():
        write_whole(show / SHOW_FILE, SHOW.dump(ShowFile(app=__version__)))
    folder = _new_folder(show)
    if beginning.kept is not None:
        beginning.kept.write(folder / MEMORY_FILE)
    whole = beginning.config.model_dump(mode="json")
    part = PartFile(
        config={name: whole[name] for name in sorted(CONFIG_NAMES)},
        params=plain_params(beginning.params),
        delay_frames=beginning.delay_frames,
        has_memory=beginning.kept is not None,
        machine=this_machine(beginning.config),
    )
    write_whole(folder / PART_FILE, PART.dump(part))
    return folder


def _new_folder(show: Path) -> Path:
    """Two workers may begin at once: whoever makes a folder has it."""
    for number in range(1, MAX_PARTS + 1):
        folder = show / part_name(number)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise ConfigError(f"{show} has {MAX_PARTS} parts, no more fit in")


def this_machine(config: Config) -> Machine:
    """What pictures may hang on beside these settings.

    Raises:
        ModelError: the register of models is damaged.
        ConfigError: there is no such model.
        OSError: the embedded model cannot be read.
    """
    return Machine(
        app=__version__,
        torch=metadata.version("torch"),
        python=platform.python_version(),
        system=platform.platform()[:500],
        processor=(platform.processor() or platform.machine())[:500],
        cores=os.cpu_count() or 0,
        weights=weights_of(config),
    )


def _reason(error: Exception, show: Path) -> str:
    if isinstance(error, HostError):
        return str(error)
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {show}: the disk is full"
    text = error.strerror if isinstance(error, OSError) else str(error)
    return f"cannot write {show} ({text or type(error).__name__})"
