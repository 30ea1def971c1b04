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
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.corners import CONFIDENCE, CORNERS, Corner, Noise, Sums, tables
from sdv2_host.bench.held_out import (
    Sample,
    Stretch,
    as_seen,
    find_scene,
    render_stretches,
    stream,
)
from sdv2_host.bench.scores import (
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
from sdv2_host.types import Engine, ProgressFn, part_of
from sdv2_host.wan.dims import FRAMES_PER_LATENT
from sdv2_host.wan.streaming_vae import StreamingVAE

EngineFactory = Callable[[Past, int], Engine]
"""The second argument is the side of the picture in px."""
AutoencodeFn = Callable[[Tensor], Tensor]
"""What an engine's autoencoder alone makes of a clip: [T, 3, H, W] in 0..1, T = 1 + 4k."""

ALONE_SHARE = 0.03
"""Of the time: the autoencoder alone."""


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
    samples = []
    for index in range(plan.clips):
        progress("ablation: rendering clips", index / plan.clips)
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
    tasks = []
    for index, sample in enumerate(samples):
        progress("ablation: what the autoencoder alone does", index / len(samples) * ALONE_SHARE)
        tasks.append(_Task.of(sample, plan.styles[index % len(plan.styles)], autoencode))
    measured: dict[Corner, list[_Measured]] = {}
    scales = {Noise.UPPER: params.noise_s_max}
    engines = {past: factory(past, plan.size_px) for past in Past}
    streaming = part_of(progress, ALONE_SHARE, 1.0)
    for number, corner in enumerate(CORNERS):
        used = _params_of(corner.noise, params, scales)
        measured[corner] = []
        for index, task in enumerate(tasks):
            done = (number + index / len(tasks)) / len(CORNERS)
            streaming(f"ablation: corner {number + 1} of {len(CORNERS)}", done)
            measured[corner].append(_measure(engines[corner.past], task, used))
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
    found = tables(_sums(measured))
    found["corners"] = [
        {
            **row,
            "mean_noise": _mean_noise(measured[corner]),
            "psnr_output": float(np.mean([one.psnr_db for one in measured[corner]])),
        }
        for corner, row in zip(CORNERS, found["corners"], strict=True)
    ]
    return {
        "clips": plan.clips,
        "stretches": [stretch._asdict() for stretch in plan.stretches],
        "size_px": plan.size_px,
        "styles": list(plan.styles),
        "scene_seeds": [task.sample.seed for task in tasks],
        "motion_px_per_frame": [task.sample.motion_px for task in tasks],
        "confidence": CONFIDENCE,
        "bounds": _bounds(tasks),
        **found,
    }


def _bounds(tasks: list[_Task]) -> dict[str, dict[str, float]]:
    """Warp error, in all and by motion, of what the clips should be and of what the autoencoder
    alone makes of that: none of it is the noise's."""
    truth, own = WarpScore(), WarpScore()
    for (clip, *_), style, own_T3HW in tasks:
        truth.add(STYLES[style].fn(clip.rgb_T3HW[: len(own_T3HW)]), clip)
        own.add(own_T3HW / 255, clip)
    return {"truth": _by_motion(truth), "autoencoder_alone": _by_motion(own)}


def _by_motion(score: WarpScore) -> dict[str, float]:
    by_motion = {bin_name(index): mean for index, mean in enumerate(score.by_motion) if mean.count}
    return {name: mean.value for name, mean in ({"all": score.overall} | by_motion).items()}


def _sums(measured: dict[Corner, list[_Measured]]) -> Sums:
    def of_all(bins_of: Callable[[_Measured], list[float]]) -> NDArray[np.float64]:
        return np.array([[bins_of(one) for one in measured[corner]] for corner in CORNERS])

    return Sums(
        of_all(lambda one: [mean.total for mean in one.warp.by_motion]),
        of_all(lambda one: [mean.total for mean in one.warp.detail_by_motion]),
        of_all(lambda one: [mean.count for mean in one.warp.by_motion]),
        of_all(lambda one: [mean.total for mean in one.away]),
        of_all(lambda one: [mean.count for mean in one.away]),
        of_all(lambda one: [mean.total for mean in one.beyond]),
    )
