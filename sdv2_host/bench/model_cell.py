"""One cell of `bench model` measured: an engine built, warmed, played, and set beside its costs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from sdv2_host.bench.device_peaks import DeviceLimits
from sdv2_host.bench.host_time import TimedCalls, device_busy_ms, part_steps
from sdv2_host.bench.memory_watch import MemoryWatch
from sdv2_host.bench.model import OWN_VAE, Built, Cell, calls_of, engine_of, source_clip
from sdv2_host.bench.model_runs import (
    FreeRun,
    Given,
    Session,
    first_pictures_ms,
    run_freely,
    run_paced,
)
from sdv2_host.bench.model_targets import verdicts
from sdv2_host.bench.stage_costs import StageCost, count_coding, count_denoising
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.gpu.dry_run import META
from sdv2_host.gpu.wan_models import Placement, random_vae
from sdv2_host.types import ProgressFn, part_of
from sdv2_host.wan.tiny_vae import TinyVAE

PERCENTILES = (50, 95, 99)
MIN_CHUNKS = 3
SIDE_RUN_S = 3.0
"""Of the runs beside the free one, at most: with paced frames, and with timed calls."""
LOOK_EVERY_S = 0.25
PAID = 1.1
"""A cost may be so much more than what was measured and count as paid: both are estimates."""


@dataclass(frozen=True, slots=True)
class RunLength:
    """Of the free run: until so many chunks, or without them until so many seconds are over."""

    seconds: float
    chunks: int | None = None
    input_fps: float = 30.0
    """Of the paced run."""

    def fraction(self, num_chunks: int, seconds: float) -> float:
        if self.chunks is not None:
            return num_chunks / self.chunks
        return min(num_chunks / MIN_CHUNKS, seconds / self.seconds)


class CostBook:
    """What stages cost, each counted once. Lifetime: a run of the bench."""

    def __init__(self) -> None:
        self._coding: dict[Cell, dict[str, StageCost]] = {}
        self._denoising: dict[Cell, StageCost] = {}

    def of(self, cell: Cell, built: Built) -> dict[str, StageCost]:
        """Of encode, denoise and decode."""
        meta = replace(built.spec, device=META)
        coding, denoising = replace(cell, steps=0), replace(cell, vae="")
        if coding not in self._coding:
            self._coding[coding] = count_coding(_meta_vae(cell, built), meta)
        if denoising not in self._denoising:
            dims = built.models.dit.dims
            self._denoising[denoising] = count_denoising(dims, meta, cell.params)
        return {**self._coding[coding], "denoise": self._denoising[denoising]}


def _meta_vae(cell: Cell, built: Built) -> Any:
    if cell.vae == OWN_VAE:
        assert isinstance(built.models.vae, TinyVAE), "the embedded model's autoencoder"
        with META:
            return TinyVAE(built.models.vae.dims).eval().requires_grad_(False)
    return random_vae(cell.vae, cell.models_family, Placement(META, cell.dtype))


def measure_cell(
    cell: Cell,
    built: Built,
    costs: dict[str, StageCost],
    limits: DeviceLimits,
    length: RunLength,
    progress: ProgressFn,
) -> dict[str, Any]:
    """The cell's row of the result.

    Raises:
        DeviceMemoryError: the device's memory ran out.
    """
    watch = MemoryWatch(cell.device)
    begin_ns = now_ns()
    engine = engine_of(cell, built)
    engine.warm_up(cell.params, part_of(progress, 0.0, 0.4))
    warm_up_s = (now_ns() - begin_ns) / NS_PER_S
    given = Given(source_clip(cell), cell.params)
    first_ms = first_pictures_ms(engine, given)

    side = replace(length, chunks=None, seconds=min(length.seconds, SIDE_RUN_S))
    over = _until(side, partial(_told, part_of(progress, 0.4, 0.5)))
    paced = run_paced(engine, given, length.input_fps, over)
    session = Session.filled(engine, given)
    seen = partial(_seen, watch, part_of(progress, 0.5, 0.9))
    run = run_freely(session, _until(length, seen))
    over = _until(side, partial(_told, part_of(progress, 0.9, 1.0)))
    host = _host_ms(cell, built, session, run, over)
    row: dict[str, Any] = {
        "chunks": len(run.chunk_ms),
        "seconds": run.seconds,
        "fps": engine.chunk_frames * len(run.chunk_ms) / run.seconds,
        "fps_median": engine.chunk_frames * 1000 / statistics.median(run.chunk_ms),
        "chunk_ms": _percentiles(run.chunk_ms),
        "ttff_ms": {
            "median": statistics.median(first_ms),
            "worst": max(first_ms),
            "sessions": len(first_ms),
        },
        "latency_ms": _percentiles(paced.latency_ms),
        "input_fps": length.input_fps,
        "dropped": paced.num_dropped,
        # On Apple GPUs nobody can say when a stage was done, only when it was queued.
        "stages": {} if cell.device.type == "mps" else _stages(run, costs, limits),
        "roofline_fps": roofline_fps(engine.chunk_frames, costs, limits),
        "host_ms": host,
        "memory": watch.result(),
        "warm_up_s": warm_up_s,
    }
    row["targets"] = [one._asdict() for one in verdicts(cell, limits.name, row)]
    return row


def _host_ms(
    cell: Cell,
    built: Built,
    session: Session,
    run: FreeRun,
    is_over: Callable[[int, float], bool],
) -> dict[str, Any]:
    """What the host adds to a chunk; p50 and p99 are None where the device's part is unknown."""
    if cell.device.type == "cpu":
        calls = TimedCalls(calls_of(cell, built))
        parts = Session.filled(engine_of(cell, built, calls), session.given)
        parted = part_steps(parts, calls, is_over)
        return {
            "by": "the models' calls",
            "device_ms": statistics.median(parted.calls_ms),
            "over_bare": parted.over_bare,
            **_p50_p99(parted.host_ms),
        }
    busy_ms = device_busy_ms(session, cell.device)
    if busy_ms is None:
        unknown = {"p50": None, "p99": None, "device_ms": None}
        return {"by": "unknown: the profiler sees nothing of this device", **unknown}
    host_ms = [chunk_ms - busy_ms for chunk_ms in run.chunk_ms]
    return {"by": "profile of the device", "device_ms": busy_ms, **_p50_p99(host_ms)}


