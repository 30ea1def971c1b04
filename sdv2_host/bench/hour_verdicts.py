"""What the numbers of an hour say: drift, memory, new looks, RoPE resets, speed.

A claim holds when the whole 95 % interval lies where it says, fails when none of it does, and is
undecided otherwise: too few numbers are no proof of anything.

# N chunks  A anchors  C changes of look  K chunks after one  R resamplings  S statistics
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.corners import RESAMPLINGS, interval
from sdv2_host.bench.held_out import FPS
from sdv2_host.bench.hour_show import ANCHOR_CHUNKS, CHUNK_FRAMES, MINUTE_CHUNKS, Show
from sdv2_host.bench.hour_trace import AFTER_CHANGE, SAMPLE_EVERY, SETTLED, Trace

Floats = NDArray[np.float64]
COLOUR_NAMES = tuple(f"{what} of {name}" for what in ("mean", "spread") for name in ("R", "G", "B"))
ANCHOR_NAMES = (*COLOUR_NAMES, "detail", "style score", "away from the first")
NOISE_SPREADS = 2.26
"""A further anchor lies so many spreads from the mean of the first minute's 13 or less in 95 of 100
cases: Student's t of 12 degrees of freedom, 2.179, times the root of 1 + 1/13."""
FEWEST_POINTS = 10
"""Of a trend: resampled, fewer look surer than they are."""
SETTLING_MINUTES = 5
"""Until memory is looked at: caches of prompts, of rotary tables and of the allocator fill."""
RSS_GROWTH = 0.02
"""Of the memory a stream has, an hour, that counts as flat: a night of ten hours may take a fifth
more."""
RECOVERED_AFTER = 4
"""Chunks that a new look is given."""
AS_WELL = 0.05
"""Of the style score, 0..1, that a change may be below a fresh stream."""


def drift(show: Show, trace: Trace) -> dict[str, Any]:
    """Of each statistic of the anchors: its slope over the minutes against its spread in the first,
    in spreads."""
    chunks = show.anchors()
    values_AS = anchor_values(chunks, trace)
    is_first_A = np.array([chunk < MINUTE_CHUNKS for chunk in chunks])
    minutes = show.num_chunks / MINUTE_CHUNKS
    at_A = np.array(chunks)[~is_first_A] / MINUTE_CHUNKS
    rows: list[dict[str, Any]] = []
    for name, values_A in zip(ANCHOR_NAMES, values_AS.T, strict=True):
        first = values_A[is_first_A]
        first = first[np.isfinite(first)]
        mean, spread = float(first.mean()), float(first.std(ddof=1))
        later = (values_A[~is_first_A] - mean) / spread
        slope, between = trend(at_A, later)
        rows.append(
            {
                "statistic": name,
                "first_minute": mean,
                "spread": spread,
                "per_minute": slope,
                "in_all": slope * minutes,
                "in_all_interval": [value * minutes for value in between],
                "beyond_noise": float((np.abs(later) > NOISE_SPREADS).mean()),
                "later_less_first": float(later.mean()),
            }
        )
    return {
        "anchors_at_first": int(is_first_A.sum()),
        "anchors_later": int((~is_first_A).sum()),
        "statistics": rows,
        "within_noise": _all(
            within(row["in_all_interval"], -NOISE_SPREADS, NOISE_SPREADS) for row in rows
        ),
    }


def anchor_values(chunks: list[int], trace: Trace) -> Floats:
    """[A, S] of the settled part; the first anchor is no distance from itself: NaN."""
    rows = []
    for index, chunk in enumerate(chunks):
        part = slice(chunk + SETTLED, chunk + ANCHOR_CHUNKS)
        away = trace.away_AP[index].mean() if index else math.nan
        style = np.nanmean(trace.style_N[part])
        rows.append([*trace.colours_NS[part].mean(0), trace.detail_N[part].mean(), style, away])
    return np.array(rows, np.float64).reshape(-1, len(ANCHOR_NAMES))


