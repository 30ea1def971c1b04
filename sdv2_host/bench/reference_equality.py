"""Whether mode `reference` of ours makes the pictures of the reference's package.

Both get the same weights, prompt embedding, clip and noise: what the package draws is of a seed,
and replayed for ours.

# B rows (1)  T pixel frames  C channels  H W size
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sdv2_host.bench.agreement import Made, agreement, exact_float32
from sdv2_host.bench.model import Built, Cell, LastBuilt, source_clip
from sdv2_host.bench.reference_stream import (
    CHUNK_FRAMES,
    FIRST_FRAMES,
    NOISE_SCALE,
    ReferenceStream,
    SharedDraws,
)
from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.wan_spec import reference_rules
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.types import Layout, ProgressFn

FLOAT32_LIMIT = 1e-3
"""Of a colour value in 0..1: a quarter of an 8-bit step."""
MOTION_NOISE = 0.1
"""The most that motion takes from the reference's noise scale."""


def compare(
    cell: Cell,
    models: LastBuilt,
    layouts: Sequence[Layout],
    num_chunks: int,
    progress: ProgressFn,
) -> list[dict[str, Any]]:
    """Per layout, how far the pictures are apart over a session of so many chunks, the first
    included."""
    dtypes = dict.fromkeys((torch.float32, cell.dtype))
    made: dict[tuple[torch.dtype, Layout], Made] = {}
    for dtype, layout in itertools.product(dtypes, layouts):
        what = f"pictures beside the reference's, {layout.value}, {dtype}"
        progress(what, len(made) / (len(dtypes) * len(layouts)))
        here = dataclasses.replace(cell, dtype=dtype)
        made[dtype, layout] = pictures(here, models.build(here), layout, num_chunks)
    return [
        {
            "layout": layout.value,
            "chunks": num_chunks,
            "frames": len(made[torch.float32, layout].ours),
            **agreement(
                made[torch.float32, layout],
                FLOAT32_LIMIT,
                None if cell.dtype is torch.float32 else made[cell.dtype, layout],
            ),
        }
        for layout in layouts
    ]


@torch.inference_mode()
def pictures(cell: Cell, built: Built, layout: Layout, num_chunks: int) -> Made:
    """[T, 3, H, W] in 0..1 that the package makes of the cell's clip, and we, in its dtype."""
    chunks = list(clip_chunks(cell, num_chunks))
    draws = SharedDraws()
    with exact_float32():
        stream = ReferenceStream(cell, built.models, layout)
        theirs = []
        for frames_BTCHW in chunks:
            with draws.of_next_chunk():
                theirs.append(stream.step(frames_BTCHW))
        ours = _our_pictures(cell, built, layout, draws, chunks)
    return Made(torch.cat(theirs), torch.cat(ours))


def _our_pictures(
    cell: Cell, built: Built, layout: Layout, draws: SharedDraws, chunks: list[Tensor]
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
