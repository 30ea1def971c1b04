"""Small real video files for tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(
    path: Path, num_frames: int, size: tuple[int, int] = (64, 48), fps: int = 30
) -> Path:
    """An MP4 whose frame n is grey 8 * n + 8 with a white left edge; size is (width, height)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=Fraction(fps), options={"crf": "0"})
        stream.width, stream.height = size
        stream.pix_fmt = "rgb24"
        for index in range(num_frames):
            picture = np.full((size[1], size[0], 3), 8 * index + 8, np.uint8)
            picture[:, :8] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_sound_only(path: Path) -> Path:
    """A file that FFmpeg reads and that has no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def add_sound(path: Path, source: Path, codec: str) -> Path:
    """A copy of the clip with half a second of silence, in the given audio codec."""
    with av.open(str(source)) as clip, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(clip.streams.video[0])
        sound = container.add_stream(codec, rate=48000, layout="mono")
        for packet in clip.demux(clip.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
        is_float = codec == "aac"
        samples = np.zeros((1, 24000), np.float32 if is_float else np.int16)
        frame = av.AudioFrame.from_ndarray(samples, "fltp" if is_float else "s16", "mono")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path
