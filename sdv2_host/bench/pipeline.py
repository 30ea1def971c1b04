"""How fast the engine goes, where its time goes, and what the pipeline costs over bare models.

The bare run calls the autoencoder and the DiT on tensors of the same shapes, with a full cache,
and nothing else: no motion, noise, schedule, planning or staging. Chunks of both alternate, and
where the models run compiled, of the pipeline with the models as written; medians are compared.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdv2_host.bench.ways import alternate, random_frames, steady_chunk
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.gpu.compiled import CompiledCalls
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.tiny_engine import CallsFn, models_on_cpu, tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import RowCall
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Engine, Frame, FrameMeta, ProgressFn, Size
from sdv2_host.wan.tiny_weights import TinyModels

if sys.platform == "win32":
    import psutil
else:
    import resource

SOURCE = Size(640, 480)
NUM_SOURCE_FRAMES = 32
MIN_CHUNKS = 3
PERCENTILES = (50, 95, 99)


def run(
    size: Size,
    steps: int,
    seconds: float,
    progress: ProgressFn,
    models: TinyModels | None = None,
    calls_of: CallsFn | None = None,
) -> dict[str, Any]:
    """Measures of the tiny engine at `size`; each of the two phases takes about `seconds`.

    `calls_of` None: the models as written.

    Raises:
        ModelError: the embedded model is missing or damaged.
    """
    models = models_on_cpu(models)
    spec = tiny_spec(models.card, size)
    parts = StreamModels(models.dit, models.vae, models.text)
    calls = EagerCalls(models.dit, models.vae) if calls_of is None else calls_of(parts, spec)
    engine = tiny_engine(models, spec, calls_of=lambda *_: calls)
    params = Params(steps=steps)
    engine.warm_up(params, progress)
    frames = source_frames()
    fill(engine, spec, frames, params)

    chunk_ms, spans_ms = free_run(engine, frames, params, seconds, progress)
    beside_ms = _side_by_side(parts, spec, calls, params, seconds, progress)
    chunk_median_ms = statistics.median(chunk_ms)
    return {
        "size": str(size),
        "steps": steps,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "chunks": len(chunk_ms),
        "fps": engine.chunk_frames * len(chunk_ms) / (sum(chunk_ms) / 1000),
        "fps_median": engine.chunk_frames / (chunk_median_ms / 1000),
        "chunk_ms": {f"p{p}": float(np.percentile(chunk_ms, p)) for p in PERCENTILES},
        "spans_ms": {name: statistics.median(values) for name, values in spans_ms.items()},
        **beside_ms,
        "overhead_ratio": beside_ms["pipeline_ms"] / beside_ms["bare_ms"],
        "peak_memory_mb": peak_memory_mb(),
    }


def source_frames(size: Size = SOURCE) -> list[Frame]:
    """A textured picture that pans, RGBA8; sides must be multiples of 16."""
    random = np.random.default_rng(0)
    cells = random.integers(0, 256, (size.height // 16, size.width // 16, 4), dtype=np.uint8)
    picture = cells.repeat(16, axis=0).repeat(16, axis=1)
    meta = FrameMeta(size.width, size.height)
    return [
        Frame(meta, np.ascontiguousarray(np.roll(picture, 3 * index, axis=1)))
        for index in range(NUM_SOURCE_FRAMES)
    ]


def fill(engine: Engine, spec: StreamSpec, frames: list[Frame], params: Params) -> None:
    """A session's first chunk, and as many as its cache holds: what steps take depends on that."""
    engine.step(frames[: engine.first_chunk_frames], params)
    for _ in range(spec.geometry.num_slots):
        engine.step(frames[: engine.chunk_frames], params)


def silent(text: str, fraction: float) -> None:
    """The progress of a part, where the whole has one of its own."""


