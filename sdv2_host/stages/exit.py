"""Exit: clean latents become pictures, or a band of them, in the order in which their chunks came.

# B rows (1)  T pixel frames  F latent frames  C channels  H W size
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.gpu.chunk_work import sums
from sdv2_host.gpu.staging import Staging
from sdv2_host.stages.calls import RoutedChunk
from sdv2_host.stages.stage_times import StageTimes
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Size
from sdv2_host.wan.bands import Rows
from sdv2_host.wan.streaming_vae import BandedVAE

DECODE = "decode"
NOT_FINITE = "not_finite"
"""Among a chunk's notes: numbers that its pictures were made of are not finite. Then it has no
others that are not: what carries notes has no word for those."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a chunk became, all of it or a band."""

    epoch: int
    index: int
    """Of the chunk in its epoch, from 0."""
    pixels: NDArray[np.uint8]
    """[T, H, W, 4] opaque RGBA, H = the rows."""
    notes: dict[str, float]
    rows: Rows
    """Of the whole picture."""


class Exit:
    """The decoder of some rows and what it remembers. Lifetime: one epoch."""

    def __init__(
        self,
        vae: BandedVAE,
        spec: StreamSpec,
        rows: Rows,
        epoch: int,
        times: StageTimes,
        on_pictures: Callable[[Pictures], None],
    ) -> None:
        self._vae = vae
        self._rows = rows
        self._band = vae.init_band(
            rows, 1, spec.height_px, spec.width_px, device=spec.device, dtype=spec.dtype
        )
        self._staging = Staging(Size(spec.width_px, rows.num), spec.device, spec.dtype)
        self._epoch = epoch
        self._times = times
        self._on_pictures = on_pictures
        self._clean: dict[int, RoutedChunk] = {}
        """By order; those that older chunks, of more steps, keep waiting."""
        self._next_order = 0
        self._newest_past_BFCHW: Tensor | None = None

    def take(self, chunk: RoutedChunk) -> None:
        """A chunk is clean; all that are next in the order become pictures."""
        self._clean[chunk.order] = chunk
        while self._next_order in self._clean:
            self._show(self._clean.pop(self._next_order))
            self._next_order += 1

    def _show(self, chunk: RoutedChunk) -> None:
        if not chunk.is_shown:
            self._newest_past_BFCHW = chunk.x_BFCHW[:, -1:]
            return
        with self._times.span(DECODE):
            if self._newest_past_BFCHW is not None:
                # The decoder remembers the old look too, which would show for a chunk.
                newest_BFCHW, self._newest_past_BFCHW = self._newest_past_BFCHW, None
                _, self._band = self._vae.decode_band(newest_BFCHW, self._band, False)
            frames_BTCHW, self._band = self._vae.decode_band(
                chunk.x_BFCHW, self._band, chunk.is_first
            )
        pixels = self._staging.download(frames_BTCHW)
        notes = {"chunk": float(chunk.index), "steps": float(chunk.num_steps)}
        if chunk.notes_2 is not None:
            noise_scale, motion = chunk.notes_2.tolist()
            notes |= {"noise_scale": noise_scale, "motion": motion}
        if not torch.isfinite(torch.cat(sums([chunk], frames_BTCHW))).all():
            notes = {name: value for name, value in notes.items() if math.isfinite(value)}
            notes[NOT_FINITE] = 1.0
        self._on_pictures(Pictures(self._epoch, chunk.index, pixels, notes, self._rows))
