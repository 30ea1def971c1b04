"""Several ways to do the same work, timed in turn: other load on the machine falls on all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.params import Params
from sdv2_host.stream.model_calls import ModelCalls
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import ProgressFn
from sdv2_host.wan.dims import FRAMES_PER_LATENT

MIN_ROUNDS = 3


def alternate(
    ways: Mapping[str, Callable[[], object]], seconds: float, text: str, progress: ProgressFn
) -> dict[str, list[float]]:
    """Milliseconds of every run of each, one after the other for about so long."""
    times_ms: dict[str, list[float]] = {name: [] for name in ways}
    began_ns = now_ns()
    elapsed_s = 0.0
    num_rounds = 0
    while elapsed_s < seconds or num_rounds < MIN_ROUNDS:
        for name, run in ways.items():
            start_ns = now_ns()
            run()
            times_ms[name].append((now_ns() - start_ns) / NS_PER_MS)
        num_rounds += 1
        elapsed_s = (now_ns() - began_ns) / NS_PER_S
        progress(text, min(1.0, elapsed_s / seconds))
    return times_ms


def steady_chunk(
    models: StreamModels,
    spec: StreamSpec,
    params: Params,
    frames_BTCHW: Tensor,
    calls: ModelCalls | None = None,
) -> Callable[[], Tensor]:
    """One chunk of `StreamPipeline.step`, of a stream whose cache is full."""
    pipeline = StreamPipeline(models.dit, models.vae, models.text, spec, calls=calls)
    state = pipeline.fresh_state()
    pipeline.step(state, frames_BTCHW[:, :1], params)

    def chunk() -> Tensor:
        return pipeline.step(state, frames_BTCHW, params)

    for _ in range(spec.geometry.num_slots):
        chunk()
    return chunk


def gain(
    models: StreamModels,
    spec: StreamSpec,
    calls: ModelCalls,
    params: Params,
    seconds: float,
    progress: ProgressFn,
) -> float:
    """How many times as fast a chunk is with these calls as with the models' own."""
    frames_BTCHW = random_frames(spec)
    ways = {
        "own": steady_chunk(models, spec, params, frames_BTCHW),
        "other": steady_chunk(models, spec, params, frames_BTCHW, calls),
    }
    times_ms = alternate(ways, seconds, "measuring the gain", progress)
    return statistics.median(times_ms["own"]) / statistics.median(times_ms["other"])


def random_frames(spec: StreamSpec) -> Tensor:
    """A chunk [1, 4, 3, H, W] in [-1, 1]."""
    return torch.rand(1, FRAMES_PER_LATENT, 3, spec.height_px, spec.width_px) * 2 - 1
