"""`sdv2-host bench quality`: the real streaming engine on clips whose every pixel is known.

For each style: is it recognised, how steady is it along the exact flow, how near is it to the
ground truth, beside the same scores of the ground truth itself and of the unchanged source. Then
the paper's ablation: sink on/off x motion-aware noise on/off.

# T frames   H W size in px
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.classifier import Classifier
from sdv2_host.bench.prompts import random_prompt
from sdv2_host.bench.quality_report import Example as _Example
from sdv2_host.bench.quality_report import format_table, write_contact_sheet
from sdv2_host.bench.scores import Mean, Score, squared_error
from sdv2_host.bench.styles import STYLES
from sdv2_host.bench.world import Clip, Scene
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, FrameMeta, ProgressFn

__all__ = ["EngineFactory", "QualityPlan", "format_table", "run"]

EngineFactory = Callable[[bool], Engine]
"""Argument `use_sink`; the engine's size is the plan's."""
FIRST_HELD_OUT_SEED = 9_000_000
"""Training uses scene seeds below 2,000,000."""
MOTION_TARGETS_PX = (2.0, 6.0, 0.5, 10.0)
"""Mean motion of the clips in turn, px per frame at 256 px: usual, fast, calm, very fast."""
CANDIDATES = 12
"""Scenes looked at for each clip; the one whose motion is nearest to the target is taken."""
START_S = 1.0
FPS = 30.0
SHORT_FRAMES = 9
"""Of the clips that only test wording: three chunks."""


@dataclass(frozen=True, slots=True)
class QualityPlan:
    """What to measure. The defaults take about three minutes on two cores."""

    clips: int = 2
    num_frames: int = 33
    """Per clip; 1 + a multiple of 4 uses every frame."""
    size_px: int = 256
    styles: tuple[str, ...] = tuple(STYLES)
    ablation_styles: tuple[str, ...] = ("watercolor", "neon", "mosaic", "thermal", "popart")
    phrasings: int = 2
    """Held-out prompts tried per style, on short clips."""
    params: Params = field(default_factory=Params)
    first_seed: int = FIRST_HELD_OUT_SEED


class Setting(NamedTuple):
    """One corner of the ablation."""

    sink: bool
    motion_aware: bool


class _Sample(NamedTuple):
    """A held-out clip and what the engine is shown of it."""

    clip: Clip
    pixels_THW4: NDArray[np.uint8]
    seed: int
    motion_px: float
    """Mean, per frame of a 256-px picture."""


class _Bench:
    """One run: its plan, clips, referee and progress. The engine comes with each call."""

    def __init__(self, plan: QualityPlan, classifier: Classifier, progress: ProgressFn) -> None:
        self.plan, self.classifier, self._progress = plan, classifier, progress
        progress("rendering held-out clips", 0.0)
        self.samples = [_render(plan, index) for index in range(plan.clips)]
        self._done = 0
        self._bounds: dict[tuple[str, int, int], Score] = {}

    def stream(self, engine: Engine, sample: _Sample, params: Params, what: str) -> Tensor:
        """The whole clip through a fresh session: [T, 3, H, W], T as many as the engine gave."""
        pixels = _stream(engine, sample.pixels_THW4, params)
        self._done += len(pixels)
        self._progress(what, min(1.0, self._done / _planned_frames(self.plan)))
        return pixels

    def style(self, engine: Engine, name: str, params: Params) -> tuple[Score, _Example]:
        """The score of a style over all clips, and its last frame of one clip."""
        score = Score()
        example: _Example | None = None
        params = params.model_copy(update={"prompt": STYLES[name].prompt})
        chosen = self.plan.styles.index(name) % len(self.samples)
        for index, sample in enumerate(self.samples):
            output = self.stream(engine, sample, params, f"style {name}")
            source = sample.clip.rgb_T3HW[: len(output)]
            truth = STYLES[name].fn(source)
            score.warp_output.add(output, sample.clip)
            score.squared_error.merge(squared_error(output, truth))
            score.recognised.merge(self.named(output, name))
            key = (name, index, len(output))
            if key not in self._bounds:
                self._bounds[key] = self._score_bounds(sample, truth, name)
            score.merge(self._bounds[key])
            if index == chosen:
                example = _Example(name, source[-1], output[-1], truth[-1])
        assert example is not None, "a plan has at least one clip"
        return score, example

    def _score_bounds(self, sample: _Sample, truth_T3HW: Tensor, name: str) -> Score:
        """What the source and the ground truth score: the same for every engine and setting."""
        source = sample.clip.rgb_T3HW[: len(truth_T3HW)]
        score = Score()
        score.warp_source.add(source, sample.clip)
        score.warp_truth.add(truth_T3HW, sample.clip)
        score.squared_error_unchanged.merge(squared_error(source, truth_T3HW))
        score.recognised_truth.merge(self.named(truth_T3HW, name))
        return score

    def named(self, frames_T3HW: Tensor, name: str) -> Mean:
        """How many of the frames the classifier gives the name."""
        names = self.classifier.name(frames_T3HW).names
        return Mean(float(sum(said == name for said in names)), float(len(names)))

    def held_out_phrasing(self, engine: Engine) -> dict[str, Any]:
        """Recognised with prompts whose wording training never saw, on short clips."""
        rng = np.random.default_rng(self.plan.first_seed)
        seen, missed = Mean(), []
        sample = self.samples[0]
        short = sample._replace(pixels_THW4=sample.pixels_THW4[:SHORT_FRAMES])
        for name in self.plan.styles:
            for _ in range(self.plan.phrasings):
                prompt = random_prompt(name, rng, "held_out")
                params = self.plan.params.model_copy(update={"prompt": prompt})
                output = self.stream(engine, short, params, f"held-out phrasing, {name}")
                right = self.named(output[-4:], name)
                seen.merge(right)
                if right.value < 0.5:
                    missed.append({"style": name, "prompt": prompt})
        tried = len(self.plan.styles) * self.plan.phrasings
        return {"prompts": tried, "recognised": seen.value, "missed": missed}

    def ablation(self, factory: EngineFactory, engine: Engine, full: Score) -> list[dict[str, Any]]:
        """Four rows: sink on/off x motion-aware noise on/off; `full` is the first, known by now."""
        rows: list[dict[str, Any]] = []
        for sink in (True, False):
            used = engine if sink else factory(False)
            for aware in (True, False):
                score = full if sink and aware else Score()
                if score is not full:
                    params = self.plan.params if aware else _steady_noise(self.plan.params)
                    for name in self.plan.ablation_styles:
                        score.merge(self.style(used, name, params)[0])
                fast = score.motion_rows()[-1]
                rows.append(
                    {
                        "sink": sink,
                        "motion_aware_noise": aware,
                        **score.summary(),
                        "warp_ratio_fast": fast["warp_ratio"],
                    }
                )
        return rows


def run(
    engine_factory: EngineFactory,
    plan: QualityPlan | None = None,
    progress: ProgressFn = lambda _what, _fraction: None,
    out_dir: Path | None = None,
) -> dict[str, Any]:
    """Measures the engine; the result fits JSON and `format_table`.

    With `out_dir` also writes `quality.png` there: source, output and ground truth of each style.

    Raises:
        ModelError: the engine's or the classifier's weights are missing or damaged.
    """
    plan = QualityPlan() if plan is None else plan
    began = time.monotonic()
    bench = _Bench(plan, Classifier(), progress)
    engine = engine_factory(True)
    scores: dict[str, Score] = {}
    examples: list[_Example] = []
    for name in plan.styles:
        scores[name], example = bench.style(engine, name, plan.params)
        examples.append(example)
    pooled = _pooled(list(scores.values()))
    rows = [
        {"style": name, "prompt": STYLES[name].prompt, **score.summary()}
        for name, score in scores.items()
    ]
    result: dict[str, Any] = {
        "engine": engine.name,
        "plan": _plan_as_json(plan, bench.samples),
        "classifier_held_out_accuracy": bench.classifier.held_out_accuracy,
        "classifier_accuracy_here": pooled.recognised_truth.value,
        "styles": rows,
        "total": _total(rows, pooled),
        "motion": pooled.motion_rows(),
        "held_out_phrasing": bench.held_out_phrasing(engine),
        "ablation": bench.ablation(
            engine_factory, engine, _pooled([scores[name] for name in plan.ablation_styles])
        ),
    }
    result["seconds"] = time.monotonic() - began
    if out_dir is not None:
        result["sheet"] = str(write_contact_sheet(out_dir / "quality.png", examples))
    progress("done", 1.0)
    return result


def _scene(plan: QualityPlan, index: int) -> tuple[int, Scene, float]:
    """Seed, scene and motion of clip `index`: many random scenes hardly move, which tests nothing.

    Motion is the mean over about a second, px per frame of a 256-px picture.
    """
    target_px = MOTION_TARGETS_PX[index % len(MOTION_TARGETS_PX)]
    first = plan.first_seed + index * CANDIDATES
    found: list[tuple[float, int, Scene, float]] = []
    for seed in range(first, first + CANDIDATES):
        scene = Scene.random(seed, speed=2 * FPS * target_px)
        motion_px = _motion_px(scene)
        found.append((abs(math.log(motion_px / target_px)), seed, scene, motion_px))
    _, seed, scene, motion_px = min(found, key=lambda item: item[:2])
    return seed, scene, motion_px


def _motion_px(scene: Scene) -> float:
    side = 32
    probes = [
        scene.render(2, side, side, start=START_S + delay, fps=FPS).flow_T2HW[1].norm(dim=0)
        for delay in (0.1, 0.5, 0.9)
    ]
    return float(torch.stack(probes).mean()) * 256 / side + 1e-3


def _render(plan: QualityPlan, index: int) -> _Sample:
    """Clip `index` of the plan; the engine sees 8-bit pixels, so ground truth is made of them."""
    seed, scene, motion_px = _scene(plan, index)
    size = plan.size_px
    clip = scene.render(plan.num_frames, size, size, start=START_S, fps=FPS)
    rgb_T3HW = (clip.rgb_T3HW * 255).round()
    clip = clip._replace(rgb_T3HW=rgb_T3HW / 255)
    alpha = torch.full_like(rgb_T3HW[:, :1], 255)
    pixels_THW4 = torch.cat((rgb_T3HW, alpha), 1).to(torch.uint8).permute(0, 2, 3, 1)
    return _Sample(clip, np.ascontiguousarray(pixels_THW4.numpy()), seed, motion_px)


def _stream(engine: Engine, pixels_THW4: NDArray[np.uint8], params: Params) -> Tensor:
    """Frames through a fresh session of the engine, a chunk at a time; a last part chunk is left
    out, because engines take whole chunks."""
    engine.reset()
    height, width = pixels_THW4.shape[1:3]
    parts: list[NDArray[np.uint8]] = []
    begin, count = 0, engine.first_chunk_frames
    while begin + count <= len(pixels_THW4):
        frames = [
            Frame(FrameMeta(width, height, frame=begin + offset + 1), pixels_THW4[begin + offset])
            for offset in range(count)
        ]
        parts.append(engine.step(frames, params).frames)
        begin, count = begin + count, engine.chunk_frames
    rgb_THW3 = torch.from_numpy(np.concatenate(parts)[..., :3])
    return rgb_THW3.permute(0, 3, 1, 2).float() / 255


def _steady_noise(params: Params) -> Params:
    """The same mean noise whatever moves."""
    mean = (params.noise_s_min + params.noise_s_max) / 2
    return params.model_copy(update={"noise_s_min": mean, "noise_s_max": mean})


def _planned_frames(plan: QualityPlan) -> int:
    ablation = 3 * len(plan.ablation_styles)
    whole = (len(plan.styles) + ablation) * plan.clips * plan.num_frames
    return whole + len(plan.styles) * plan.phrasings * SHORT_FRAMES


def _pooled(scores: list[Score]) -> Score:
    total = Score()
    for score in scores:
        total.merge(score)
    return total


def _total(rows: list[dict[str, Any]], pooled: Score) -> dict[str, Any]:
    """All styles together; PSNR is the mean over styles, so that none drowns the others."""
    summary: dict[str, Any] = pooled.summary()
    for key in ("psnr_output", "psnr_unchanged"):
        summary[key] = sum(float(row[key]) for row in rows) / len(rows)
    ratios = [float(row["warp_ratio"]) for row in rows]
    summary["warp_ratio_mean_of_styles"] = sum(ratios) / len(ratios)
    summary["warp_ratio_worst_style"] = max(ratios)
    return summary


def _plan_as_json(plan: QualityPlan, samples: list[_Sample]) -> dict[str, Any]:
    return {
        "clips": plan.clips,
        "frames_per_clip": plan.num_frames,
        "size_px": plan.size_px,
        "scene_seeds": [sample.seed for sample in samples],
        "motion_px_per_frame": [sample.motion_px for sample in samples],
        "ablation_styles": list(plan.ablation_styles),
        "params": plan.params.model_dump(),
    }
