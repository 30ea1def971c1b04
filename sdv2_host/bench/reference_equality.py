"""Whether mode `reference` of ours makes the pictures of the reference's package.

Both get the same weights, prompt embedding, clip and noise: what the package draws is recorded and
replayed. In float32 the pictures must agree to rounding. In a smaller format two right answers
differ, so there each is compared with the package in float32: ours may be no further from it.

# B rows (1)  T pixel frames  C channels  H W size
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdv2_host.bench.model import Built, Cell, build, source_clip
from sdv2_host.bench.reference_stream import (
    CHUNK_FRAMES,
    FIRST_FRAMES,
    NOISE_SCALE,
    RecordedDraws,
    ReferenceStream,
)
from sdv2_host.bench.scores import psnr_db, squared_error
from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.wan_spec import reference_rules
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.types import Layout, ProgressFn

FLOAT32_LIMIT = 1e-3
"""Largest difference of a colour value in 0..1: a quarter of an 8-bit step."""
PSNR_SLACK_DB = 1.0
"""How much further than the package's own rounding ours may take the pictures."""
MOTION_NOISE = 0.1
"""The most that motion takes from its noise scale."""


class Pictures(NamedTuple):
    """Of one clip, T frames in 0..1 on the host."""

    theirs_TCHW: Tensor
    ours_TCHW: Tensor


def compare(cell: Cell, layout: Layout, num_chunks: int, progress: ProgressFn) -> dict[str, Any]:
    """How far the pictures are apart over a session of so many chunks, the first included."""
    exact = _pictures(dataclasses.replace(cell, dtype=torch.float32), layout, num_chunks)
    progress("equality in float32", 0.5)
    result: dict[str, Any] = {
        "layout": layout.value,
        "chunks": num_chunks,
        "frames": len(exact.ours_TCHW),
        "float32_max_difference": float((exact.ours_TCHW - exact.theirs_TCHW).abs().max()),
        "float32_limit": FLOAT32_LIMIT,
    }
    result["is_equal"] = result["float32_max_difference"] <= FLOAT32_LIMIT
    if cell.dtype is not torch.float32:
        rounded = _pictures(cell, layout, num_chunks)
        theirs_db = _psnr_db(rounded.theirs_TCHW, exact.theirs_TCHW)
        ours_db = _psnr_db(rounded.ours_TCHW, exact.theirs_TCHW)
        result |= {
            "dtype": str(cell.dtype).removeprefix("torch."),
            "psnr_db": _psnr_db(rounded.ours_TCHW, rounded.theirs_TCHW),
            "theirs_to_float32_db": theirs_db,
            "ours_to_float32_db": ours_db,
        }
        result["is_equal"] &= ours_db >= theirs_db - PSNR_SLACK_DB
    progress("equality", 1.0)
    return result


@torch.inference_mode()
def _pictures(cell: Cell, layout: Layout, num_chunks: int) -> Pictures:
    """What the package makes of the cell's clip, and we of the same, all in the cell's dtype."""
    built = build(cell)
    chunks = list(clip_chunks(cell, num_chunks))
    draws = RecordedDraws()
    with _no_tf32():
        stream = ReferenceStream(cell, built.models, layout)
        theirs = []
        for frames_BTCHW in chunks:
            with draws.of_next_chunk():
                theirs.append(stream.step(frames_BTCHW))
        ours = _our_pictures(cell, built, layout, draws, chunks)
    return Pictures(torch.cat(theirs), torch.cat(ours))


def _our_pictures(
    cell: Cell, built: Built, layout: Layout, draws: RecordedDraws, chunks: list[Tensor]
) -> list[Tensor]:
    spec = dataclasses.replace(reference_rules(built.spec), layout=layout)
    models = built.models
    pipeline = StreamPipeline(
        models.dit, models.vae, models.text, spec, noise=draws.noise_for(layout)
    )
    state = pipeline.fresh_state()
    scales = {"noise_s_min": NOISE_SCALE - MOTION_NOISE, "noise_s_max": NOISE_SCALE}
    params = cell.params.model_copy(update=scales)
    styled = [pipeline.step(state, frames_BTCHW, params) for frames_BTCHW in chunks]
    return [(one[0].float() * 0.5 + 0.5).clamp(0, 1).cpu() for one in styled]


def clip_chunks(cell: Cell, num_chunks: int) -> Iterator[Tensor]:
    """The cell's clip as the models see it, [1, T, 3, H, W]: 5 frames, then 4 at a time."""
    staging = Staging(cell.size, cell.device, cell.dtype)
    frames = source_clip(cell, FIRST_FRAMES + CHUNK_FRAMES * (num_chunks - 1))
    yield staging.upload(frames[:FIRST_FRAMES])
    for first in range(FIRST_FRAMES, len(frames), CHUNK_FRAMES):
        yield staging.upload(frames[first : first + CHUNK_FRAMES])


def _psnr_db(one_TCHW: Tensor, other_TCHW: Tensor) -> float:
    return psnr_db(squared_error(one_TCHW, other_TCHW).value)


@contextmanager
def _no_tf32() -> Iterator[None]:
    """Inside, convolutions in float32 keep all their digits on CUDA; matrix products do anyway."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
