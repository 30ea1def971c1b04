"""`sdv2-host render`: a whole file through the same engine, the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from av.error import InvalidDataError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from rich.console import Console

from sdv2_host.commands.preflight import check_installed
from sdv2_host.commands.progress_bar import shown_progress
from sdv2_host.commands.prompts import bank_prompts
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError, ModelError, SourceError
from sdv2_host.host.engines import build_engine
from sdv2_host.host.prompt_desk import Decks, needs_bank
from sdv2_host.params import Params
from sdv2_host.sinks.video_file import VideoFileSink
from sdv2_host.sources.video_file import MAX_FPS, open_video, stream_fps, to_upright_rgba
from sdv2_host.types import Engine, Frame, FrameMeta

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet

X264_PRESET = "medium"


def render(source: Path, target: Path, config: Config, params: Params) -> int:
    """The number of frames written: as many as were read.

    Raises:
        SourceError: the input cannot be read.
        ConfigError: the output cannot be written.
        ModelError: the engine's weights are missing, or a LoRA is.
    """
    if target.suffix.lower() != ".mp4":
        raise ConfigError(f"{target}: the output is an MP4 file, give it a name that ends in .mp4")
    if source.exists() and target.exists() and source.samefile(target):
        raise ConfigError(f"{target} is the input itself, choose another name for the output")
    check_installed(config, params)
    console = Console(stderr=True)
    with open_video(source) as container:
        fps = _grid_fps(container.streams.video[0])
        with VideoFileSink(target, fps, preset=X264_PRESET) as sink:
            audio = _copied_audio(container, sink, console)
            if needs_bank(config.engine):
                bank_prompts(config, list(Decks(params.prompt, params.prompt_b).texts))
            # One chunk at a time: in a batch pictures come later than the frames they belong to.
            serial = config.model_copy(update={"layout": "serial"})
            with shown_progress(console) as progress:
                engine = build_engine(serial, progress)
            engine.reset()
            pictures = _pictures(container, sink, audio, fps)
            total = _expected_frames(container)
            count = 0
            with shown_progress(console) as progress:
                for number, styled in _styled(engine, pictures, params):
                    sink.write(styled, number)
                    count += 1
                    if total is None:
                        progress(f"rendering, past frame {count // 100 * 100}", 0.0)
                    else:
                        progress("rendering", min(count / total, 1.0))
        if count == 0:
            raise SourceError(f"{source} holds no frame that can be decoded")
    return count


def _styled(
    engine: Engine, pictures: Iterable[tuple[int, Frame]], params: Params
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(number, picture) for every frame; the last chunk is filled up with its last frame."""
    numbers: list[int] = []
    frames: list[Frame] = []
    wanted = engine.first_chunk_frames
    for number, frame in pictures:
        numbers.append(number)
        frames.append(frame)
        if len(frames) == wanted:
            yield from zip(numbers, _step(engine, frames, params), strict=True)
            numbers, frames, wanted = [], [], engine.chunk_frames
    if frames:
        filled = frames + frames[-1:] * (wanted - len(frames))
        yield from zip(numbers, _step(engine, filled, params), strict=False)


def _step(engine: Engine, frames: list[Frame], params: Params) -> NDArray[np.uint8]:
    """Raises: ModelError, where the engine cannot do all that was asked for."""
    styled = engine.step(frames, params)
    if styled.problem:
        raise ModelError(styled.problem)
    return styled.frames


def _pictures(
    container: InputContainer, sink: VideoFileSink, audio: AudioStream | None, fps: float
) -> Iterator[tuple[int, Frame]]:
    """(number at `fps`, frame) of the video; the sound's packets go to the sink on the way."""
    streams = [container.streams.video[0], *([audio] if audio else [])]
    first_s: float | None = None
    count = 0
    for packet in container.demux(*streams):
        if audio is not None and packet.stream is audio:
            if packet.dts is not None:
                sink.mux_audio(packet)
            continue
        for picture in _decoded(packet):
            assert isinstance(picture, VideoFrame), "a video packet holds pictures"
            first_s = picture.time if first_s is None else first_s
            elapsed_s = count / fps if picture.time is None else picture.time - (first_s or 0)
            pixels = to_upright_rgba(picture)
            height, width = pixels.shape[:2]
            yield round(elapsed_s * fps), Frame(FrameMeta(width, height), pixels)
            count += 1


def _grid_fps(stream: VideoStream) -> float:
    """The cadence that pictures keep their times on. Of a video without a steady rate the average
    is too coarse: what comes faster for a while would be moved back, and the sound not."""
    average_fps, guess = stream_fps(stream), stream.guessed_rate
    return max(average_fps, float(guess)) if guess and guess <= MAX_FPS else average_fps


def _decoded(packet: Packet[Any]) -> Sequence[object]:
    try:
        return packet.decode()
    except InvalidDataError:
        return []  # a damaged packet; the pictures around it are still there


def _copied_audio(
    container: InputContainer, sink: VideoFileSink, console: Console
) -> AudioStream | None:
    """The sound that goes into the output unchanged, if there is any and MP4 can hold it."""
    if not container.streams.audio:
        return None
    audio = container.streams.audio[0]
    if sink.copy_audio(audio):
        return audio
    name = audio.codec_context.name
    console.print(f"the sound is left out: MP4 cannot hold {name} as it is", highlight=False)
    return None


def _expected_frames(container: InputContainer) -> int | None:
    stream = container.streams.video[0]
    if stream.frames:
        return stream.frames
    if stream.duration and stream.time_base:
        return round(float(stream.duration * stream.time_base) * stream_fps(stream))
    return None
