"""Stages of neighbouring chunks at once, beside one after the other: how many pictures, how late.

Both engines run in turns in one process, so that other load on the machine falls on both alike;
medians are compared. Latency is from when a chunk is given to when its pictures are out.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from sdv2_host.bench.pipeline import source_frames
from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns
from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.tiny_engine import CallsFn, models_on_cpu, tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.types import Frame, ProgressFn, Size
from sdv2_host.wan.tiny_weights import TinyModels

TURN_CHUNKS = 6
WARM_CHUNKS = 2
"""Of a turn, that do not count."""
LOOK_S = 0.001


@dataclass
class Way:
    """One engine and what was seen of it, in ms."""

    engine: StreamEngine
    interval_ms: list[float] = field(default_factory=list)
    """Of turns with a chunk given as soon as the engine takes one: a chunk's share."""
    latency_ms: list[float] = field(default_factory=list)
    """In such turns."""
    alone_ms: list[float] = field(default_factory=list)
    """Latency where the next chunk comes only when the pictures are out."""


def of_tiny(
    size: Size,
    steps: int,
    seconds: float,
    progress: ProgressFn,
    models: TinyModels | None = None,
    calls_of: CallsFn | None = None,
) -> dict[str, Any]:
    """The tiny engine both ways, with torch's threads: all of them for each part, or shared out to
    lanes. `calls_of` None: the models as written. Else that is a way too, and the first: what
    compiling and overlapping give together shows in one run.

    Raises:
        ModelError: the embedded model is missing or damaged.
    """
    models = models_on_cpu(models)
    spec = tiny_spec(models.card, size)
    written = {} if calls_of is None else {"as written": tiny_engine(models, spec)}
    ways = written | {
        "one after the other": tiny_engine(models, spec, calls_of=calls_of),
        "overlapped": tiny_engine(models, spec, calls_of=calls_of, overlap="on"),
    }
    return run(ways, Params(steps=steps), seconds, progress)


def run(
    ways: dict[str, StreamEngine], params: Params, seconds: float, progress: ProgressFn
) -> dict[str, Any]:
    """Medians per way. The first is what the others are compared to."""
    frames = source_frames()
    seen = {name: Way(engine) for name, engine in ways.items()}
    for way in seen.values():
        way.engine.reset()
        way.engine.step(frames[:1], params)
        _turn(way, frames, params, 2 * TURN_CHUNKS)
        way.interval_ms.clear()
        way.latency_ms.clear()
    began_ns = now_ns()
    while (elapsed := (now_ns() - began_ns) / NS_PER_S) < seconds or _is_short(seen):
        for way in seen.values():
            _turn(way, frames, params, TURN_CHUNKS)
            _alone(way, frames, params)
        progress("in turns", min(1.0, elapsed / seconds))
    return _result(seen)


def _is_short(seen: dict[str, Way]) -> bool:
    return any(len(way.interval_ms) < 3 for way in seen.values())


def _turn(way: Way, frames: list[Frame], params: Params, num_chunks: int) -> None:
    """As fast as the engine goes."""
    given_ns: list[int] = []
    num_out = 0
    marks_ns: list[int] = []
    for index in range(num_chunks):
        first = index * way.engine.chunk_frames % len(frames)
        given_ns.append(now_ns())
        styled = way.engine.step(frames[first : first + way.engine.chunk_frames], params)
        end_ns = now_ns()
        marks_ns.append(end_ns)
        for _ in range(len(styled.frames) // way.engine.chunk_frames):
            way.latency_ms.append((end_ns - given_ns[num_out]) / NS_PER_MS)
            num_out += 1
    way.engine.finish()
    counted = marks_ns[-1] - marks_ns[WARM_CHUNKS - 1]
    way.interval_ms.append(counted / (num_chunks - WARM_CHUNKS) / NS_PER_MS)


def _alone(way: Way, frames: list[Frame], params: Params) -> None:
    begin_ns = now_ns()
    styled = way.engine.step(frames[: way.engine.chunk_frames], params)
    while not len(styled.frames):
        time.sleep(LOOK_S)
        styled = way.engine.collect()
    way.alone_ms.append((now_ns() - begin_ns) / NS_PER_MS)


def _result(seen: dict[str, Way]) -> dict[str, Any]:
    first = statistics.median(next(iter(seen.values())).interval_ms)
    result: dict[str, Any] = {}
    for name, way in seen.items():
        interval_ms = statistics.median(way.interval_ms)
        result[name] = {
            "interval_ms": interval_ms,
            "least_interval_ms": min(way.interval_ms),
            "fps": 1000 * way.engine.chunk_frames / interval_ms,
            "gain": first / interval_ms,
            "latency_ms": statistics.median(way.latency_ms),
            "alone_ms": statistics.median(way.alone_ms),
            "turns": len(way.interval_ms),
        }
    return result


def rows_of(result: dict[str, Any]) -> list[str]:
    """One line per way of a result that has an "overlap"."""
    return [
        f"{name:<19} {one['fps']:6.1f} fps, {one['gain']:.2f} times; a chunk each "
        f"{one['interval_ms']:.0f} ms (least {one['least_interval_ms']:.0f}), its pictures after "
        f"{one['latency_ms']:.0f}, after {one['alone_ms']:.0f} where the source is slower"
        for name, one in result.get("overlap", {}).items()
    ]
