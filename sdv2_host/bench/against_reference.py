"""`bench model --against streamdiffusionv2`: the reference's published package beside ours.

Same machine, weights, prompt embedding, clip and number of steps. First whether the pictures are
equal, in mode `reference`; then how fast each is, ours as it is by default, chunks in turns.

What is timed of ours is everything from RGBA frames on the host to RGBA frames on the host. Of
theirs, as its own --profile does: from frames that lie on the device ready for the model, to
pictures in float32 on the host.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from typing import Any

import torch

from sdv2_host.bench.agreement import agreement_text
from sdv2_host.bench.alternation import alternate
from sdv2_host.bench.device_peaks import wait_for
from sdv2_host.bench.model import Built, Cell, LastBuilt, engine_of, source_clip
from sdv2_host.bench.model_runs import NUM_FILLING, Given
from sdv2_host.bench.model_targets import ELSEWHERE, H200, MET, NOT_MET
from sdv2_host.bench.reference_equality import clip_chunks, compare
from sdv2_host.bench.reference_package import (
    PACKAGE,
    VERSION,
    attention_backend,
)
from sdv2_host.bench.reference_stream import ReferenceStream
from sdv2_host.types import Engine, Layout, ProgressFn, part_of

STAGES = ("encode", "denoise", "decode")
NUM_CLIP_CHUNKS = 16
TARGET_RATIO = 2.5
EQUAL_CHUNKS = 12


class OurTurns:
    """An engine in the middle of a session, and its stages' times."""

    def __init__(self, engine: Engine, given: Given, device: torch.device) -> None:
        self._engine = engine
        self._given = given
        self._device = device
        self._num_given = 0
        self.spans_ms: dict[str, list[float]] = defaultdict(list)
        engine.reset()
        self._give(engine.first_chunk_frames)

    def __call__(self, num_chunks: int) -> None:
        """After this the pictures of so many further chunks are on the host."""
        owed = num_chunks * self._engine.chunk_frames
        for _ in range(num_chunks):
            owed -= self._give(self._engine.chunk_frames)
        if owed > 0:
            self._engine.finish()
        wait_for(self._device)

    def _give(self, num_frames: int) -> int:
        frames = self._given.frames(self._num_given, num_frames)
        self._num_given += num_frames
        styled = self._engine.step(frames, self._given.params)
        for name, span_ms in styled.spans_ms.items():
            self.spans_ms[name].append(span_ms)
        return len(styled.frames)


class TheirTurns:
    """A session of the package, and its stages' times."""

    def __init__(self, cell: Cell, built: Built, layout: Layout) -> None:
        self._stream = ReferenceStream(cell, built.models, layout)
        self._device = cell.device
        first, *later = clip_chunks(cell, NUM_CLIP_CHUNKS)
        self._chunks = itertools.cycle(later)
        self.spans_ms: dict[str, list[float]] = defaultdict(list)
        self._stream.step(first)

    def __call__(self, num_chunks: int) -> None:
        """After this so many further chunks are done."""
        for _ in range(num_chunks):
            self._stream.step(next(self._chunks))
            for name, span_ms in self._stream.spans_ms.items():
                self.spans_ms[name].append(span_ms)
        wait_for(self._device)


def run(
    cell: Cell,
    models: LastBuilt,
    seconds: float,
    progress: ProgressFn,
    equal_chunks: int = EQUAL_CHUNKS,
) -> dict[str, Any]:
    """Equality and speed beside the package in its two forms: steps in a batch, and in a row.

    Each form's turns take about `seconds`; pictures are compared over sessions of `equal_chunks`.
    The package is installed and has the cell (`require_package`, `why_not`).
    """
    # With one step the two forms do the same.
    layouts = [Layout.BATCH, Layout.SERIAL] if cell.steps > 1 else [Layout.BATCH]
    # TAEHV's stream is another one there: it decodes three latents again with each.
    is_comparable = cell.vae == "wan"
    equality = compare(
        cell, models, layouts if is_comparable else [], equal_chunks, part_of(progress, 0, 0.4)
    )
    built = models.build(cell)
    engine = engine_of(cell, built)
    engine.warm_up(cell.params, part_of(progress, 0.4, 0.5))
    timed = [part_of(progress, 0.5, 0.75), part_of(progress, 0.75, 1.0)]
    return {
        "against": PACKAGE,
        "version": VERSION,
        "attention": attention_backend(),
        "equality": equality,
        "speed": [
            _speed(cell, (built, engine), layout, seconds, one)
            for layout, one in zip(layouts, timed, strict=False)
        ],
    }


def _speed(
    cell: Cell,
    ready: tuple[Built, Engine],
    layout: Layout,
    seconds: float,
    progress: ProgressFn,
) -> dict[str, Any]:
    """Ours as configured, with the engine warm, beside one form of the package."""
    built, engine = ready
    ours = OurTurns(engine, Given(source_clip(cell), cell.params), cell.device)
    theirs = TheirTurns(cell, built, layout)
    what = f"beside {PACKAGE}, {layout.value}"
    progress(what, 0.0)
    for turns in (ours, theirs):
        turns(NUM_FILLING)
        turns.spans_ms.clear()
    times = alternate(ours, theirs, seconds, progress, what)
    return {
        "layout": layout.value,
        **times,
        "ours_fps": engine.chunk_frames * 1000 / times["ours_ms"],
        "theirs_fps": engine.chunk_frames * 1000 / times["theirs_ms"],
        "target": _target(cell.device, times["ratio"]),
        "stages": {name: _stage(ours.spans_ms[name], theirs.spans_ms[name]) for name in STAGES},
    }


def _target(device: torch.device, ratio: float) -> str:
    """Whether ours is as much faster as the issue says it is to be on an H200."""
    if device.type != "cuda" or torch.cuda.get_device_name(device) != H200:
        return ELSEWHERE
    return MET if ratio >= TARGET_RATIO else NOT_MET


def _stage(ours_ms: list[float], theirs_ms: list[float]) -> dict[str, float]:
    ours, theirs = statistics.median(ours_ms), statistics.median(theirs_ms)
    return {"ours_ms": ours, "theirs_ms": theirs, "ratio": theirs / ours}


def format_lines(result: dict[str, Any], dtype: str) -> list[str]:
    """The result for a person."""
    lines = [f"beside {PACKAGE} {result['version']}, which attends by {result['attention']}"]
    lines += [
        f"  pictures, {_form(one)}: {agreement_text(one, dtype)}" for one in result["equality"]
    ]
    if not result["equality"]:
        lines.append("  pictures: not compared, its TAEHV decodes three latents anew with each")
    for speed in result["speed"]:
        lines += [
            f"{f'  ms per chunk of 4, {_form(speed)}':<42}{'theirs':>9}{'ours':>9}{'times':>8}",
            *(_row(name, speed["stages"][name]) for name in STAGES),
            _row("from frames to pictures", speed)
            + f"   middle half of {speed['pairs']} pairs of turns "
            f"{speed['ratio_low']:.2f} to {speed['ratio_high']:.2f}",
            f"  frames per second: theirs {speed['theirs_fps']:.2f}, ours {speed['ours_fps']:.2f}; "
            f"wanted {TARGET_RATIO} times: {speed['target']}",
        ]
    return lines


def _form(one: dict[str, Any]) -> str:
    return "its stream batch" if one["layout"] == Layout.BATCH.value else "its steps in a row"


def _row(name: str, times: dict[str, Any]) -> str:
    return f"  {name:<40}{times['theirs_ms']:>9.2f}{times['ours_ms']:>9.2f}{times['ratio']:>8.2f}"
