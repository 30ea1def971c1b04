"""The paper's ablation: sinks on/off x motion-aware noise on/off, over clips of known motion.

What stands for "without motion-aware noise" decides what is asked, so there are two comparisons.
Against the upper bound, as the product without the controller and the reference's fixed scale: all
chunks get as much noise as those of a still picture. That is more noise, so less noise alone may
win. Against equal mean noise, the stricter: all chunks get the mean of what the controller gave.
Which of them the paper made is not known here.

Beside the table stand a window that is longer by the sinks it lacks, to tell sinks from memory, and
noise that stays the same from chunk to chunk. All corners see the same clips; what is resampled for
the intervals is the clips.

Warp error is the paper's, but falls when a picture gets blurred, and in fast pixels nearly all of
it is the autoencoder's, which no noise changes. So there are others beside it. Slip is warp error
over the difference of neighbouring pixels: how many pixels off a picture of this detail would be
to cost as much. Beyond is what is left over along the flow beside what is left over in the true
styled clip sent through the autoencoder alone. Away is the distance from the true styled clip.

# T frames  H W size in px
# C corners  N clips  M bins of motion  R resamplings
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.held_out import (
    Sample,
    Stretch,
    as_seen,
    find_scene,
    render_stretches,
    stream,
)
from sdv2_host.bench.scores import (
    MOTION_BINS_PX,
    Mean,
    Motion,
    WarpScore,
    bin_name,
    error_beyond_by_motion,
    psnr_db,
    squared_error,
    squared_error_by_motion,
)
from sdv2_host.bench.styles import STYLES
from sdv2_host.gpu.tiny_engine import Past
from sdv2_host.params import Params
from sdv2_host.types import Engine, ProgressFn
from sdv2_host.wan.dims import FRAMES_PER_LATENT
from sdv2_host.wan.streaming_vae import StreamingVAE

EngineFactory = Callable[[Past, int], Engine]
"""The second argument is the side of the picture in px."""
AutoencodeFn = Callable[[Tensor], Tensor]
"""What an engine's autoencoder alone makes of a clip: [T, 3, H, W] in 0..1, T = 1 + 4k."""
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


@dataclass(frozen=True, slots=True)
class AblationPlan:
    """What to measure: about four minutes on two free cores.

    Motion comes and goes in every clip, as noise that follows motion can only show itself there.
    """

    clips: int = 20
    """Clip i has motion i mod 4 and style i mod 5: 20 have each with each."""
    stretches: tuple[Stretch, ...] = (Stretch(0.1, 13), Stretch(1.0, 16), Stretch(0.1, 12))
    motion_px: tuple[float, ...] = (6.0, 10.0, 4.0, 8.0)
    """Mean motion of the clips at pace 1, px per frame of a 256-px picture."""
    size_px: int = 128
    styles: tuple[str, ...] = ("watercolor", "neon", "thermal", "vaporwave", "night")
    """Whose ground truth moves with the picture: a mosaic's cells stay where they are."""


class _Sums(NamedTuple):
    """Added up over the pixels of each clip and bin, so that clips can be pooled."""

    error_CNM: NDArray[np.float64]
    detail_CNM: NDArray[np.float64]
    count_CNM: NDArray[np.float64]
    square_CNM: NDArray[np.float64]
    """Squared errors against the styled ground truth, of all pixels, seen before or not."""
    pixels_CNM: NDArray[np.float64]
    beyond_CNM: NDArray[np.float64]
    """As many as are counted for the error."""


