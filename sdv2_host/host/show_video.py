"""The frames of a recorded show as lossless video: written as they come, read back bit for bit.

H.264 in RGB without quantisation is the fastest that Matroska holds (640x480: 8 ms of one core a
frame, FFV1 15) but has no alpha; frames with alpha are FFV1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS
from sdv2_host.errors import ConfigError
from sdv2_host.host.show_format import Form, SourceFrame
from sdv2_host.ipc.pixels import to_bgra8
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Orientation, PixelFormat, Size
from sdv2_host.video_input import open_input

MS = Fraction(1, 1000)
NOMINAL_FPS = 30
MAX_SIDE_PX = 8192
OPAQUE = 255


class VideoKind(NamedTuple):
    """Frames alike in this are in one file."""

    size: Size
    has_alpha: bool


class _Codec(NamedTuple):
    name: str
    pixels: str
    options: dict[str, str]


_OPAQUE = _Codec(
    "libx264rgb", "bgr0", {"preset": "ultrafast", "qp": "0", "tune": "zerolatency", "g": "30"}
)
_ALPHA = _Codec("ffv1", "bgra", {"level": "3", "coder": "0", "context": "0", "g": "1"})
_SMALL_ALPHA = _Codec("ffv1", "bgra", {**_ALPHA.options, "level": "1"})
"""Without slices, which FFmpeg cannot cut some sizes of a few pixels into."""
SMALL_PX = 64
_READ = frozenset(("h264", "ffv1"))


def kind_of(frames: list[NDArray[np.uint8]]) -> VideoKind:
    """Of the frames of one step, [H, W, 4], which are of one size."""
    height, width = frames[0].shape[:2]
    has_alpha = any(bool((frame[..., 3] != OPAQUE).any()) for frame in frames)
    return VideoKind(Size(width, height), has_alpha)


class VideoWriter:
    """One file, being written. It can be read however its writer ends.

    Fields, per file: the container and its stream; when its first frame was captured; the time of
    the newest, in ms after that.
    """

    def __init__(self, path: Path, kind: VideoKind) -> None:
        """Raises: OSError, FFmpegError: it cannot be written."""
        with_alpha = _SMALL_ALPHA if min(kind.size) < SMALL_PX else _ALPHA
        codec = with_alpha if kind.has_alpha else _OPAQUE
        # Clusters reach the file when they end: with one a frame, no more is lost by a kill.
        options = {"cluster_time_limit": "0", "flush_packets": "1"}
        self.kind = kind
        self._pixels = codec.pixels
        self._container = av.open(str(path), mode="w", format="matroska", options=options)
        stream = self._container.add_stream(codec.name, rate=NOMINAL_FPS, options=codec.options)
        assert isinstance(stream, VideoStream), "both are codecs of pictures"
        stream.width, stream.height = kind.size
        stream.pix_fmt = codec.pixels
        stream.time_base = MS
        stream.codec_context.time_base = MS
        stream.codec_context.thread_type = "SLICE"  # frame threads hold frames back
        self._stream = stream
        self._first_ns: int | None = None
        self._newest_ms = -1

    def write(self, pixels: NDArray[np.uint8], capture_ns: int) -> None:
        """Raises: OSError, FFmpegError: the disk is full or gone."""
        if self._first_ns is None:
            self._first_ns = capture_ns
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba")
        since_ms = (capture_ns - self._first_ns) // NS_PER_MS
        self._newest_ms = max(since_ms, self._newest_ms + 1)
        picture = picture.reformat(format=self._pixels)
        picture.pts, picture.time_base = self._newest_ms, MS
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Raises: OSError, FFmpegError: the disk is full or gone; what was written stays."""
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def abandon(self) -> None:
        """The file is as far as it came."""
        with contextlib.suppress(OSError, FFmpegError, ValueError):
            self._container.close()


class VideoReader:
    """One file, read in order."""

    def __init__(self, path: Path) -> None:
        """Raises: ConfigError: it is not there, or nothing that a show is recorded to."""
        try:
            if path.is_symlink():
                raise ConfigError(f"{path} is a link: a show has files only")
            # Absolute, so that no name is taken for a protocol.
            self._container = open_input(str(path.absolute()), format="matroska")
        except (OSError, FFmpegError) as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"cannot read {path} ({reason})") from error
        self._path = path
        streams = self._container.streams.video
        stream = streams[0] if streams else None
        name = stream.codec_context.name if stream is not None else "no video"
        if stream is None or name not in _READ:
            self._container.close()
            raise ConfigError(f"{path}: {name:.40}, expected {' or '.join(sorted(_READ))}")
        if not 0 < max(stream.width, stream.height) <= MAX_SIDE_PX:
            self._container.close()
            raise ConfigError(
                f"{path}: {stream.width}x{stream.height}, sides can be {MAX_SIDE_PX} px at most"
            )
        self.size = Size(stream.width, stream.height)
        self._frames = self._decode(stream)

    def close(self) -> None:
        self._container.close()

    def take(self, count: int) -> list[NDArray[np.uint8]]:
        """The next frames, [H, W, 4]; fewer where the file ends, as a killed writer leaves it."""
        taken: list[NDArray[np.uint8]] = []
        for picture in self._frames:
            taken.append(picture)
            if len(taken) == count:
                break
        return taken

    def _decode(self, stream: VideoStream) -> Iterator[NDArray[np.uint8]]:
        try:
            for picture in self._container.decode(stream):
                assert isinstance(picture, VideoFrame), "it is a stream of pictures"
                if (picture.width, picture.height) != self.size:
                    raise ConfigError(f"{self._path}: its pictures change their size")
                yield picture.to_ndarray(format="rgba").astype(np.uint8, copy=False)
        except FFmpegError:
            return  # the end of a file that was not closed


def as_it_was(pixels: NDArray[np.uint8], meta: FrameMeta, form: Form) -> Frame:
    """The frame that `to_rgba8` made these pixels of, in 8 bits."""
    if form.orientation is Orientation.BOTTOM_FIRST:
        pixels = pixels[::-1]
    if form.pixel_format is PixelFormat.BGRA8:
        pixels = to_bgra8(pixels)
    elif form.pixel_format is PixelFormat.R8:
        pixels = pixels[..., :1]
    return Frame(meta, np.ascontiguousarray(pixels))


def meta_of(size: Size, form: Form, source: SourceFrame, *, is_lockstep: bool) -> FrameMeta:
    """What is known of a recorded frame."""
    return FrameMeta(
        *size,
        form.pixel_format,
        form.alpha,
        form.orientation,
        flags=FrameFlags.LOCKSTEP if is_lockstep else FrameFlags.NONE,
        frame=source.number,
        capture_ts_ns=source.capture_ns,
    )
