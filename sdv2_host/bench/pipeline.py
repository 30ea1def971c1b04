"""How fast the engine goes, where its time goes, and what the pipeline costs over bare models.

The bare run calls the autoencoder and the DiT on tensors of the same shapes, with a full cache,
and nothing else: no motion, noise, schedule, planning or staging. Chunks of both alternate, so
that other load on the machine falls on both alike; medians are compared.
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

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import RowCall
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Frame, FrameMeta, ProgressFn, Size
from sdv2_host.wan.dims import LATENT_STRIDE_PX
from sdv2_host.wan.tiny_weights import TinyModels, load_tiny

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
    threads: int = 0,
    models: TinyModels | None = None,
) -> dict[str, Any]:
    """Measures of the tiny engine at `size`; each of the two phases takes about `seconds`.

    Raises:
        ModelError: the embedded model is missing or damaged.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    models = models or load_tiny()
    models.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    spec = tiny_spec(models.card, size)
    engine = tiny_engine(models, spec)
    params = Params(steps=steps)
    engine.warm_up(params, progress)
    frames = source_frames()
    engine.step(frames[:1], params)
    for _ in range(spec.geometry.num_slots):
        engine.step(frames[: engine.chunk_frames], params)

    chunk_ms, spans_ms = _free_run(engine, frames, params, seconds, progress)
    styled_ms, bare_ms = _side_by_side(engine, models, spec, params, seconds, progress)
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
        "bare_ms": statistics.median(bare_ms),
        "pipeline_ms": statistics.median(styled_ms),
        "overhead_ratio": statistics.median(styled_ms) / statistics.median(bare_ms),
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


def _free_run(
    engine: StreamEngine, frames: list[Frame], params: Params, seconds: float, progress: ProgressFn
) -> tuple[list[float], dict[str, list[float]]]:
    """Milliseconds per chunk, and per span, as fast as the engine goes."""
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
    engine: StreamEngine,
    models: TinyModels,
    spec: StreamSpec,
    params: Params,
    seconds: float,
    progress: ProgressFn,
) -> tuple[list[float], list[float]]:
    """Milliseconds per chunk of `StreamPipeline.step` and of the bare models, alternating."""
    frames_BTCHW = torch.rand(1, engine.chunk_frames, 3, spec.height_px, spec.width_px) * 2 - 1
    pipeline = StreamPipeline(models.dit, models.vae, models.text, spec)
    state = pipeline.fresh_state()
    pipeline.step(state, frames_BTCHW[:, :1], params)
    for _ in range(spec.geometry.num_slots):
        pipeline.step(state, frames_BTCHW, params)
    bare = _bare_chunk(models, spec, params.steps, frames_BTCHW)
    bare()
    styled_ms: list[float] = []
    bare_ms: list[float] = []
    began_ns = now_ns()
    elapsed = 0.0
    while elapsed < seconds or len(bare_ms) < MIN_CHUNKS:
        start_ns = now_ns()
        pipeline.step(state, frames_BTCHW, params)
        middle_ns = now_ns()
        bare()
        styled_ms.append((middle_ns - start_ns) / NS_PER_MS)
        bare_ms.append((now_ns() - middle_ns) / NS_PER_MS)
        elapsed = (now_ns() - began_ns) / NS_PER_S
        progress("pipeline beside bare models", min(1.0, elapsed / seconds))
    return styled_ms, bare_ms


def _bare_chunk(
    models: TinyModels, spec: StreamSpec, steps: int, frames_BTCHW: torch.Tensor
) -> Callable[[], None]:
    """One chunk's model calls: encode, `steps` forwards over a full cache, decode."""
    dit, vae = models.dit, models.vae
    state = StreamPipeline(dit, vae, models.text, spec).fresh_state()
    cell_px = LATENT_STRIDE_PX * dit.dims.patch[1]
    grid = (spec.height_px // cell_px, spec.width_px // cell_px)
    book = RotaryBook(dit.dims.head_dim, grid, spec.device, spec.dtype)
    num_slots = spec.geometry.num_slots
    state.kv.advance_([RowCall(0, num_slots, 0)])
    grid_tokens = torch.zeros(1, grid[0] * grid[1], dit.dims.dim)
    attend = state.kv.open_([RowCall(0, 1, num_slots)], book).begin_(grid_tokens)
    text_kv = dit.text_kv(models.text.encode("bench"))
    t_BF = torch.full((1, 1), 500.0)

    def chunk() -> None:
        x_BFCHW = vae.encode(frames_BTCHW, state.vae_cache, is_first=False).z_BFCHW
        for _ in range(steps):
            x_BFCHW = dit(x_BFCHW, t_BF, text_kv, attend)
        vae.decode(x_BFCHW, state.vae_cache, is_first=False)

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
    return "\n".join(
        [
            f"engine tiny, {result['size']}, {result['steps']} steps, {result['threads']} threads, "
            f"torch {result['torch']}, {result['machine']}",
            f"frames per second   {result['fps']:.1f}   (median chunk: {result['fps_median']:.1f})",
            "chunk of 4, ms      " + "  ".join(f"{p} {chunk_ms[p]:.1f}" for p in chunk_ms),
            f"spans, median ms    {spans}",
            f"pipeline / models   {result['pipeline_ms']:.1f} / {result['bare_ms']:.1f} ms"
            f" = {result['overhead_ratio']:.3f}",
            f"peak memory         {peak:.0f} MiB",
        ]
    )