def free_run(
    engine: Engine, frames: list[Frame], params: Params, seconds: float, progress: ProgressFn
) -> tuple[list[float], dict[str, list[float]]]:
    """Milliseconds per chunk, and per span, as fast as the engine goes; it is in a session."""
    chunk_ms: list[float] = []
    spans_ms: dict[str, list[float]] = defaultdict(list)
    began_ns = now_ns()
    elapsed = 0.0
    while elapsed < seconds or len(chunk_ms) < MIN_CHUNKS:
        first = len(chunk_ms) * engine.chunk_frames % len(frames)
        start_ns = now_ns()
        styled = engine.step(frames[first : first + engine.chunk_frames], params)
        chunk_ms.append((now_ns() - start_ns) / NS_PER_MS)
        for name, span_ms in styled.spans_ms.items():
            spans_ms[name].append(span_ms)
        elapsed = (now_ns() - began_ns) / NS_PER_S
        progress("engine alone", min(1.0, elapsed / seconds))
    return chunk_ms, spans_ms


@torch.inference_mode()
def _side_by_side(
    models: StreamModels,
    spec: StreamSpec,
    calls: ModelCalls,
    params: Params,
    seconds: float,
    progress: ProgressFn,
) -> dict[str, float]:
    """Median milliseconds per chunk of `StreamPipeline.step` and of the bare calls, and, where
    those are compiled, of the pipeline with the models as written."""
    frames_BTCHW = random_frames(spec)
    ways: dict[str, Callable[[], object]] = {
        "pipeline_ms": steady_chunk(models, spec, params, frames_BTCHW, calls),
        "bare_ms": _bare_chunk(models, spec, calls, params.steps, frames_BTCHW),
    }
    if isinstance(calls, CompiledCalls):
        ways["uncompiled_ms"] = steady_chunk(models, spec, params, frames_BTCHW)
    ways["bare_ms"]()
    times_ms = alternate(ways, seconds, "pipeline beside bare models", progress)
    return {name: statistics.median(values) for name, values in times_ms.items()}


def _bare_chunk(
    models: StreamModels, spec: StreamSpec, calls: ModelCalls, steps: int, frames_BTCHW: Tensor
) -> Callable[[], None]:
    """One chunk's model calls: encode, `steps` forwards over a full cache, decode."""
    dit = models.dit
    pipeline = StreamPipeline(dit, models.vae, models.text, spec)
    state, book = pipeline.fresh_state(), pipeline.denoiser.rotary
    num_slots = spec.geometry.num_slots
    state.kv.advance_([RowCall(0, num_slots, 0)])
    past = state.kv.open_([RowCall(0, 1, num_slots)], book)
    text_kv = dit.text_kv(models.text.encode("bench"))
    t_BF = torch.full((1, 1), 500.0)

    def chunk() -> None:
        x_BFCHW = calls.encode(frames_BTCHW, state.vae_cache, is_first=False)
        for _ in range(steps):
            x_BFCHW = calls.predict(x_BFCHW, t_BF, text_kv, past)
        calls.decode(x_BFCHW, state.vae_cache, is_first=False)

    return chunk


def peak_memory_mb() -> float:
    """Peak resident memory of this process."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    else:  # not after the branch: a type checker reads one of them per system
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def format_table(result: dict[str, Any]) -> str:
    """The result as lines for a person."""
    chunk_ms, peak = result["chunk_ms"], result["peak_memory_mb"]
    spans = "  ".join(f"{name} {value:.1f}" for name, value in result["spans_ms"].items())
    lines = [
        f"engine tiny, {result['size']}, {result['steps']} steps, {result['threads']} threads, "
        f"torch {result['torch']}, {result['machine']}",
        f"frames per second   {result['fps']:.1f}   (median chunk: {result['fps_median']:.1f})",
        "chunk of 4, ms      " + "  ".join(f"{p} {chunk_ms[p]:.1f}" for p in chunk_ms),
        f"spans, median ms    {spans}",
        f"pipeline / models   {result['pipeline_ms']:.1f} / {result['bare_ms']:.1f} ms"
        f" = {result['overhead_ratio']:.3f}",
        f"peak memory         {peak:.0f} MiB",
    ]
    if "uncompiled_ms" in result:
        written_ms, compiled_ms = result["uncompiled_ms"], result["pipeline_ms"]
        lines.append(
            f"as written / compiled   {written_ms:.1f} / {compiled_ms:.1f} ms"
            f" = {written_ms / compiled_ms:.3f}"
        )
    return "\n".join(lines)
