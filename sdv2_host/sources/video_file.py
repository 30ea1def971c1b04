"""A video file (or a still picture) as a source: decoded by PyAV, turned upright, RGBA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.error import FFmpegError, InvalidDataError
from numpy.typing import NDArray

from sdv2_host.errors import SourceError
from sdv2_host.sources.source import SourceFrame
from sdv2_host.video_input import open_input

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

FALLBACK_FPS = 30.0
MAX_FPS = 240.0
MAX_SIDE_PX = 8192


def open_video(path: Path) -> InputContainer:
    """The file, opened, with at least one video stream.

    Raises:
        SourceError: missing, a directory, empty, unreadable, or without a picture.
    """
    try:
        if path.is_dir():
            raise SourceError(f"{path} is a directory, expected a video file")
        if path.exists() and path.is_file() and path.stat().st_size == 0:
            raise SourceError(f"{path} has zero length, expected a video file")
        container = open_input(str(path))
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist, check the path") from None
    except PermissionError:
        raise SourceError(f"{path} may not be read by this user, check its permissions") from None
    except (FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(f"{path} is not a video that FFmpeg can read ({reason})") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{path} has no video stream, expected a file with a picture")
    return container


def stream_fps(stream: VideoStream) -> float:
    """Frames per second of the stream: its average, else its guess, else 30."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < float(rate) <= MAX_FPS:
            return float(rate)
    return FALLBACK_FPS


def to_upright_rgba(frame: VideoFrame) -> NDArray[np.uint8]:
    """The picture as people are meant to see it: uint8 [H, W, 4], rotation of phones undone."""
    rgba = frame.to_ndarray(format="rgba")
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90 turns
    upright = np.rot90(rgba, quarter_turns) if quarter_turns else rgba
    return np.ascontiguousarray(upright, dtype=np.uint8)


def decode(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame that can be decoded, in order; damaged packets are left out.

    Raises:
        SourceError: reading failed (disk, network mount), or none of the packets held a picture.
    """
    num_frames = num_damaged = 0
    try:
        for packet in container.demux(stream):
            try:
                pictures = packet.decode()
            except InvalidDataError:
                num_damaged += 1
                continue
            num_frames += len(pictures)
            yield from pictures
    except InvalidDataError:
        num_damaged += 1  # a truncated file ends here
    except FFmpegError as error:
        raise SourceError(f"{container.name}: reading failed ({error.strerror})") from error
    if num_frames == 0:
        raise SourceError(f"{container.name} holds no frame that can be decoded")


class VideoFile:
    """A file played at its own pace or at `fps`; again and again unless `loop` is off.

    Fields live as long as the object; a fresh container is opened for every pass.
    """

    def __init__(self, path: Path, *, loop: bool = True, fps: float = 0.0) -> None:
        """Opens and probes the file.

        Args:
            fps: frames per second to play at, 0 = as the file says.

        Raises:
            SourceError: the file cannot be played, in one line.
        """
        self._path = path
        self._loop = loop
        self._fixed_fps = fps
        with open_video(path) as container:
            stream = container.streams.video[0]
            first = next(decode(container, stream))
            if max(first.width, first.height) > MAX_SIDE_PX:
                raise SourceError(
                    f"{path} is {first.width}x{first.height}, sides can be {MAX_SIDE_PX} px at most"
                )
            self.fps = fps or stream_fps(stream)
        self.title = f"{path.name} {first.width}x{first.height} at {self.fps:.4g} fps"

    def frames(self) -> Iterator[SourceFrame]:
        """The pictures of each pass; a pass begins one frame after the last one's end."""
        start_s = 0.0
        while True:
            due_s = start_s
            with open_video(self._path) as container:
                stream = container.streams.video[0]
                first_pts_s: float | None = None
                for index, frame in enumerate(decode(container, stream)):
                    pts_s = index / self.fps
                    if not self._fixed_fps and frame.time is not None:
                        first_pts_s = frame.time if first_pts_s is None else first_pts_s
                        pts_s = frame.time - first_pts_s
                    due_s = max(due_s, start_s + pts_s)
                    yield SourceFrame(to_upright_rgba(frame), due_s)
            if not self._loop:
                return
            start_s = due_s + 1 / self.fps

    def close(self) -> None:
        """Nothing stays open between frames' end and here."""
