"""`sdv2-host bench quality`: the real streaming engine on clips whose every pixel is known.

For each style: is it recognised, how steady is it along the exact flow, how near is it to the
ground truth, beside the same scores of the ground truth itself and of the unchanged source. Then
the paper's ablation, on clips of its own (`ablation`), how soon a new prompt is there (`change`),
and what the noise does as motion comes and goes (`trace`).

# T frames   H W size in px
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sdv2_host.bench import ablation, change
from sdv2_host.bench.ablation import AblationPlan, AutoencodeFn, EngineFactory
from sdv2_host.bench.change import ChangePlan, draw_change
from sdv2_host.bench.classifier import Classifier
from sdv2_host.bench.held_out import FIRST_HELD_OUT_SEED, FPS, Sample, render, stream
from sdv2_host.bench.judged_clips import JudgedClips
from sdv2_host.bench.judged_report import draw_metrics
from sdv2_host.bench.paper_score import Compared, Judges
from sdv2_host.bench.prompts import random_prompt
from sdv2_host.bench.quality_report import Example as _Example
from sdv2_host.bench.quality_report import draw_ablation, draw_trace, write_contact_sheet
from sdv2_host.bench.scores import Mean, Score, squared_error
from sdv2_host.bench.styles import STYLES
from sdv2_host.bench.trace import trace
from sdv2_host.gpu.tiny_engine import Past
from sdv2_host.params import Params
from sdv2_host.types import Engine, ProgressFn, part_of

PARTS = ("styles", "ablation", "change", "trace")
"""What a run measures, in this order."""
SHORT_FRAMES = 9
"""Of the clips that only test wording: three chunks."""


@dataclass(frozen=True, slots=True)
class QualityPlan:
    """What to measure. The defaults take about eight minutes on two free cores."""

    clips: int = 2
    num_frames: int = 33
    """Per clip; 1 + a multiple of 4 uses every frame."""
    size_px: int = 256
    styles: tuple[str, ...] = tuple(STYLES)
    phrasings: int = 2
    """Held-out prompts tried per style, on short clips."""
    params: Params = field(default_factory=Params)
    first_seed: int = FIRST_HELD_OUT_SEED
    ablation: AblationPlan = field(default_factory=AblationPlan)
    change: ChangePlan = field(default_factory=ChangePlan)
    parts: tuple[str, ...] = PARTS
    judges: Judges = field(default_factory=Judges)
    """What the paper's metrics are measured with; without any they are left out."""


class _Bench:
    """One run: its plan, clips, referee and progress. The engine comes with each call."""

    def __init__(self, plan: QualityPlan, classifier: Classifier, progress: ProgressFn) -> None:
        self.plan, self.classifier, self._progress = plan, classifier, progress
        progress("rendering held-out clips", 0.0)
        self.samples = [
            render(plan.first_seed, index, plan.num_frames, plan.size_px)
            for index in range(plan.clips)
        ]
        self.judged = JudgedClips(plan.judges, self.samples, progress)
        self._done = 0
        self._bounds: dict[tuple[str, int, int], Score] = {}

    def stream(self, engine: Engine, sample: Sample, params: Params, what: str) -> Tensor:
        """The whole clip through a fresh session: [T, 3, H, W], T as many as the engine gave."""
        pixels = stream(engine, sample.pixels_THW4, params).frames_T3HW
        self._done += len(pixels)
        self._progress(what, min(1.0, self._done / _planned_frames(self.plan)))
        return pixels

    def style(self, engine: Engine, name: str, params: Params) -> tuple[Score, Compared, _Example]:
        """The scores of a style over all clips, and its last frame of one clip."""
        score, compared = Score(), Compared()
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
            score.steadiness.add(output, truth, source, FPS)
            compared.merge(self.judged.compare(index, output, truth, params.prompt))
            key = (name, index, len(output))
            if key not in self._bounds:
                self._bounds[key] = self._score_bounds(sample, truth, name)
            score.merge(self._bounds[key])
            if index == chosen:
                example = _Example(name, source[-1], output[-1], truth[-1])
        assert example is not None, "a plan has at least one clip"
        return score, compared, example

    def _score_bounds(self, sample: Sample, truth_T3HW: Tensor, name: str) -> Score:
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


