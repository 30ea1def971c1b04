"""Corners of the paper's table, and what differs between them, with confidence intervals.

# C corners  N clips  M bins of motion  R resamplings
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.bench.scores import MOTION_BINS_PX, bin_name
from sdv2_host.gpu.tiny_engine import Past

RESAMPLINGS = 2000
CONFIDENCE = 0.95


class Noise(Enum):
    """How the chunks of a stream get their noise."""

    AWARE = "motion-aware"
    UPPER = "upper bound"
    """All chunks what a still picture gets: the controller off."""
    MEAN = "equal mean"
    """All chunks the mean of what the controller gave."""
    HELD = "held"
    """Motion-aware, and the same noise for all chunks instead of new noise for each."""


class Corner(NamedTuple):
    past: Past
    noise: Noise


STEADY = (Noise.UPPER, Noise.MEAN)
"""What motion-aware noise is compared with."""
CORNERS = (
    *(Corner(past, noise) for past in Past for noise in (Noise.AWARE, *STEADY)),
    Corner(Past.SINKS, Noise.HELD),
)


class Effect(NamedTuple):
    """A difference of corners: the mean of those with, less the mean of those without."""

    name: str
    plus: tuple[Corner, ...]
    minus: tuple[Corner, ...]


def effects_against(steady: Noise) -> tuple[Effect, ...]:
    """The cells of the 2x2 table less its corner with neither, and the cell with both less each
    of the cells with one."""
    neither = Corner(Past.NO_SINKS, steady)
    sinks, noise = Corner(Past.SINKS, steady), Corner(Past.NO_SINKS, Noise.AWARE)
    both = Corner(Past.SINKS, Noise.AWARE)
    return (
        Effect("sinks", (sinks,), (neither,)),
        Effect("motion-aware noise", (noise,), (neither,)),
        Effect("both", (both,), (neither,)),
        Effect("both, not sinks alone", (both,), (sinks,)),
        Effect("both, not noise alone", (both,), (noise,)),
    )


def _new_noise(past: Past) -> tuple[Corner, ...]:
    return tuple(corner for corner in CORNERS[:-1] if corner.past is past)


OTHER_EFFECTS = (
    Effect("sinks, any noise", _new_noise(Past.SINKS), _new_noise(Past.NO_SINKS)),
    Effect("sinks, not window", _new_noise(Past.SINKS), _new_noise(Past.LONGER_WINDOW)),
    Effect("noise held", CORNERS[-1:], CORNERS[:1]),
)


class Sums(NamedTuple):
    """Added up over the pixels of each clip and bin, so that clips can be pooled."""

    error_CNM: NDArray[np.float64]
    detail_CNM: NDArray[np.float64]
    count_CNM: NDArray[np.float64]
    square_CNM: NDArray[np.float64]
    """Squared errors against the styled ground truth, of all pixels, seen before or not."""
    pixels_CNM: NDArray[np.float64]
    beyond_CNM: NDArray[np.float64]
    """As many as are counted for the error."""


class _Value(NamedTuple):
    """A measure of every corner: over all clips, and over each resampling of them."""

    value_C: NDArray[np.float64]
    value_CR: NDArray[np.float64]


def _values(sums: Sums, chosen_RN: NDArray[np.int64]) -> dict[str, _Value]:
    """All measures of one place."""
    error_CN, detail_CN, count_CN, square_CN, pixels_CN, beyond_CN = (
        part.sum(axis=2) for part in sums
    )

    def ratio(over_CN: NDArray[np.float64], under_CN: NDArray[np.float64]) -> _Value:
        # A resampling without a clip that has such pixels says nothing of them: 0 / 0.
        with np.errstate(invalid="ignore"):
            value_CR = over_CN[:, chosen_RN].sum(axis=2) / under_CN[:, chosen_RN].sum(axis=2)
        return _Value(over_CN.sum(axis=1) / under_CN.sum(axis=1), value_CR)

    square = ratio(square_CN, pixels_CN)
    return {
        "warp": ratio(error_CN, count_CN),
        "slip_px": ratio(error_CN, detail_CN),
        "beyond": ratio(beyond_CN, count_CN),
        "away": _Value(np.sqrt(square.value_C), np.sqrt(square.value_CR)),
    }


def tables(sums: Sums) -> dict[str, Any]:
    """Every measure with its interval: "corners", in the order of `CORNERS`; "comparisons" with
    each steady noise, in all and by motion; "others". Fits JSON."""
    num_clips = sums.count_CNM.shape[1]
    chosen_RN = np.random.default_rng(0).integers(0, num_clips, (RESAMPLINGS, num_clips))
    whole = _values(sums, chosen_RN)
    seen = [index for index in range(len(MOTION_BINS_PX)) if sums.count_CNM[..., index].any()]
    places = {"all": whole} | {
        bin_name(index): _values(Sums(*(part[..., [index]] for part in sums)), chosen_RN)
        for index in seen
    }
    return {
        "corners": [_corner_row(places, index) for index in range(len(CORNERS))],
        "others": [_effect_row(whole, effect) for effect in OTHER_EFFECTS],
        "comparisons": [
            {
                "against": steady.value,
                "places": [
                    {
                        "motion_px": name,
                        "effects": [_effect_row(v, effect) for effect in effects_against(steady)],
                    }
                    for name, v in places.items()
                ],
            }
            for steady in STEADY
        ],
    }


def _corner_row(places: dict[str, dict[str, _Value]], index: int) -> dict[str, Any]:
    corner = CORNERS[index]
    row: dict[str, Any] = {"past": corner.past.value, "noise": corner.noise.value}
    for measure, value in places["all"].items():
        row[measure] = float(value.value_C[index])
        row[f"{measure}_interval"] = interval(value.value_CR[index])
    by_motion = {name: float(values["warp"].value_C[index]) for name, values in places.items()}
    return {**row, "warp_by_motion": by_motion}


def _effect_row(values: dict[str, _Value], effect: Effect) -> dict[str, Any]:
    plus = [CORNERS.index(corner) for corner in effect.plus]
    minus = [CORNERS.index(corner) for corner in effect.minus]
    row: dict[str, Any] = {"effect": effect.name}
    for measure, (value_C, value_CR) in values.items():
        base = float(value_C[minus].mean())
        row[measure] = float(value_C[plus].mean()) - base
        row[f"{measure}_interval"] = interval(
            value_CR[plus].mean(axis=0) - value_CR[minus].mean(axis=0)
        )
        row[f"{measure}_percent"] = 100 * row[measure] / base if base else 0.0
    return row


def interval(values_R: NDArray[np.float64]) -> list[float]:
    """What the middle 95 % of the values lie between, those that are no number left out."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(values_R, [tail, 100 - tail])
    return [float(low), float(high)]


def verdict(row: dict[str, Any], measure: str) -> str:
    """lower or higher when the whole interval is; else, also where it is no number, undecided."""
    low, high = row[f"{measure}_interval"]
    if high < 0:
        return "lower"
    return "higher" if low > 0 else "undecided"
