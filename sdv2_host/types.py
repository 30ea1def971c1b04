"""Nouns shared by all layers. Standard library and numpy only: TouchDesigner loads this too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sdv2_host.clock import NS_PER_S, NS_PER_US

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sdv2_host.params import Params


CLOCKS_AGREE_NS = NS_PER_S
"""No frame is captured so long after it was published."""


class PixelFormat(IntEnum):
    """VkFormat numbers, the ones TouchDesigner uses too."""

    R8 = 9
    RGBA8 = 37
    RGBA8_SRGB = 43
    BGRA8 = 44
    RGBA16 = 91
    RGBA16F = 97
    RGBA32F = 109


class AlphaMode(IntEnum):
    OPAQUE = 0
    STRAIGHT = 1
    PREMULTIPLIED = 2


class Orientation(IntEnum):
    TOP_FIRST = 0
    BOTTOM_FIRST = 1


class FrameFlags(IntFlag):
    NONE = 0
    DISCONTINUITY = 1
    REPEATED = 2
    GPU_HANDLE = 4
    CRC_VALID = 8
    LOCKSTEP = 16
    """For renders: the host drops no such frame, and publishes the picture of each once as fresh,
    in order, as soon as it is made."""


class Layout(Enum):
    """How the denoising steps of a stream share the device; the pictures are the same."""

    SERIAL = "serial"
    """All steps of a chunk back to back: lowest latency."""
    BATCH = "batch"
    """One forward per chunk, row i holding the chunk that is i chunks old: highest throughput,
    pictures come num_steps - 1 chunks late."""


class Shape(NamedTuple):
    """What one `Engine.step` does."""

    chunk_frames: int
    """Pixel frames it is given: the paper's T'."""
    layout: Layout
    steps: int
    """Denoising steps of every picture; in a batch also its rows, the paper's B."""

    @property
    def late_chunks(self) -> int:
        """Chunks that go in until the picture of one comes out."""
        return self.steps - 1 if self.layout is Layout.BATCH else 0

    @classmethod
    def parse(cls, text: str) -> Shape:
        """The shape that `str` made this text of."""
        frames, layout, steps = text.removeprefix("chunks of ").split(", ")
        return cls(int(frames), Layout(layout), int(steps.split()[0]))

    def __str__(self) -> str:
        plural = "" if self.steps == 1 else "s"
        return f"chunks of {self.chunk_frames}, {self.layout.value}, {self.steps} step{plural}"


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int

    @property
    def num_pixels(self) -> int:
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def centre_crop(source: Size, target: Size) -> tuple[slice, slice]:
    """(rows, columns) of the largest centred part of `source` with `target`'s aspect."""
    if source.width * target.height > source.height * target.width:
        width = max(1, round(source.height * target.width / target.height))
        left = (source.width - width) // 2
        return slice(0, source.height), slice(left, left + width)
    height = max(1, round(source.width * target.height / target.width))
    top = (source.height - height) // 2
    return slice(top, top + height), slice(0, source.width)


class StageTimes(NamedTuple):
    """What a picture's stages took, in microseconds; 0 = not told. A slot header carries them."""

    wait_us: int = 0
    """From the capture of its source frame until the engine was given it: the way into the host,
    the queue, and the other frames of its chunk."""
    upload_us: int = 0
    encode_us: int = 0
    denoise_us: int = 0
    """All its steps together; in a batch each is a step of the other chunks in it too."""
    decode_us: int = 0
    download_us: int = 0


NOT_TOLD = StageTimes()


class FrameBudget(NamedTuple):
    """A picture's way from capture to publication in microseconds. The parts add up to all of it,
    and none is below 0 but where a writer told nonsense."""

    wait_us: int
    upload_us: int
    encode_us: int
    denoise_us: int
    decode_us: int
    download_us: int
    between_us: int
    """In the engine while no stage worked on it: it waited for a stage, or for the chunks that push
    it through a batch; and what is no stage of its own, such as merging a LoRA."""
    publish_us: int
    """From made to published: the way to the output, and pacing. Of a repeated picture also how
    long it has been shown."""

    @property
    def latency_us(self) -> int:
        return sum(self)


STAGES = tuple(name.removesuffix("_us") for name in FrameBudget._fields)
"""The parts of a latency, in a picture's order but for `between`."""


