"""Whether the picture steps where the positions of a stream are reset.

A step is measured on what the source does there: the change from the frame before a chunk to the
chunk's first, of the picture over that of the source, as a logarithm; and likewise of the chunk's
colour statistics. What is compared is how much that is above the three chunks before, so that
calm and fast content falls on both sides alike. Chunks soon after a cut or a new look are left out.

# N chunks  S statistics
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.hour_show import Show
from sdv2_host.bench.hour_trace import Trace
from sdv2_host.bench.hour_verdicts import within
from sdv2_host.stream.positions import reset_index

GUARD_CHUNKS = 12
"""After a cut or a new look: the eight until nothing is left of what was before, and those that
are compared with."""
BEFORE_CHUNKS = 3
FLOOR = 0.25 / 255
"""Added to changes, in 0..1: a still picture has none."""
SMALL = 0.2
"""Differences of means below this many standard deviations are small. Source: Cohen, Statistical
Power Analysis for the Behavioral Sciences."""
Z_95 = 1.96
KS_95 = 1.358
"""Times the root of (n + m) / nm: the distance of two samples of one distribution is below it in
95 of 100 cases."""
OFFSETS = tuple(range(-2, 7))

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def resets(show: Show, trace: Trace) -> dict[str, Any]:
    """Picture and colours at the chunks where `PositionMode.RESET` falls back, and elsewhere."""
    steps = {name: above_before(of(trace)) for name, of in MEASURES.items()}
    return _judged(show, steps, steps)


def paired(show: Show, reset: Trace, relative: Trace) -> dict[str, Any]:
    """Steps of a stream with resets over those of one without, of the same frames and noise."""
    pairs = {name: above_before(of(reset) - of(relative)) for name, of in MEASURES.items()}
    # Pairs tell more exactly how large a step is; what is a small one is no other for that.
    alone = {name: above_before(of(reset)) for name, of in MEASURES.items()}
    return _judged(show, pairs, alone)


def _judged(show: Show, steps: dict[str, Floats], usual: dict[str, Floats]) -> dict[str, Any]:
    """The steps at resets and elsewhere, beside how much the usual ones differ."""
    at_N, measured_N = reset_chunks(show.num_chunks), undisturbed(show)
    rows: dict[str, Any] = {}
    for name, steps_N in steps.items():
        deviation = float(usual[name][~at_N & measured_N].std(ddof=1))
        rows[name] = compare(steps_N, at_N, measured_N, deviation)
    return {**rows, "by_offset": by_offset(steps["frames"], at_N, measured_N)}


def by_offset(values_N: Floats, at_N: Booleans, measured_N: Booleans) -> list[dict[str, Any]]:
    """The same some chunks before and after: a step has a place."""
    return [
        {"offset": offset, **compare(values_N, np.roll(at_N, offset), measured_N)}
        for offset in OFFSETS
    ]


def reset_chunks(num_chunks: int) -> Booleans:
    """[N]: a chunk is one latent frame, the first included."""
    index_N = np.array([reset_index(chunk) for chunk in range(num_chunks)])
    return np.concatenate([[False], np.diff(index_N) < 0])


def undisturbed(show: Show) -> Booleans:
    """[N]: not soon after a cut or a new look, nor after the beginning."""
    measured_N = np.ones(show.num_chunks, np.bool_)
    for chunk in range(show.num_chunks):
        moment = show.moment(chunk)
        if chunk == 0 or moment.is_cut or moment.has_new_look:
            measured_N[chunk : chunk + GUARD_CHUNKS] = False
    return measured_N


def frame_steps(trace: Trace) -> Floats:
    picture_N, source_N = (
        np.log(values.astype(np.float64) + FLOOR)
        for values in (trace.picture_step_N, trace.source_step_N)
    )
    return picture_N - source_N


def colour_steps(trace: Trace) -> Floats:
    picture_N, source_N = (
        np.log(_distance(values.astype(np.float64)) + FLOOR)
        for values in (trace.colours_NS, trace.source_colours_NS)
    )
    return picture_N - source_N


MEASURES = {"frames": frame_steps, "colours": colour_steps}


def _distance(values_NS: Floats) -> Floats:
    """Of each row to the one before, root mean square."""
    step_N = np.sqrt(np.square(np.diff(values_NS, axis=0)).mean(1))
    return np.concatenate([[np.nan], step_N])


def above_before(values_N: Floats) -> Floats:
    """Each value less the mean of those before it."""
    before = [np.roll(values_N, shift) for shift in range(1, BEFORE_CHUNKS + 1)]
    mean_N: Floats = np.mean(before, axis=0)
    return values_N - mean_N


def compare(
    values_N: Floats, at_N: Booleans, measured_N: Booleans, deviation: float | None = None
) -> dict[str, Any]:
    """The values at some chunks beside those elsewhere, of the chunks that are measured.

    Effects are in standard deviations of the values elsewhere, or in those that are given.
    """
    at, elsewhere = values_N[at_N & measured_N], values_N[~at_N & measured_N]
    n, m = len(at), len(elsewhere)
    if n < 2:
        return {"at": n, "elsewhere": m, "no_step": None}
    more = float(at.mean() - elsewhere.mean())
    error = float(np.sqrt(at.var(ddof=1) / n + elsewhere.var(ddof=1) / m))
    deviation = deviation or float(elsewhere.std(ddof=1))
    effect = [(more + z * error) / deviation for z in (-Z_95, Z_95)]
    return {
        "at": n,
        "elsewhere": m,
        "more_percent": 100 * float(np.expm1(more)),
        "more_percent_interval": [100 * float(np.expm1(more + z * error)) for z in (-Z_95, Z_95)],
        "effect": more / deviation,
        "effect_interval": effect,
        "ks": ks_distance(at, elsewhere),
        "ks_95": KS_95 * float(np.sqrt((n + m) / (n * m))),
        "largest_at_percent": 100 * float(np.expm1(at.max())),
        "as_large_elsewhere": int((elsewhere >= at.max()).sum()),
        "no_step": within(effect, -SMALL, SMALL),
    }


def ks_distance(a: Floats, b: Floats) -> float:
    """Largest distance of the two samples' distribution functions (Kolmogorov, Smirnov)."""
    values = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(np.sort(part), values, "right") / len(part) for part in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())