def run(
    engine_factory: EngineFactory,
    autoencode: AutoencodeFn,
    plan: QualityPlan | None = None,
    progress: ProgressFn = lambda _what, _fraction: None,
    out_dir: Path | None = None,
) -> dict[str, Any]:
    """Measures the engine; the result fits JSON and `format_table`.

    With `out_dir` also writes there quality.png: source, output and ground truth of each style;
    ablation.png: its corners and effects with intervals; change.png: a new prompt chunk by chunk;
    motion.png: motion and noise over time; metrics.png: flicker by style, and the paper's metrics
    where the plan has judges for them.

    Raises:
        ModelError: the engine's or the classifier's weights are missing or damaged.
    """
    plan = QualityPlan() if plan is None else plan
    began = time.monotonic()
    engine = engine_factory(Past.SINKS, plan.size_px)
    result: dict[str, Any] = {"engine": engine.name, "params": plan.params.model_dump()}
    examples: list[_Example] = []
    for index, part in enumerate(plan.parts):
        share = part_of(progress, index / len(plan.parts), (index + 1) / len(plan.parts))
        if part == "styles":
            result |= _styles(plan, engine, share, examples)
        elif part == "ablation":
            rendering, streaming = part_of(share, 0.0, 0.1), part_of(share, 0.1, 1.0)
            clips = ablation.render_clips(plan.ablation, plan.first_seed, rendering)
            result["ablation"] = ablation.run(
                engine_factory, autoencode, clips, plan.ablation, plan.params, streaming
            )
        elif part == "change":
            small = engine_factory(Past.SINKS, plan.change.size_px)
            result["change"] = change.run(small, plan.change, plan.first_seed, plan.params, share)
        else:
            share("motion and noise over a clip", 0.0)
            size_px = plan.ablation.size_px
            small = engine_factory(Past.SINKS, size_px)
            result["trace"] = trace(small, size_px, plan.params)
    result["seconds"] = time.monotonic() - began
    if out_dir is not None:
        if examples:
            result["sheet"] = str(write_contact_sheet(out_dir / "quality.png", examples))
            draw_metrics(out_dir / "metrics.png", result)
        if "ablation" in result:
            draw_ablation(out_dir / "ablation.png", result["ablation"])
        if "change" in result:
            draw_change(out_dir / "change.png", result["change"])
        if "trace" in result:
            draw_trace(out_dir / "motion.png", result["trace"])
    progress("done", 1.0)
    return result


def _styles(
    plan: QualityPlan, engine: Engine, progress: ProgressFn, examples: list[_Example]
) -> dict[str, Any]:
    """Scores by style, in all, and by motion; `examples` gets a frame of each style."""
    bench = _Bench(plan, Classifier(), progress)
    scores: dict[str, Score] = {}
    pooled, pooled_judged = Score(), Compared()
    judged_rows: list[dict[str, Any]] = []
    for name in plan.styles:
        scores[name], compared, example = bench.style(engine, name, plan.params)
        examples.append(example)
        pooled.merge(scores[name])
        judged_rows.append({"style": name, **compared.summary()})
        pooled_judged.merge(compared)
    rows = [
        {"style": name, "prompt": STYLES[name].prompt, **score.summary()}
        for name, score in scores.items()
    ]
    return {
        "plan": _plan_as_json(plan, bench.samples),
        "classifier_held_out_accuracy": bench.classifier.held_out_accuracy,
        "classifier_accuracy_here": pooled.recognised_truth.value,
        "styles": rows,
        "total": _total(rows, pooled),
        "judged": {
            **bench.judged.summary(),
            "styles": judged_rows,
            "total": pooled_judged.summary(),
        },
        "motion": pooled.motion_rows(),
        "held_out_phrasing": bench.held_out_phrasing(engine),
    }


def _planned_frames(plan: QualityPlan) -> int:
    whole = len(plan.styles) * plan.clips * plan.num_frames
    return whole + len(plan.styles) * plan.phrasings * SHORT_FRAMES


def _total(rows: list[dict[str, Any]], pooled: Score) -> dict[str, Any]:
    """All styles together; PSNR is the mean over styles, so that none drowns the others."""
    summary: dict[str, Any] = pooled.summary()
    for key in ("psnr_output", "psnr_unchanged"):
        summary[key] = sum(float(row[key]) for row in rows) / len(rows)
    ratios = [float(row["warp_ratio"]) for row in rows]
    summary["warp_ratio_mean_of_styles"] = sum(ratios) / len(ratios)
    summary["warp_ratio_worst_style"] = max(ratios)
    return summary


def _plan_as_json(plan: QualityPlan, samples: list[Sample]) -> dict[str, Any]:
    return {
        "clips": plan.clips,
        "frames_per_clip": plan.num_frames,
        "size_px": plan.size_px,
        "scene_seeds": [sample.seed for sample in samples],
        "motion_px_per_frame": [sample.motion_px for sample in samples],
    }