@dataclass(frozen=True, slots=True)
class FrameMeta:
    """What a ring slot says of its frame. Times are `clock.now_ns`, 0 = unknown."""

    width: int
    height: int
    pixel_format: PixelFormat = PixelFormat.RGBA8
    alpha: AlphaMode = AlphaMode.OPAQUE
    orientation: Orientation = Orientation.TOP_FIRST
    flags: FrameFlags = FrameFlags.NONE
    frame: int = 0
    """Number in its ring, from 1; given by the writer."""
    dropped_before: int = 0
    """Frames the writer skipped since the previous one."""
    capture_ts_ns: int = 0
    """Of a picture that the host made: when it was made."""
    publish_ts_ns: int = 0
    source_frame: int = 0
    """Number in the input ring of the frame this one was made from."""
    source_capture_ts_ns: int = 0
    user_tag: int = 0
    """Version of the parameters the frame was made with."""
    present_ts_ns: int = 0
    """When the frame is due; 0 = now."""
    times: StageTimes = NOT_TOLD
    """Of a repeated picture those of the fresh one."""

    @property
    def captured_ns(self) -> int:
        """When its writer captured it; where it does not say, or tells of a time long after it
        published it, which is another clock's, when it published it."""
        is_of_another = 0 < self.publish_ts_ns < self.capture_ts_ns - CLOCKS_AGREE_NS
        return self.publish_ts_ns if is_of_another else self.capture_ts_ns or self.publish_ts_ns

    @property
    def budget(self) -> FrameBudget:
        """Of a published picture that the host made."""
        captured_us, made_us, published_us = (
            ns // NS_PER_US
            for ns in (self.source_capture_ts_ns, self.capture_ts_ns, self.publish_ts_ns)
        )
        between_us = made_us - captured_us - sum(self.times)
        return FrameBudget(*self.times, between_us, published_us - made_us)


@dataclass(frozen=True, slots=True)
class Frame:
    """Pixels [H, W, C] (uint8, uint16, float16 or float32 by `meta.pixel_format`) and meta."""

    meta: FrameMeta
    pixels: NDArray[Any]

    @property
    def is_lockstep(self) -> bool:
        return FrameFlags.LOCKSTEP in self.meta.flags


class PartDone(NamedTuple):
    """What an engine had done when some of its pictures were made."""

    num_frames: int
    """Of a `StyledChunk`, those after the frames of the part before; 0 = it only brought others
    nearer."""
    spans_ms: Mapping[str, float]
    """Of that work, by stage."""
    is_step: bool
    """A `step`; False = a batch was emptied."""


@dataclass(frozen=True, slots=True)
class StyledChunk:
    """What an engine returns for the frames it was given."""

    frames: NDArray[np.uint8]
    """[T, H, W, 4] RGBA, T equal to the number of frames given."""
    spans_ms: dict[str, float]
    """Time per stage: upload, encode, denoise, decode, download."""
    notes: dict[str, float]
    """What the stream decided: noise_scale, motion, ... for metrics."""
    problem: str = ""
    """What of the parameters could not be followed and why, for a person; '' = all is well."""
    look_serial: int = 0
    """Of the newest order about a look that was done, or refused."""
    looks: tuple[str, ...] = ()
    """Names of the looks in the engine's memory after it."""
    interval_ms: float = 0.0
    """What the engine takes from one chunk to the next while it always has one, where it goes on by
    itself when `step` has returned; 0 = as long as `step` takes."""
    parts: tuple[PartDone, ...] = ()
    """Every step of the session once, in order, when it is done, and what emptied a batch; together
    they made `frames`. Empty: what each picture took is not known."""
    carries_alpha: bool = False
    """The pictures have the alpha of their frames, premultiplied; else they are opaque."""
    ends_session: bool = False
    """What the engine owes beside `frames` never comes: its numbers were not finite any more. The
    next `step` begins a session, as after `reset`."""

    @property
    def has_more_work(self) -> bool:
        """A LoRA was merged or the past denoised anew: other chunks do not take as long."""
        return "lora" in self.spans_ms or "recached" in self.notes


ProgressFn = Callable[[str, float], None]
"""(what is being done, fraction 0..1)"""


def part_of(progress: ProgressFn, begin: float, end: float) -> ProgressFn:
    """Progress of one part as a part of the whole."""
    return lambda text, fraction: progress(text, begin + fraction * (end - begin))


class Engine(Protocol):
    """The seam between the host and whatever makes pictures. Used by one thread only."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> Size | None:
        """Size of output frames; None = the size of the input."""

    @property
    def first_chunk_frames(self) -> int:
        """Frames wanted by the first `step` of a session."""

    @property
    def chunk_frames(self) -> int:
        """Frames wanted by every later `step`, as started."""

    @property
    def layout(self) -> Layout:
        """As started."""

    @property
    def delay_frames(self) -> int:
        """How many further frames `step` is given, at most, until it returns a frame's picture.

        The same for the engine's life, whatever the parameters, with chunks and layout as started.
        """

    @property
    def most_behind(self) -> int:
        """Chunks, beside those of a batch, that may be on their way when `step` returns: the stages
        of neighbouring ones overlap. Known after `warm_up`."""

    @property
    def step_ms(self) -> Mapping[Shape, float]:
        """What a step takes, by shape, measured by `warm_up`; empty: there is nothing to choose.

        A multiple of `chunk_frames` that is in it may be given to `step` in its place.
        """

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        """After this the first `step` is as fast as any other."""

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        """Style the frames; same number out as in over a session, same order.

        `layout` None = as started.
        """

    def collect(self) -> StyledChunk:
        """Pictures that are done by now, without waiting: of an engine that goes on by itself
        between two steps. Any other has returned them all."""

    def finish(self) -> StyledChunk:
        """The pictures that a batch still owes, if any; the session goes on."""

    def reset(self) -> None:
        """The next `step` begins a session equal to a fresh engine's."""