def _p50_p99(values: Sequence[float]) -> dict[str, float]:
    found = _percentiles(values)
    return {name: found[name] for name in ("p50", "p99")}


def _stages(
    run: FreeRun, costs: dict[str, StageCost], limits: DeviceLimits
) -> dict[str, dict[str, Any]]:
    """Of each span its median, and what is known of its cost."""
    rows: dict[str, dict[str, Any]] = {}
    for name, spans_ms in run.spans_ms.items():
        ms = statistics.median(spans_ms)
        cost = costs.get(name)
        rows[name] = {"ms": ms} if cost is None else stage_row(ms, cost, limits)
    return rows


def stage_row(ms: float, cost: StageCost, limits: DeviceLimits) -> dict[str, Any]:
    """One stage beside its roofline: what it took, what it must take at least, what holds it."""
    floor_ms = stage_floor_ms(cost, limits)
    held_by, held_ms = what_holds(ms, cost, limits)
    return {
        "ms": ms,
        "tflop": cost.flop / 1e12,
        "tflops": cost.flop / ms / 1e9,
        "floor_ms": floor_ms,
        "roofline_share": floor_ms / ms,
        "held_by": held_by,
        "held_ms": held_ms,
        **{key: value for key, value in asdict(cost).items() if key != "flop"},
    }


def stage_floor_ms(cost: StageCost, limits: DeviceLimits) -> float:
    """The roofline: all multiplications at the device's peak, or all that is kept once through its
    memory, whichever is longer."""
    return max(limits.compute_ms(cost.flop), limits.move_ms(cost.kept_bytes))


def roofline_fps(chunk_frames: int, costs: dict[str, StageCost], limits: DeviceLimits) -> float:
    """Frames a second of stages that reach their rooflines, one after the other."""
    return chunk_frames * 1000 / sum(stage_floor_ms(cost, limits) for cost in costs.values())


def what_holds(ms: float, cost: StageCost, limits: DeviceLimits) -> tuple[str, float]:
    """The largest part of a stage's time: compute, memory or launches, and what it comes to.

    Memory and launches are those of the operations one by one. What would cost more than was
    measured was evidently not paid: operations are fused, or launched as one.
    """
    parts = {
        "compute": limits.compute_ms(cost.flop),
        "memory": limits.move_ms(cost.moved_bytes),
        "launches": limits.launch_ms(cost.num_kernels),
    }
    paid = {name: part_ms for name, part_ms in parts.items() if part_ms <= PAID * ms}
    if not paid:
        return "memory", limits.move_ms(cost.kept_bytes)
    name = max(paid, key=paid.__getitem__)
    return name, paid[name]


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}


SeenFn = Callable[[int, float], None]
"""(chunks so far, fraction 0..1)"""


def _seen(watch: MemoryWatch, progress: ProgressFn, num_chunks: int, fraction: float) -> None:
    watch.see(num_chunks, fraction)
    progress("chunks", fraction)


def _told(progress: ProgressFn, num_chunks: int, fraction: float) -> None:
    del num_chunks
    progress("chunks", fraction)


def _until(length: RunLength, seen: SeenFn) -> Callable[[int, float], bool]:
    """Whether the run is over. Looks up now and then only: that takes time of the chunks."""
    seen_s = -LOOK_EVERY_S

    def is_over(num_chunks: int, seconds: float) -> bool:
        nonlocal seen_s
        fraction = min(length.fraction(num_chunks, seconds), 1.0)
        if fraction == 1 or seconds - seen_s >= LOOK_EVERY_S:
            seen_s = seconds
            seen(num_chunks, fraction)
        return fraction == 1

    return is_over
