"""Frames to an MP4 that plays everywhere: H.264, 4:2:0, even sizes, index at the front."""

from __future__ import annotations

import asyncio
import contextlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from sdv2_host.errors import ConfigError, HostError
from sdv2_host.types import Size

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.packet import Packet

MAX_FPS_DENOMINATOR = 1001
"""So that 29.97 becomes 30000/1001 and players agree with the source."""
CRF = "18"
"""x264's constant quality; 18 is called visually lossless, a restyled picture shows no less."""


def cannot_write(path: Path, error: OSError | FFmpegError) -> HostError:
    """The error of a write that failed, for a person."""
    reason = error.strerror or type(error).__name__
    return ConfigError(f"cannot write {path} ({reason}); check the folder and the free space")


class VideoFileSink:
    """Writes one MP4; it has its name only when complete, `NAME.part` until then.

    Equal frames give equal bytes: one encoder thread, no dates, no version strings.
    All fields live as long as the file is open.
    """

    def __init__(self, path: Path, fps: float, *, preset: str = "veryfast") -> None:
        """Opens the file.

        Args:
            fps: the cadence that frame numbers count in.
            preset: x264's trade of time against size.

        Raises:
            ConfigError: the folder cannot be made or written.
        """
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._rate = Fraction(fps).limit_denominator(MAX_FPS_DENOMINATOR)
        self._preset = preset
        self._size: Size | None = None
        self._last_number = -1
        self._audio: AudioStream | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(21, "it is a directory")
            self._container = av.open(
                str(self._part),
                mode="w",
                format="mp4",
                options={"movflags": "+faststart", "fflags": "+bitexact"},
            )
            self._video = self._container.add_stream("libx264", rate=self._rate)
        except (FFmpegError, OSError) as error:
            raise cannot_write(path, error) from error

    def __enter__(self) -> VideoFileSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A live recording that was cancelled is worth having, half a file from a fault is not.
        if error is None or isinstance(error, asyncio.CancelledError):
            self.close()
        else:
            self.discard()

    def copy_audio(self, stream: AudioStream) -> bool:
        """Whether `mux_audio` may be given that stream's packets; before the first frame only."""
        try:
            self._audio = self._container.add_stream_from_template(stream)
        except (FFmpegError, ValueError):
            return False  # a codec that MP4 cannot hold
        return True

    def mux_audio(self, packet: Packet[Any]) -> None:
        """Writes a packet of the stream given to `copy_audio`."""
        assert self._audio is not None, "copy_audio() comes first"
        packet.stream = self._audio
        self._mux([packet])

    def write(self, pixels: NDArray[np.uint8], number: int) -> None:
        """Encodes a picture [H, W, 4] RGBA to be shown at `number` / fps seconds.

        The first picture sets the size, an odd side loses its last row or column; later ones of
        another size are scaled to it. A number that does not rise is moved up.

        Raises:
            ConfigError: the disk is full or gone.
        """
        if self._size is None:
            height, width = pixels.shape[:2]
            self._open_encoder(Size(width - width % 2, height - height % 2))
        assert self._size is not None
        height, width = pixels.shape[:2]
        if width - width % 2 == self._size.width and height - height % 2 == self._size.height:
            pixels = pixels[: self._size.height, : self._size.width]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba")
        self._last_number = max(number, self._last_number + 1)
        frame.pts = self._last_number
        frame.time_base = 1 / self._rate
        try:
            fitted = frame.reformat(
                self._size.width,
                self._size.height,
                "yuv420p",
                dst_colorspace="ITU709",
                dst_color_range="MPEG",
            )
            self._mux(self._video.encode(fitted))
        except (FFmpegError, OSError) as error:
            raise cannot_write(self._path, error) from error

    def close(self) -> None:
        """The file is complete under its name; without a single frame there is no file.

        Raises:
            ConfigError: the disk is full or gone; the unfinished file was removed.
        """
        if self._size is None:
            self.discard()
            return
        try:
            self._mux(self._video.encode(None))
            self._container.close()
            self._part.replace(self._path)
        except (FFmpegError, OSError) as error:
            self.discard()
            raise cannot_write(self._path, error) from error

    def discard(self) -> None:
        """Nothing of this recording is left on the disk."""
        with contextlib.suppress(FFmpegError, OSError):
            self._container.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _open_encoder(self, size: Size) -> None:
        self._size = size
        video = self._video
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.time_base = 1 / self._rate
        video.codec_context.thread_count = 1
        video.codec_context.color_range = 1  # MPEG: 16..235
        video.codec_context.colorspace = 1  # BT.709
        video.codec_context.color_primaries = 1
        video.codec_context.color_trc = 1
        # Sliced threads and lookahead threads would make the bytes depend on the machine, and so
        # would x264's fastest functions: with AVX-512 even two runs on one machine differ.
        video.options = {
            "preset": self._preset,
            "crf": CRF,
            "x264-params": "threads=1:lookahead_threads=1:sliced_threads=0:cpu-independent=1",
        }
        video.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT

    def _mux(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            self._container.mux(packet)
