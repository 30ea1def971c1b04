"""What the lanes do for a chunk: from the host's frames to pictures on their way to the host.

# T pixel frames  C channels  H W size  N numbers
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.timing import ChunkSpans
from sdv2_host.gpu.transfer import Arrival
from sdv2_host.params import Params
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.state import StreamState
from sdv2_host.stream.step_parts import Begun, Denoised
from sdv2_host.stream.stream_batch import ChunkInFlight
from sdv2_host.types import Frame, Layout, Size


class Told(NamedTuple):
    """What a step's notes are made of. Numbers come from the device with its pictures."""

    chunk_index: int
    params: Params
    num_recached: int
    motion: NDArray[np.float32]
    """Noise scale, level of motion."""
    drift: NDArray[np.float32] | None
    """`DriftState.told`; None = it is not watched."""


class Finished(NamedTuple):
    """Pictures of a step, or of what a batch owed."""

    is_sound: bool
    """All numbers that its pictures were made of are finite."""

    pixels: NDArray[np.uint8]
    """[T, H, W, 4]."""
    told: Told | None
    """None = it was no step."""
    spans_ms: dict[str, float]


def pixels_of(finished: Sequence[Finished], size: Size) -> NDArray[np.uint8]:
    """[T, H, W, 4]: the pictures of all, in that order."""
    parts = [one.pixels for one in finished if len(one.pixels)]
    if len(parts) == 1:
        return parts[0]
    nothing = np.empty((0, size.height, size.width, 4), np.uint8)
    return np.concatenate([nothing, *parts])


class Made(NamedTuple):
    """A chunk whose parts have all run, or are queued on the device."""

    arrival: Arrival
    """The pictures, and numbers: `sums`; then, of a step, noise scale, level of motion and what
    watches drift."""
    spans: ChunkSpans
    denoised: Denoised | None
    """Held, with all that lanes were handed, until the device is done. None = it was no step."""

    @property
    def is_done(self) -> bool:
        return self.arrival.is_done

    def finished(self) -> Finished:
        """Waits for the device."""
        pixels, numbers_N = self.arrival.wait()
        spans_ms = self.spans.read_ms()
        is_sound = bool(np.isfinite(numbers_N[:2]).all())
        if self.denoised is None:
            return Finished(is_sound, pixels, None, spans_ms)
        begun = self.denoised.begun
        drift = numbers_N[4:] if len(numbers_N) > 4 else None
        told = Told(
            begun.chunk.index, begun.params, self.denoised.num_recached, numbers_N[2:4], drift
        )
        return Finished(is_sound, pixels, told, spans_ms)


class Clean(Protocol):
    """A chunk that is done."""

    x_BFCHW: Tensor


class ChunkWork:
    """The parts of one step of a stream, for `Lanes.give`. Lifetime: the step."""

    def __init__(
        self, pipeline: StreamPipeline, staging: Staging, state: StreamState, spans: ChunkSpans
    ) -> None:
        self._pipeline = pipeline
        self._staging = staging
        self._state = state
        self._spans = spans

    @torch.inference_mode()
    def begin(self, frames: list[Frame], params: Params, layout: Layout | None) -> Begun:
        with self._spans.span("upload"):
            frames_BTCHW = self._staging.upload(frames)
        with self._spans.span("encode"):
            return self._pipeline.begin_(self._state, frames_BTCHW, params, layout)

    def denoise(self, begun: Begun) -> Denoised:
        with self._spans.span("denoise"):
            return self._pipeline.denoise_(self._state, begun)

    @torch.inference_mode()
    def decode(self, denoised: Denoised) -> Made:
        with self._spans.span("decode"):
            decoded = self._pipeline.decode_(self._state, denoised)
        with self._spans.span("download"):
            told = [denoised.begun.motion_2]
            told += [] if decoded.drift_5 is None else [decoded.drift_5]
            numbers_N = torch.cat([*sums(denoised.done, decoded.frames_BTCHW), *told])
            arrival = self._staging.send(decoded.frames_BTCHW, numbers_N)
        return Made(arrival, self._spans, denoised)

    def drain(self) -> list[ChunkInFlight]:
        """In the place of `denoise`: what is in flight is clean."""
        return self._pipeline.drain_(self._state)

    @torch.inference_mode()
    def decode_drained(self, done: list[ChunkInFlight]) -> Made:
        """In the place of `decode`."""
        frames_BTCHW: Tensor = self._pipeline.decode_chunks_(self._state, done)
        numbers_2 = torch.cat(sums(done, frames_BTCHW))
        return Made(self._staging.send(frames_BTCHW, numbers_2), self._spans, None)


def sums(done: Sequence[Clean], frames_BTCHW: Tensor) -> list[Tensor]:
    """Sum of all clean latents and of all pictures, float32 [1] each: finite where each of their
    numbers is, and no other way.

    One launch each, and the host is told with the pictures: what asks every number apart takes a
    CPU 40 times as long. Latents too, as a decoder may squash what is infinite. That finite numbers
    add up to what float32 cannot hold takes a mean of 1e32.
    """
    latents = [one.x_BFCHW.sum(dtype=torch.float32) for one in done]
    total = latents[0] if len(latents) == 1 else _total(latents, frames_BTCHW)
    return [total[None], frames_BTCHW.sum(dtype=torch.float32)[None]]


def _total(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(parts)).sum() if parts else torch.zeros((), device=like.device)
