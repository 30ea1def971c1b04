"""The sessions of a warm-up, on blank pictures: what a show may come to, and what it takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.gpu.step_times import (
    SLOW_CHUNK_MS,
    Measured,
    WarmUpStep,
    as_started,
    filling,
    otherwise,
    rehearsal,
)
from sdv2_host.params import Params
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Frame, FrameMeta, Layout, ProgressFn, Size

REHEARSING = "rehearsing (the first start of a setup compiles it, a minute or two)"
RunFn = Callable[[int, Params, Layout | None], dict[str, float]]
"""A step of so many blank frames, after which nothing is on its way; its spans."""


class Rehearsed(NamedTuple):
    """An engine, as far as a warm-up has to do with it."""

    run: RunFn
    reset: Callable[[], None]
    forget_texts: Callable[[], None]
    """The next chunk's prompt is computed anew."""
    first_chunk_frames: int
    spec: StreamSpec


def blank_frames(size: Size, count: int) -> list[Frame]:
    """Black ones."""
    pixels = np.zeros((size.height, size.width, 4), dtype=np.uint8)
    return [Frame(FrameMeta(size.width, size.height), pixels)] * count


def rehearse(engine: Rehearsed, params: Params, progress: ProgressFn) -> None:
    """A session with what is not measured but may come in a show."""
    progress(REHEARSING, 0.0)
    engine.run(engine.first_chunk_frames, with_steps(params, engine.spec.num_rows), None)
    plan = rehearsal(engine.spec)
    with _as_far_as_memory_goes():
        for index, ((frames, layout, steps), replaces, is_new_text) in enumerate(plan):
            progress(REHEARSING, index / len(plan))
            if is_new_text:
                engine.forget_texts()
            changes = {"steps": steps, "sink_mode": "adaptive" if replaces else "fixed"}
            engine.run(frames, params.model_copy(update=changes), layout)
    engine.reset()


def measured_session(engine: Rehearsed, params: Params, progress: ProgressFn) -> list[Measured]:
    """A session with every shape in it; what they took."""
    fill, usual, others = (plan(engine.spec) for plan in (filling, as_started, otherwise))
    num_steps = len(fill) + len(usual) + len(others)
    done = itertools.count(1)

    def run(steps: list[WarmUpStep], text: str) -> Iterator[Measured]:
        for one in _measure(engine, steps, params):
            progress(text, next(done) / num_steps)
            yield one

    engine.run(engine.first_chunk_frames, with_steps(params, 1), None)
    measured = list(run([*fill, *usual], "warming up"))[len(fill) :]
    if measured[0].step_ms < SLOW_CHUNK_MS:
        with _as_far_as_memory_goes():
            for one in run(others, "measuring step times"):
                measured.append(one)
    engine.reset()
    return measured


def _measure(engine: Rehearsed, steps: list[WarmUpStep], params: Params) -> Iterator[Measured]:
    for step in steps:
        frames, layout, num_steps = step.shape
        begin_ns = now_ns()
        spans_ms = engine.run(frames, with_steps(params, num_steps), layout)
        yield Measured(step, (now_ns() - begin_ns) / NS_PER_MS, spans_ms["denoise"])


@contextmanager
def _as_far_as_memory_goes() -> Iterator[None]:
    """What is inside ends where memory does."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise


def with_steps(params: Params, num_steps: int) -> Params:
    return params.model_copy(update={"steps": num_steps})
