"""What other programs on the same cores cost the embedded model: with all threads, with one, and
with as many as have a core to themselves, which is what the host does.

The others are processes that are at work for some share of each thirtieth of a second.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from sdv2_host.bench.pipeline import free_run, source_frames
from sdv2_host.clock import NS_PER_S
from sdv2_host.cores import LOOKS_WITH_ROOM, PERIOD_NS, FreeCores, usable_cores
from sdv2_host.gpu.cpu_threads import CpuThreads
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.types import ProgressFn, Size
from sdv2_host.wan.tiny_weights import TinyModels, load_tiny

SHARES = (0.0, 0.3, 0.5, 0.7, 1.0)
"""Of a core, that another process takes."""
BEAT_S = 1 / 30
SETTLED_S = (LOOKS_WITH_ROOM + 2) * PERIOD_NS / NS_PER_S
"""After this the number of threads is what it will be."""
ALL, ONE, FREE = "all threads", "one thread", "as the host"


def run(
    size: Size,
    steps: int,
    seconds: float,
    progress: ProgressFn,
    models: TinyModels | None = None,
    shares: tuple[float, ...] = SHARES,
) -> dict[str, Any]:
    """Milliseconds of chunks in each way beside each share, for `seconds` each.

    Raises:
        ModelError: the embedded model is missing or damaged.
    """
    models = models or load_tiny()
    models.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    spec = tiny_spec(models.card, size)
    params = Params(steps=steps)
    most = usable_cores()
    plain = tiny_engine(models, spec)
    sharing = tiny_engine(models, spec, cpu=CpuThreads(FreeCores(most)))
    ways = {ALL: (plain, most), ONE: (plain, 1), FREE: (sharing, most)}
    frames = source_frames()
    for engine in (plain, sharing):
        engine.step(frames[:1], params)
        for _ in range(spec.geometry.num_slots):
            engine.step(frames[: engine.chunk_frames], params)
    done, total = itertools.count(1), len(shares) * len(ways)
    rows = []
    for share in shares:
        with working_beside(share):
            row: dict[str, Any] = {"share": share}
            for name, (engine, num_threads) in ways.items():
                torch.set_num_threads(num_threads)
                if engine is sharing:
                    free_run(engine, frames, params, SETTLED_S, _silent)
                chunk_ms, _ = free_run(engine, frames, params, seconds, _silent)
                row[name] = _of(chunk_ms, engine.chunk_frames)
                progress(f"beside {share:.1f} of a core", next(done) / total)
            row["threads"] = torch.get_num_threads()  # the host's, whose turn was last
            rows.append(row)
    return {"size": str(size), "steps": steps, "cores": most, "rows": rows}


@contextlib.contextmanager
def working_beside(share: float) -> Iterator[None]:
    """Another process takes this share of a core, 0..1, meanwhile."""
    if share == 0:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=work, args=(share,), daemon=True)
    process.start()
    try:
        time.sleep(1.0)  # an interpreter starts
        yield
    finally:
        process.kill()
        process.join()


def work(share: float, clock: Callable[[], float] = time.perf_counter) -> None:
    """Until it is killed."""
    beat_s = clock()
    while True:
        while clock() < beat_s + share * BEAT_S:
            pass
        beat_s = max(beat_s + BEAT_S, clock() - BEAT_S)
        time.sleep(max(0.0, beat_s - clock()))


def _of(chunk_ms: list[float], chunk_frames: int) -> dict[str, float]:
    return {
        "ms": statistics.median(chunk_ms),
        "most_ms": max(chunk_ms),
        "fps": 1000 * chunk_frames / statistics.mean(chunk_ms),
    }


def _silent(_: str, __: float) -> None: ...


def format_table(result: dict[str, Any]) -> str:
    """The result as lines for a person."""
    lines = [
        f"engine tiny, {result['size']}, {result['steps']} steps, {result['cores']} cores; "
        "frames per second (longest chunk, ms)",
        f"{'others take':14}" + "".join(f"{name:>20}" for name in (ALL, ONE, FREE)) + "   threads",
    ]
    for row in result["rows"]:
        told = [f"{row[name]['fps']:.1f} ({row[name]['most_ms']:.0f})" for name in (ALL, ONE, FREE)]
        cells = "".join(f"{one:>20}" for one in told)
        lines.append(f"{row['share']:<4.1f} of a core {cells}   {row['threads']}")
    return "\n".join(lines)
