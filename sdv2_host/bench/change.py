"""A new prompt in a running stream: how soon its style is there, by `recache`.

A stream runs in one style, then in another; chunk by chunk the classifier says how likely that one
is. Beside it the same clip in the new style from its start: what may be expected. Each setting
sees the same pairs of styles on the same clips.

# N changes  K chunks from the change on
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.classifier import Classifier
from sdv2_host.bench.held_out import FPS, Sample, render, rgb_of
from sdv2_host.bench.plots import Panel, draw_lines
from sdv2_host.bench.styles import STYLES
from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, FrameMeta, ProgressFn

SETTINGS: tuple[dict[str, Any], ...] = (
    {"recache": "off"},
    {"recache": "sinks"},
    {"recache": "window", "recache_frames": 0},
    {"recache": "window", "recache_frames": 1},
    {"recache": "window", "recache_frames": 3},
)
LEVEL = 0.98
"""A style is there at this part of the probability that it has from the start."""


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """What to measure: with the embedded model 1344 chunks, about 80 s of a core."""

    styles: tuple[str, ...] = tuple(STYLES)
    """Each is changed to once, from the one `distance` places before it."""
    distance: int = 3
    clips: int = 4
    chunks_before: int = 8
    """The cache is full of the old style."""
    chunks_after: int = 6
    size_px: int = 128


class _Seen(NamedTuple):
    """Of one stream, from the change on."""

    probability_K: list[float]
    """Of the new style, mean of a chunk's frames."""
    named_K: list[float]
    """Share of a chunk's frames that are given its name."""
    step_ms_K: list[float]


def run(
    engine: Engine, plan: ChangePlan, first_seed: int, params: Params, progress: ProgressFn
) -> dict[str, Any]:
    """Style by chunk after a change, for each setting and from the start; fits JSON."""
    progress("change of prompt: rendering clips", 0.0)
    num_chunks = plan.chunks_before + plan.chunks_after
    num_frames = engine.first_chunk_frames + (num_chunks - 1) * engine.chunk_frames
    samples = [render(first_seed, i, num_frames, plan.size_px) for i in range(plan.clips)]
    listener = _Listener(engine, Classifier(), plan.chunks_before)
    starts: list[_Seen] = []
    by_setting: list[list[_Seen]] = [[] for _ in SETTINGS]
    for number, style in enumerate(plan.styles):
        progress(f"change of prompt: to {style}", number / len(plan.styles))
        sample, other = samples[number % plan.clips], plan.styles[number - plan.distance]
        new = params.model_copy(update={"prompt": STYLES[style].prompt})
        starts.append(listener.play(sample, [new] * num_chunks, style))
        for seen, setting in zip(by_setting, SETTINGS, strict=True):
            after = new.model_copy(update=setting)
            before = after.model_copy(update={"prompt": STYLES[other].prompt})
            every = [before] * plan.chunks_before + [after] * plan.chunks_after
            seen.append(listener.play(sample, every, style))
    start = _row(starts)
    rows = [{**setting, **_row(seen)} for setting, seen in zip(SETTINGS, by_setting, strict=True)]
    for row in rows:
        row["chunks_to_level"] = _chunks_to_level(row["probability"], start["probability"])
    return {
        "changes": len(plan.styles),
        "chunks_before": plan.chunks_before,
        "size_px": plan.size_px,
        "chunk_s": engine.chunk_frames / FPS,
        "level": LEVEL,
        "from_start": start,
        "settings": rows,
    }


@dataclass(frozen=True, slots=True)
class _Listener:
    """Plays sessions and hears what the classifier says."""

    engine: Engine
    classifier: Classifier
    num_before: int
    """Chunks until it listens."""

    def play(self, sample: Sample, params: Sequence[Params], style: str) -> _Seen:
        """A session with these parameters, chunk by chunk."""
        self.engine.reset()
        height, width = sample.pixels_THW4.shape[1:3]
        seen = _Seen([], [], [])
        begin, count = 0, self.engine.first_chunk_frames
        for index, one in enumerate(params):
            frames = [
                Frame(FrameMeta(width, height, frame=number + 1), sample.pixels_THW4[number])
                for number in range(begin, begin + count)
            ]
            begin_ns = now_ns()
            styled = self.engine.step(frames, one)
            step_ms = (now_ns() - begin_ns) / NS_PER_MS
            if index >= self.num_before:
                likeness = self.classifier.likeness(rgb_of(styled.frames), style)
                seen.probability_K.append(likeness.probability)
                seen.named_K.append(likeness.named)
                seen.step_ms_K.append(step_ms)
            begin, count = begin + count, self.engine.chunk_frames
        return seen


def _row(runs: Sequence[_Seen]) -> dict[str, Any]:
    """Means over the changes, and the median time of the chunk with the change and of others."""
    step_ms_NK: NDArray[np.float64] = np.array([one.step_ms_K for one in runs])
    return {
        "probability": np.mean([one.probability_K for one in runs], axis=0).tolist(),
        "named": np.mean([one.named_K for one in runs], axis=0).tolist(),
        "change_ms": float(np.median(step_ms_NK[:, 0])),
        "usual_ms": float(np.median(step_ms_NK[:, 1:])),
    }


def _chunks_to_level(got_K: Sequence[float], start_K: Sequence[float]) -> int | None:
    """Chunks, the one with the change counted, until the style is there and stays; None = not
    within what was measured."""
    pairs = enumerate(zip(got_K, start_K, strict=True))
    below = [index for index, (got, start) in pairs if got < LEVEL * start]
    first = below[-1] + 1 if below else 0
    return first + 1 if first < len(got_K) else None


def table_lines(change: dict[str, Any]) -> list[str]:
    """For a terminal."""
    numbers = range(1, len(change["from_start"]["probability"]) + 1)
    lines = [
        f"change of prompt: {change['changes']} changes, each after {change['chunks_before']} "
        f"chunks of another style, {change['size_px']} px",
        f"probability of the new style, by chunk; level: {change['level']:.0%} of a stream in that "
        "style from its start",
        f"{'recache':<18}"
        + "".join(f"{number:>7}" for number in numbers)
        + f"{'at level':>10}{'ms':>7}{'usual ms':>10}",
    ]
    for row in [{"recache": "in it from start", **change["from_start"]}, *change["settings"]]:
        level = row.get("chunks_to_level", 1)
        lines.append(
            f"{_name(row):<18}"
            + "".join(f"{value:>7.3f}" for value in row["probability"])
            + f"{'not yet' if level is None else level:>10}"
            + f"{row['change_ms']:>7.0f}{row['usual_ms']:>10.0f}"
        )
    return lines


def draw_change(path: Path, change: dict[str, Any]) -> Path:
    """Writes a PNG: probability of the new style after the change, by setting; the path.

    Raises:
        ConfigError: the file cannot be written.
    """
    rows = [{"recache": "in it from start", **change["from_start"]}, *change["settings"]]
    panels = [
        Panel(f"probability of the new style, {_name(row)}", row["probability"], 0.0, 1.0)
        for row in rows
    ]
    times_s = [index * change["chunk_s"] for index in range(len(rows[0]["probability"]))]
    return draw_lines(path, times_s, panels)


def _name(row: dict[str, Any]) -> str:
    frames = row.get("recache_frames")
    return row["recache"] if frames is None else f"{row['recache']}, {frames} frames"
