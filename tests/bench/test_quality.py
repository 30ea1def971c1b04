"""The quality bench judges toy engines as it should: a perfect one, and one that does nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from sdv2_host.bench import change
from sdv2_host.bench.ablation import AblationPlan
from sdv2_host.bench.change import SETTINGS, ChangePlan
from sdv2_host.bench.classifier import Classifier
from sdv2_host.bench.corners import STEADY
from sdv2_host.bench.held_out import Stretch
from sdv2_host.bench.quality import QualityPlan, run
from sdv2_host.bench.quality_report import format_table
from sdv2_host.bench.scores import PSNR_CEILING_DB, Mean, psnr_db
from sdv2_host.bench.styles import STYLES
from sdv2_host.errors import ModelError
from sdv2_host.gpu.tiny_engine import Past
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, ProgressFn, Size, StyledChunk

PLAN = QualityPlan(
    clips=1,
    num_frames=10,
    size_px=96,
    styles=("neon", "thermal", "mosaic"),
    phrasings=1,
    ablation=AblationPlan(clips=2, stretches=(Stretch(0.1, 5), Stretch(1.0, 4)), size_px=64),
    change=ChangePlan(
        styles=("neon", "thermal", "mosaic"),
        distance=1,
        clips=1,
        chunks_before=2,
        chunks_after=2,
        size_px=96,
    ),
)
BY_PROMPT = {style.prompt: style for style in STYLES.values()}


class ToyEngine:
    """Ground truth for a style's own prompt, or the input unchanged."""

    def __init__(self, is_perfect: bool) -> None:
        self.is_perfect = is_perfect
        self.chunk_sizes: list[int] = []

    name = "toy"
    size: Size | None = None
    first_chunk_frames = 1
    chunk_frames = 4
    delay_frames = 3
    most_behind = 0

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        progress("nothing to warm up", 1.0)

    def step(self, frames: list[Frame], params: Params) -> StyledChunk:
        self.chunk_sizes.append(len(frames))
        pixels = np.stack([frame.pixels for frame in frames])
        style = BY_PROMPT.get(params.prompt)
        if self.is_perfect and style is not None:
            rgb = torch.from_numpy(pixels[..., :3]).permute(0, 3, 1, 2).float() / 255
            styled = (style.fn(rgb) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            pixels = np.concatenate((styled, pixels[..., 3:]), -1)
        return StyledChunk(pixels, {}, {"noise_scale": params.noise_s_max, "motion": 0.0})

    def reset(self) -> None:
        self.chunk_sizes.clear()


def dimmed(frames_T3HW: torch.Tensor) -> torch.Tensor:
    """A poor autoencoder."""
    return frames_T3HW / 2


class Watched(NamedTuple):
    """A finished run and what was seen of it."""

    result: dict[str, Any]
    engine: ToyEngine
    fractions: list[float]


def _watch(is_perfect: bool, out_dir: Path | None = None) -> Watched:
    engine, fractions = ToyEngine(is_perfect), []

    def make(past: Past, side_px: int) -> Engine:
        del past, side_px
        return engine

    def progress(_what: str, fraction: float) -> None:
        fractions.append(fraction)

    result = run(make, dimmed, PLAN, progress, out_dir)
    return Watched(result, engine, fractions)


@pytest.fixture(scope="module")
def perfect() -> Watched:
    return _watch(is_perfect=True)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return _watch(is_perfect=False, out_dir=tmp_path_factory.mktemp("quality") / "new")


def test_a_perfect_engine_scores_as_ground_truth(perfect: Watched) -> None:
    total = perfect.result["total"]

    assert total["warp_ratio"] == pytest.approx(1.0, abs=0.02)
    assert total["psnr_output"] > 45
    assert total["recognised"] == pytest.approx(total["recognised_truth"], abs=0.1)


def test_an_engine_that_does_nothing_scores_as_unchanged(unchanged: Watched) -> None:
    total = unchanged.result["total"]

    assert total["psnr_output"] == pytest.approx(total["psnr_unchanged"], abs=1e-6)
    assert total["warp_output"] == pytest.approx(total["warp_source"], rel=1e-6)
    assert total["recognised"] < 0.2


def test_the_first_chunk_has_one_frame_and_later_ones_four(perfect: Watched) -> None:
    assert perfect.engine.chunk_sizes == [1] + [4] * 24


def _without_times(result: dict[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(result))
    del copied["seconds"]
    for row in (copied["change"]["from_start"], *copied["change"]["settings"]):
        del row["change_ms"], row["usual_ms"]
    return copied


def test_two_runs_measure_the_same(perfect: Watched) -> None:
    again = _watch(is_perfect=True).result

    assert _without_times(again) == _without_times(perfect.result)


def test_the_result_fits_json_and_the_table_names_every_style(perfect: Watched) -> None:
    table = format_table(json.loads(json.dumps(perfect.result)))

    assert all(name in table for name in PLAN.styles)
    assert "ablation: 2 held-out clips of 5 + 4 frames at pace 0.1, 1, 64 px" in table
    assert table.count("both, not sinks alone") == len(STEADY)
    assert "change of prompt: 3 changes, each after 2 chunks of another style, 96 px" in table


def test_progress_never_goes_back_and_ends_at_one(perfect: Watched) -> None:
    assert perfect.fractions == sorted(perfect.fractions)
    assert perfect.fractions[-1] == 1.0


def test_pictures_are_written_when_a_folder_is_given(unchanged: Watched) -> None:
    folder = Path(unchanged.result["sheet"]).parent

    for name in ("quality.png", "ablation.png", "change.png", "motion.png", "metrics.png"):
        assert (folder / name).stat().st_size > 1000


def test_a_perfect_engine_is_at_the_level_of_a_new_prompt_at_once(perfect: Watched) -> None:
    changed = perfect.result["change"]

    assert [row["chunks_to_level"] for row in changed["settings"]] == [1] * len(SETTINGS)
    assert min(changed["from_start"]["named"]) > 0.6


class LateEngine(ToyEngine):
    """Follows a new prompt a chunk late; `recache` does not matter to it."""

    def reset(self) -> None:
        super().reset()
        self.newest: Params | None = None

    def step(self, frames: list[Frame], params: Params) -> StyledChunk:
        used, self.newest = self.newest or params, params
        return super().step(frames, used)


def test_a_late_engine_is_at_the_level_a_chunk_late() -> None:
    engine = LateEngine(is_perfect=True)

    result = change.run(engine, PLAN.change, PLAN.first_seed, Params(), lambda _what, _part: None)

    assert [row["chunks_to_level"] for row in result["settings"]] == [2] * len(SETTINGS)
    assert max(row["named"][0] for row in result["settings"]) == 0


def test_a_part_alone_measures_nothing_else() -> None:
    plan = replace(PLAN, parts=("trace",))

    result = run(lambda _past, _side: ToyEngine(is_perfect=False), dimmed, plan)

    assert {"styles", "ablation"} & result.keys() == set()
    assert "px/frame" in format_table(result)


def test_the_trace_is_calm_fast_and_calm_again(perfect: Watched) -> None:
    motion_px = [row["motion_px"] for row in perfect.result["trace"]["chunks"]]

    assert len(motion_px) == 25
    assert max(motion_px[:9] + motion_px[17:]) < 0.5
    assert min(motion_px[9:17]) > 2


def test_motion_bins_cover_all_visible_pixels(perfect: Watched) -> None:
    assert sum(row["share"] for row in perfect.result["motion"]) == pytest.approx(1.0)


def test_psnr_is_right_and_finite_for_equal_pictures() -> None:
    assert psnr_db(0.01) == pytest.approx(20.0)
    assert psnr_db(0.0) == PSNR_CEILING_DB


def test_an_empty_mean_is_zero_and_means_pool_by_count() -> None:
    mean = Mean()
    assert mean.value == 0.0

    mean.add(10.0, 1.0)
    mean.merge(Mean(20.0, 3.0))

    assert mean.value == pytest.approx(7.5)


def test_a_missing_or_damaged_classifier_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing"):
        Classifier(tmp_path / "none.safetensors")

    damaged = tmp_path / "bad.safetensors"
    damaged.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="damaged"):
        Classifier(damaged)
