"""A session of the reference's package, chunk by chunk, timed per stage, its draws on record.

# B rows (1)  T pixel frames  C channels  H W size
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sdv2_host.bench.device_peaks import wait_for
from sdv2_host.bench.model import Cell
from sdv2_host.bench.reference_package import attending_by_torch, build_manager
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.timing import ChunkSpans
from sdv2_host.stream.denoise import NoiseFn
from sdv2_host.types import Layout

FIRST_FRAMES, CHUNK_FRAMES = 5, 4
NOISE_SCALE = 0.8
"""The default of its command line and its demo."""


class ReferenceStream:
    """One session, in the cell's number format.

    Published is bfloat16, and that runs as it is. In float32 every call of torch goes through
    `EveryBfloat16AsFloat32`, which costs the package some microseconds for each; and it attends by
    torch.
    """

    def __init__(self, cell: Cell, models: StreamModels, layout: Layout) -> None:
        self._mode = _in_float32 if cell.dtype is torch.float32 else nullcontext
        with self._mode():
            self._manager = build_manager(cell, models, layout)
        self._session: Any = None
        self._device = cell.device
        self._spans = ChunkSpans(cell.device)
        self.spans_ms: dict[str, float] = {}
        """encode, denoise and decode of the chunk just done."""
        pipeline = self._manager.pipeline
        for owner, name, span in (
            (self._manager, "_timed_stream_encode", "encode"),
            (self._manager, "_timed_stream_decode", "decode"),
            (pipeline, "inference_stream", "denoise"),
            (pipeline, "inference_wo_batch", "denoise"),
        ):
            setattr(owner, name, self._timed(span, getattr(owner, name)))

    @torch.no_grad()
    def step(self, frames_BTCHW: Tensor) -> Tensor:
        """Frames [T', 3, H, W] in 0..1 on the host, as the package hands them out: float32.

        `frames_BTCHW` in [-1, 1], on the device, of the stream's dtype: 5 at first, then 4. In a
        batch T' is 0 for the steps - 1 chunks after the first.
        """
        frames_BCTHW = frames_BTCHW.transpose(1, 2)
        self._spans = ChunkSpans(self._device)
        with self._mode():
            if self._session is None:
                self._session, first_THWC = self._manager.start_stream_session(
                    "bench", frames_BCTHW, NOISE_SCALE
                )
                shown = [first_THWC]
            else:
                shown = self._manager.run_stream_batch(self._session, frames_BCTHW)
        if not shown:
            wait_for(self._device)  # else its pictures are on the host
        self.spans_ms = self._spans.read_ms()
        if not shown:
            return torch.empty(0, 3, *frames_BTCHW.shape[-2:])
        return torch.cat([torch.from_numpy(one) for one in shown]).permute(0, 3, 1, 2)

    def _timed(self, span: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, its time taken on the device's own clock: nothing waits for it."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._spans.span(span):
                return work(*args, **kwargs)

        return timed


class SharedDraws(TorchFunctionMode):
    """Inside, every `randn_like` gives numbers of a seed, the same in every number format and on
    every device, which are kept under the chunk of the stream that draws."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)
        self._by_chunk: list[list[Tensor]] = []

    def of_next_chunk(self) -> SharedDraws:
        """The same, for another chunk: `with draws.of_next_chunk(): ...`."""
        self._by_chunk.append([])
        return self

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not torch.randn_like:
            return func(*args, **(kwargs or {}))
        like: Tensor = args[0]
        drawn = torch.randn(like.shape, generator=self._generator)
        self._by_chunk[-1].append(drawn)
        return drawn.to(like)

    def noise_for(self, layout: Layout) -> NoiseFn:
        """The draws as a pipeline of ours asks for noise (`NoiseFn`).

        Each chunk of the stream draws for encoding, then once per further step: for one chunk
        after the other in a batch, where chunk n takes step s at chunk n + s - 1. The rows that
        begin a batch full are chunks -1, -2..., one place later.
        """

        def noise(chunk_index: int, seed: int, step: int, like: Tensor) -> Tensor:
            del seed
            late = max(step - 1, 0) if layout is Layout.BATCH else 0
            at = chunk_index + late + (chunk_index < 0) if chunk_index else 0
            return self._by_chunk[at][step].reshape(like.shape).to(like)

        return noise


class EveryBfloat16AsFloat32(TorchFunctionMode):
    """Inside, whoever asks torch for bfloat16 gets float32: the package names it in ten places."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {name: _as_float32(value) for name, value in (kwargs or {}).items()}
        return func(*map(_as_float32, args), **given)


def _as_float32(value: Any) -> Any:
    return torch.float32 if value is torch.bfloat16 else value


@contextmanager
def _in_float32() -> Iterator[None]:
    """Inside, the package computes in float32."""
    with attending_by_torch(), EveryBfloat16AsFloat32():
        yield