class _Task(NamedTuple):
    """A clip and the style it should have."""

    sample: Sample
    style: str
    own_T3HW: Tensor
    """What the autoencoder alone makes of the true styled clip. uint8, as an engine's are bytes."""

    @classmethod
    def of(cls, sample: Sample, style: str, autoencode: AutoencodeFn) -> _Task:
        whole = 1 + (len(sample.clip.rgb_T3HW) - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT
        own_T3HW = autoencode(STYLES[style].fn(sample.clip.rgb_T3HW[:whole]))
        return cls(sample, style, (own_T3HW * 255).round().to(torch.uint8))


class _Measured(NamedTuple):
    warp: WarpScore
    beyond: list[Mean]
    """`error_beyond_by_motion`, beside what the autoencoder alone makes of the truth."""
    away: list[Mean]
    """`squared_error_by_motion` against the styled ground truth."""
    psnr_db: float
    noise: list[float]
    """Of each chunk."""


def render_clips(plan: AblationPlan, first_seed: int, progress: ProgressFn) -> list[Sample]:
    """The plan's held-out clips."""
    progress("ablation: rendering clips", 0.0)
    samples = []
    for index in range(plan.clips):
        target_px = plan.motion_px[index % len(plan.motion_px)]
        seed, scene, motion_px = find_scene(first_seed, index, target_px)
        clip = render_stretches(scene, plan.stretches, plan.size_px)
        samples.append(as_seen(clip, seed, motion_px))
    return samples


def round_trip(vae: StreamingVAE, frames_T3HW: Tensor) -> Tensor:
    """Frames in 0..1 as a session of the autoencoder gives them back: T is 1 + 4k."""
    frames_BTCHW = frames_T3HW[None] * 2 - 1
    cache = vae.init_cache(1, *frames_T3HW.shape[-2:])
    with torch.inference_mode():
        z_BFCHW, cache = vae.encode(frames_BTCHW, cache, is_first=True)
        decoded_T3HW = vae.decode(z_BFCHW, cache, is_first=True).frames_BTCHW[0]
    return (decoded_T3HW.clamp(-1, 1) + 1) / 2


def run(
    factory: EngineFactory,
    autoencode: AutoencodeFn,
    samples: list[Sample],
    plan: AblationPlan,
    params: Params,
    progress: ProgressFn,
) -> dict[str, Any]:
    """Corners, effects and bins with confidence intervals; fits JSON.

    The clips are 1 + 4k frames long, and so much of them is looked at.
    """
    progress("ablation: what the autoencoder alone does", 0.0)
    tasks = [
        _Task.of(sample, plan.styles[index % len(plan.styles)], autoencode)
        for index, sample in enumerate(samples)
    ]
    measured: dict[Corner, list[_Measured]] = {}
    scales = {Noise.UPPER: params.noise_s_max}
    engines = {past: factory(past, plan.size_px) for past in Past}
    for number, corner in enumerate(CORNERS):
        progress(f"ablation: corner {number + 1} of {len(CORNERS)}", number / len(CORNERS))
        used = _params_of(corner.noise, params, scales)
        measured[corner] = [_measure(engines[corner.past], task, used) for task in tasks]
        scales.setdefault(Noise.MEAN, _mean_noise(measured[corner]))
    return _summary(plan, tasks, measured)


def _params_of(noise: Noise, params: Params, scales: dict[Noise, float]) -> Params:
    if noise is Noise.AWARE:
        return params
    if noise is Noise.HELD:
        return params.model_copy(update={"noise_hold": 1.0})
    scale = scales[noise]
    return params.model_copy(update={"noise_s_min": scale, "noise_s_max": scale})


def _mean_noise(clips: list[_Measured]) -> float:
    return float(np.mean([scale for one in clips for scale in one.noise]))


def _measure(engine: Engine, task: _Task, params: Params) -> _Measured:
    style, clip = STYLES[task.style], task.sample.clip
    params = params.model_copy(update={"prompt": style.prompt})
    frames, notes = stream(engine, task.sample.pixels_THW4, params)
    truth = style.fn(clip.rgb_T3HW[: len(frames)])
    return _Measured(
        _warp_score(frames, clip),
        error_beyond_by_motion(frames, task.own_T3HW / 255, clip),
        squared_error_by_motion(frames, truth, clip),
        psnr_db(squared_error(frames, truth).value),
        [note["noise_scale"] for note in notes],
    )


def _warp_score(frames_T3HW: Tensor, clip: Motion) -> WarpScore:
    score = WarpScore()
    score.add(frames_T3HW, clip)
    return score


def _summary(
    plan: AblationPlan,
    tasks: list[_Task],
    measured: dict[Corner, list[_Measured]],
) -> dict[str, Any]:
    sums = _sums(measured)
    chosen_RN = np.random.default_rng(0).integers(0, plan.clips, (RESAMPLINGS, plan.clips))
    whole = _values(sums, chosen_RN)
    seen = [index for index in range(len(MOTION_BINS_PX)) if sums.count_CNM[..., index].any()]
    places = {"all": whole} | {
        bin_name(index): _values(_Sums(*(part[..., [index]] for part in sums)), chosen_RN)
        for index in seen
    }
    return {
        "clips": plan.clips,
        "stretches": [stretch._asdict() for stretch in plan.stretches],
        "size_px": plan.size_px,
        "styles": list(plan.styles),
        "scene_seeds": [task.sample.seed for task in tasks],
        "motion_px_per_frame": [task.sample.motion_px for task in tasks],
        "confidence": CONFIDENCE,
        "autoencoder_alone": _alone(tasks),
        "corners": [
            {
                "past": corner.past.value,
                "noise": corner.noise.value,
                "mean_noise": _mean_noise(measured[corner]),
                "psnr_output": float(np.mean([one.psnr_db for one in measured[corner]])),
                **_corner_row(whole, index),
            }
            for index, corner in enumerate(CORNERS)
        ],
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


def _alone(tasks: list[_Task]) -> dict[str, float]:
    """Warp error of the autoencoder's own, in all and by motion: none of it is the noise's."""
    score = WarpScore()
    for task in tasks:
        score.add(task.own_T3HW / 255, task.sample.clip)
    by_motion = {bin_name(index): mean for index, mean in enumerate(score.by_motion) if mean.count}
    return {name: mean.value for name, mean in ({"all": score.overall} | by_motion).items()}


def _sums(measured: dict[Corner, list[_Measured]]) -> _Sums:
    def of_all(part_of: Callable[[_Measured], list[float]]) -> NDArray[np.float64]:
        return np.array([[part_of(one) for one in measured[corner]] for corner in CORNERS])

    return _Sums(
        of_all(lambda one: [mean.total for mean in one.warp.by_motion]),
        of_all(lambda one: [mean.total for mean in one.warp.detail_by_motion]),
        of_all(lambda one: [mean.count for mean in one.warp.by_motion]),
        of_all(lambda one: [mean.total for mean in one.away]),
        of_all(lambda one: [mean.count for mean in one.away]),
        of_all(lambda one: [mean.total for mean in one.beyond]),
    )


class _Value(NamedTuple):
    """A measure of every corner: over all clips, and over each resampling of them."""

    value_C: NDArray[np.float64]
    value_CR: NDArray[np.float64]


def _values(sums: _Sums, chosen_RN: NDArray[np.int64]) -> dict[str, _Value]:
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


def _corner_row(values: dict[str, _Value], index: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for measure, value in values.items():
        row[measure] = float(value.value_C[index])
        row[f"{measure}_interval"] = interval(value.value_CR[index])
    return row


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
        row[f"{measure}_percent"] = 100 * row[measure] / base
    return row


def interval(values_R: NDArray[np.float64]) -> list[float]:
    """What the middle 95 % of the values lie between, those that are no number left out."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(values_R, [tail, 100 - tail])
    return [float(low), float(high)]


def verdict(row: dict[str, Any], measure: str) -> str:
    """lower or higher when the whole interval is; undecided when it holds zero."""
    low, high = row[f"{measure}_interval"]
    if low <= 0 <= high:
        return "undecided"
    return "lower" if high < 0 else "higher"
