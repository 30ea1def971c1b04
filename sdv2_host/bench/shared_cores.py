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
from multiprocessing.synchronize import Event
from typing import Any

import torch

from sdv2_host.bench.pipeline import fill, free_run, silent, source_frames
from sdv2_host.clock import NS_PER_S
from sdv2_host.cores import LOOKS_WITH_ROOM, PERIOD_NS, FreeCores, allowed_cores, usable_cores
from sdv2_host.errors import WorkerError
from sdv2_host.gpu.cpu_threads import CpuThreads
from sdv2_host.gpu.tiny_engine import models_on_cpu, tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.types import ProgressFn, Size
from sdv2_host.wan.tiny_weights import TinyModels

SHARES = (0.0, 0.3, 0.5, 0.7, 1.0)
"""Of a core, that another process takes."""
BEAT_S = 1 / 30
START_S = 30.0
"""For a process to begin."""
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
        WorkerError: the other process does not begin.
    """
    models = models_on_cpu(models)
    spec = tiny_spec(models.card, size)
    params = Params(steps=steps)
    most = usable_cores()
    plain = tiny_engine(models, spec)
    sharing = tiny_engine(models, spec, cpu=CpuThreads(FreeCores(most, allowed_cores())))
    ways = {ALL: (plain, most), ONE: (plain, 1), FREE: (sharing, most)}
    frames = source_frames()
    for engine in (plain, sharing):
        fill(engine, spec, frames, params)
    done, total = itertools.count(1), len(shares) * len(ways)
    rows = []
    for share in shares:
        with working_beside(share):
            row: dict[str, Any] = {"share": share}
            for name, (engine, num_threads) in ways.items():
                torch.set_num_threads(num_threads)
                if engine is sharing:
                    free_run(engine, frames, params, SETTLED_S, silent)
                chunk_ms, _ = free_run(engine, frames, params, seconds, silent)
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
    context = multiprocessing.get_context("spawn")
    has_begun = context.Event()
    process = context.Process(target=_begin_work, args=(share, has_begun), daemon=True)
    process.start()
    try:
        if not has_begun.wait(START_S):
            raise WorkerError(f"bench cores: no other process within {START_S:.0f} s; try again")
        yield
    finally:
        process.kill()
        process.join()


def _begin_work(share: float, has_begun: Event) -> None:
    """The body of the other process."""
    has_begun.set()
    work(share)


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