def memory(trace: Trace) -> dict[str, Any]:
    """Growth an hour after the first minutes, of the median of each minute."""
    per_minute = MINUTE_CHUNKS // SAMPLE_EVERY
    rows: dict[str, Any] = {}
    for name, values_M in (
        ("rss_bytes", trace.rss_bytes_M),
        ("blocks", trace.blocks_M),
        ("handles", trace.handles_M),
        ("threads", trace.threads_M),
    ):
        settled = values_M[min(SETTLING_MINUTES * per_minute, len(values_M) // 2) :]
        count = len(settled) // per_minute
        medians = np.median(settled[: count * per_minute].reshape(count, per_minute), axis=1)
        slope, between = trend(np.arange(count) / 60, np.asarray(medians, np.float64))
        rows[name] = {
            "first": float(settled[0]),
            "last": float(settled[-1]),
            "most": float(settled.max()),
            "per_hour": slope,
            "per_hour_interval": between,
        }
    limit = RSS_GROWTH * rows["rss_bytes"]["first"]
    is_flat = [within(rows["rss_bytes"]["per_hour_interval"], -math.inf, limit)]
    is_flat += [rows[name]["most"] <= rows[name]["first"] for name in ("handles", "threads")]
    return {**rows, "flat": _all(is_flat)}


def recovery(show: Show, trace: Trace) -> dict[str, Any]:
    """A new look beside a stream that begins with it: style scores by chunks since the change."""
    seen_C = np.isfinite(trace.changed_CK).all(1)
    if not seen_C.any():
        return {"changes": 0, "as_well": None}
    less_CK = (trace.changed_CK - trace.fresh_CK)[seen_C].astype(np.float64)
    styles = [show.moment(chunk).style for chunk in show.changes()]
    styles_C = np.array(styles)[seen_C]
    rng = np.random.default_rng(0)
    chosen_RC = rng.integers(0, len(less_CK), (RESAMPLINGS, len(less_CK)))
    rows: list[dict[str, Any]] = []
    for k in range(AFTER_CHANGE):
        between = interval(less_CK[:, k][chosen_RC].mean(1))
        rows.append(
            {
                "chunks": k,
                "changed": _mean(trace.changed_CK[seen_C, k]),
                "fresh": _mean(trace.fresh_CK[seen_C, k]),
                "named_changed": _mean(trace.named_changed_CK[seen_C, k]),
                "named_fresh": _mean(trace.named_fresh_CK[seen_C, k]),
                "less": _mean(less_CK[:, k]),
                "less_interval": between,
            }
        )
    by_style = {str(name): _since(less_CK[styles_C == name]) for name in sorted(set(styles_C))}
    after = [row["less_interval"] for row in rows[RECOVERED_AFTER:]]
    return {
        "changes": len(less_CK),
        "chunks": rows,
        "recovered_after": _since(less_CK),
        "by_style": by_style,
        "as_well": _all(within(between, -AS_WELL, math.inf) for between in after),
    }


def _since(less_CK: Floats) -> int:
    """Chunks after which the mean stays as good as a fresh stream's."""
    below = np.flatnonzero(less_CK.mean(0) < -AS_WELL)
    return int(below[-1]) + 1 if len(below) else 0


def speed(show: Show, trace: Trace) -> dict[str, Any]:
    """Seconds of video made in a second."""
    shown_s = (show.num_chunks - 1) * CHUNK_FRAMES / FPS
    engine_s = float(trace.step_ms_N[1:].sum()) / 1000
    return {
        "video_s": shown_s,
        "engine_s": engine_s,
        "seconds": float(trace.seconds_1[0]),
        "engine_ratio": shown_s / engine_s,
        "ratio": shown_s / float(trace.seconds_1[0]),
        "step_ms": {f"p{p}": float(np.nanpercentile(trace.step_ms_N, p)) for p in (50, 95, 99)},
        "faster": shown_s > engine_s,
    }


def watchdog(trace: Trace, limit: float) -> dict[str, Any]:
    """What the product's own drift watchdog said."""
    return {
        "most": float(trace.drift_N.max()),
        "chunks_over_limit": int((trace.drift_N > limit).sum()),
    }


def trend(times: Floats, values: Floats) -> tuple[float, list[float]]:
    """Slope of the line of least squares, and its interval over resampled points; of too few for
    that: no numbers."""
    if len(times) < FEWEST_POINTS:
        return math.nan, [math.nan, math.nan]
    rng = np.random.default_rng(0)
    chosen_R = rng.integers(0, len(times), (RESAMPLINGS, len(times)))

    def slope(x: Floats, y: Floats) -> Floats:
        x = x - x.mean(-1, keepdims=True)
        # A resampling of one point alone has no slope: 0 / 0.
        with np.errstate(invalid="ignore"):
            return np.asarray((x * y).sum(-1) / (x * x).sum(-1))

    return float(slope(times, values)), interval(slope(times[chosen_R], values[chosen_R]))


def within(between: list[float], low: float, high: float) -> bool | None:
    """None = undecided."""
    if low < between[0] and between[1] < high:
        return True
    return False if between[0] > high or between[1] < low else None


def _all(claims: Any) -> bool | None:
    """False if one is, else None if one is."""
    known = list(claims)
    if False in known:
        return False
    return None if None in known else True


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean())
