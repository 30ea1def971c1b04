"""What a step takes, by shape: a few stages are measured, all shapes are composed of them.

A step encodes and decodes k latents (`outer`) and calls the model on m latents at once. Serial
steps are n calls with m = k, a batch is one with m = k x rows. Measured are `outer` and the call
for each k with one row, and the call for each number of rows with k = 1: a warm-up that ran all
combinations would take several times as long, and on a CPU that is seconds before the show.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.types import Layout, Shape
from sdv2_host.wan.dims import FRAMES_PER_LATENT

K = TypeVar("K")

REPEATS = 2
"""Of each measurement; the least counts, as what disturbs one only adds."""
SLOW_CHUNK_MS = 1000.0
"""An engine that takes longer for a chunk at one step is not measured with longer ones: its
warm-up would take minutes."""


class WarmUpStep(NamedTuple):
    """One step of a warm-up."""

    shape: Shape
    num_rows: int = 1
    """Chunks in the model's call: a batch fills one by one."""


class Measured(NamedTuple):
    step: WarmUpStep
    step_ms: float
    """By the host's clock; the host waits for the pictures."""
    denoise_ms: float


class Rehearsal(NamedTuple):
    """A step that a show may come to, beside those that are measured."""

    shape: Shape
    replaces: bool = False
    """Sinks may be replaced, as at a new prompt."""
    is_new_text: bool = False
    """Of another text than the chunks that are in flight."""


def rehearsal(spec: StreamSpec) -> list[Rehearsal]:
    """Every row of a cache while it fills; then every shape, with sinks that stay and that may be
    replaced, and with two prompts in one batch. Longer chunks last, as memory may not do for them.
    """
    most = spec.num_rows
    plan = [Rehearsal(_chunk(most))] * spec.geometry.num_slots
    if spec.cache is CacheMode.REFERENCE:
        return plan
    for replaces in (False, True):
        plan.append(Rehearsal(_chunk(most), replaces))
        for steps in range(2, most + 1):
            batch = [Rehearsal(step.shape, replaces) for step in _batch(steps)]
            plan += [*batch, batch[-1]._replace(is_new_text=True), *batch]
    for num_latents in range(2, spec.longest_chunk + 1):
        longer = Shape(num_latents * FRAMES_PER_LATENT, Layout.SERIAL, most)
        plan += [Rehearsal(longer), Rehearsal(longer, replaces=True)]
    return plan


def filling(spec: StreamSpec) -> list[WarmUpStep]:
    """Fills the cache, behind a first chunk: attention's shapes grow until then."""
    return [WarmUpStep(_chunk())] * spec.geometry.num_slots


def as_started(spec: StreamSpec) -> list[WarmUpStep]:
    """Every number of steps in the spec's layout."""
    plan = [WarmUpStep(_chunk())] * REPEATS
    for steps in range(2, spec.num_rows + 1):
        plan += _batch(steps) if spec.layout is Layout.BATCH else [WarmUpStep(_chunk(steps))]
    return plan


def otherwise(spec: StreamSpec) -> list[WarmUpStep]:
    """What the scheduler may use beside that: the other layout, then longer chunks.

    Only with the rolling cache: the reference's has rows for one layout, and its longer chunks
    are several calls. Batches of longer chunks are left out: their pictures are later by as many
    whole chunks, and four latents in a call already have most of what larger calls gain.
    """
    if spec.cache is CacheMode.REFERENCE:
        return []
    plan: list[WarmUpStep] = []
    if spec.layout is Layout.SERIAL:
        plan += _batch(spec.num_rows) if spec.num_rows > 1 else []
    else:
        plan += [WarmUpStep(_chunk(steps)) for steps in range(2, spec.num_rows + 1)]
    for num_latents in range(2, spec.longest_chunk + 1):
        longer = Shape(num_latents * FRAMES_PER_LATENT, Layout.SERIAL, 1)
        plan += [WarmUpStep(longer)] * REPEATS
    return plan


def compose(measured: Iterable[Measured], spec: StreamSpec) -> dict[Shape, float]:
    """Milliseconds of every shape whose parts were measured."""
    outer_ms: dict[int, float] = {}
    call_ms: dict[tuple[int, int], float] = {}
    for step, step_ms, denoise_ms in measured:
        frames, layout, steps = step.shape
        num_calls = steps if layout is Layout.SERIAL else 1
        _keep_least(call_ms, (frames, step.num_rows), denoise_ms / num_calls)
        if steps == 1:
            _keep_least(outer_ms, frames, step_ms - denoise_ms)
    table: dict[Shape, float] = {}
    for frames, outer in outer_ms.items():
        for steps in range(1, spec.num_rows + 1):
            shape = Shape(frames, Layout.SERIAL, steps)
            table[shape] = outer + steps * call_ms[frames, 1]
    base = FRAMES_PER_LATENT
    for steps in range(2, spec.num_rows + 1):
        if (base, steps) in call_ms:
            table[Shape(base, Layout.BATCH, steps)] = outer_ms[base] + call_ms[base, steps]
    if spec.layout is Layout.BATCH:
        # With one step both layouts are the same; the table calls it as it was started.
        table[Shape(base, Layout.BATCH, 1)] = table.pop(Shape(base, Layout.SERIAL, 1))
    if spec.cache is CacheMode.REFERENCE:
        return {shape: ms for shape, ms in table.items() if shape.layout is spec.layout}
    return table


def _chunk(steps: int = 1) -> Shape:
    return Shape(FRAMES_PER_LATENT, Layout.SERIAL, steps)


def _batch(steps: int) -> list[WarmUpStep]:
    """Fills a batch; the first step finds it empty."""
    shape = Shape(FRAMES_PER_LATENT, Layout.BATCH, steps)
    return [WarmUpStep(shape, rows) for rows in range(1, steps + 1)]


def _keep_least(times: dict[K, float], key: K, ms: float) -> None:
    times[key] = min(ms, times.get(key, ms))
