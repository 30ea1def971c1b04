"""A camera as a source, by FFmpeg's device layer: v4l2, dshow and avfoundation behind one seam."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
from av.error import FFmpegError

from sdv2_host.errors import SourceError
from sdv2_host.sources.source import SourceFrame
from sdv2_host.sources.video_file import stream_fps, to_upright_rgba

if TYPE_CHECKING:
    from av.container import InputContainer


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """What FFmpeg is asked to open, and what a person calls it."""

    api: str
    """FFmpeg input format: v4l2, dshow, avfoundation; tests use lavfi."""
    url: str
    title: str


def list_cameras() -> list[CameraDevice]:
    """The cameras of this computer, in the system's order; empty when there are none."""
    api = {"win32": "dshow", "darwin": "avfoundation"}.get(sys.platform, "v4l2")
    try:
        found = av.enumerate_input_devices(api)
    except (FFmpegError, ValueError):
        return []  # this FFmpeg has no such device layer
    cameras = [
        device for device in found if "video" in device.media_types or not device.media_types
    ]
    prefix = "video=" if api == "dshow" else ""
    return [CameraDevice(api, prefix + d.name, d.description or d.name) for d in cameras]


def pick_camera(number: int, cameras: list[CameraDevice]) -> CameraDevice:
    """Camera `number` of the list, from 0.

    Raises:
        SourceError: there is none of that number; the message lists what is there.
    """
    if not cameras:
        raise SourceError(
            "no camera was found; plug one in and allow access to it, or use --input FILE"
        )
    if not 0 <= number < len(cameras):
        there = "; ".join(f"{n} = {camera.title}" for n, camera in enumerate(cameras))
        raise SourceError(f"--camera {number}: there is no such camera, found {there}")
    return cameras[number]


class Camera:
    """One open camera; it paces itself, so its frames are due when they come."""

    def __init__(self, device: CameraDevice, fps: float = 0.0) -> None:
        """Opens the camera.

        Args:
            fps: frames per second to ask the camera for, 0 = its own choice.

        Raises:
            SourceError: it is busy, forbidden or gone.
        """
        self._device = device
        # avfoundation refuses to open without a rate it knows; every Mac camera does 30.
        rate = fps or (30.0 if device.api == "avfoundation" else 0.0)
        options = {"framerate": f"{rate:g}"} if rate else {}
        try:
            self._container: InputContainer = av.open(
                device.url, mode="r", format=device.api, options=options
            )
            stream = self._container.streams.video[0]
        except (FFmpegError, OSError, IndexError) as error:
            raise SourceError(
                f"camera {device.title} cannot be opened ({error}); close other programs that use "
                "it and allow access to it"
            ) from error
        self.fps = stream_fps(stream)
        self.title = f"{device.title} {stream.width}x{stream.height} at {self.fps:.4g} fps"

    def frames(self) -> Iterator[SourceFrame]:
        """Pictures as the camera gives them.

        Raises:
            SourceError: the camera was unplugged.
        """
        try:
            for frame in self._container.decode(video=0):
                yield SourceFrame(to_upright_rgba(frame), 0.0)
        except (FFmpegError, OSError) as error:
            raise SourceError(f"camera {self._device.title} stopped ({error})") from error
        raise SourceError(f"camera {self._device.title} sends no more pictures")

    def close(self) -> None:
        self._container.close()
