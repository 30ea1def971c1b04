"""The paper's metrics in `bench quality`: with judges that know the truth, they say the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sdv2_host.bench.clip_score import load_clip
from sdv2_host.bench.held_out import Sample, as_seen
from sdv2_host.bench.judged_clips import JudgedClips
from sdv2_host.bench.judged_report import draw_metrics, judged_lines, steadiness_lines
from sdv2_host.bench.paper_score import Judges
from sdv2_host.bench.scores import Steadiness, WarpScore
from sdv2_host.bench.styles import STYLES
from sdv2_host.bench.world import Scene
from tests.bench.tiny_clip import write_tiny_clip

FRAMES, SIDE_PX = 9, 64


class ExactFlow:
    """A flow network that knows the clip: nothing moves forward, and backward all as rendered."""

    def __init__(self, sample: Sample) -> None:
        self.flows = iter(
            flow for backward in sample.clip.flow_T2HW[1:] for flow in (backward * 0, backward)
        )

    def __call__(self, first_B3HW: Tensor, second_B3HW: Tensor) -> Tensor:
        found = torch.zeros(1, 2, *first_B3HW.shape[2:])
        found[..., :SIDE_PX, :SIDE_PX] = next(self.flows)
        return found


@pytest.fixture(scope="module")
def sample() -> Sample:
    return as_seen(Scene.random(9_000_003, speed=60).render(FRAMES, SIDE_PX, SIDE_PX), 0, 0.0)


@pytest.fixture(scope="module")
def judged(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the bench keeps: a style whose output is the source itself."""
    folder = tmp_path_factory.mktemp("clip")
    write_tiny_clip(folder)
    clip = load_clip(folder, torch.device("cpu"))
    judges = Judges(clip, ExactFlow(sample), clip_name="tiny", flow_name="exact")
    clips = JudgedClips(judges, [sample], lambda _what, _fraction: None)
    source = sample.clip.rgb_T3HW
    compared = clips.compare(0, source, STYLES["neon"].fn(source), "neon city")
    rows = [{"style": "neon", **compared.summary()}]
    return {**clips.summary(), "styles": rows, "total": compared.summary()}


def test_an_output_that_is_the_source_scores_as_the_source(judged: dict[str, Any]) -> None:
    total = judged["total"]

    assert total["output"] == total["source"]
    assert total["output"].keys() >= {"clip_neighbours", "clip_prompt", "warp_paper", "warp"}
    assert total["truth"]["clip_prompt"] != total["source"]["clip_prompt"]


def test_exact_flow_is_no_way_off_and_gives_the_warp_error_of_what_it_shows(
    judged: dict[str, Any], sample: Sample
) -> None:
    known = WarpScore()
    known.add(sample.clip.rgb_T3HW, sample.clip)

    assert [row["missed_px"] for row in judged["flow_error"]] == pytest.approx(
        [0.0] * len(judged["flow_error"]), abs=1e-6
    )
    # Only pixels that hardly move agree with a forward flow of nothing: the error is small there.
    assert judged["total"]["source"]["warp"] < known.overall.value + 1


def test_the_tables_name_the_judges_and_every_row(judged: dict[str, Any]) -> None:
    table = "\n".join(judged_lines(json.loads(json.dumps(judged))))

    assert "by tiny" in table
    assert "by exact" in table
    assert "warp, paper's script" in table
    for name in ("neon", "all", "ground truth", "source"):
        assert f"\n{name} " in table


def test_flow_that_agrees_nowhere_is_said(sample: Sample) -> None:
    apart = Judges(flow=lambda first, _second: first[:, :2] + 9, flow_name="apart")
    clips = JudgedClips(apart, [sample], lambda _what, _fraction: None)
    source = sample.clip.rgb_T3HW
    total = clips.compare(0, source, source, "neon city").summary()

    table = "\n".join(judged_lines({**clips.summary(), "styles": [], "total": total}))

    assert "not measured: warp error: flow forward and back agree nowhere by apart" in table


def test_without_judges_the_exact_flow_gives_the_warp_errors(sample: Sample) -> None:
    clips = JudgedClips(Judges(), [sample], lambda _what, _fraction: None)
    source = sample.clip.rgb_T3HW
    known = WarpScore()
    known.add(source, sample.clip)

    total = clips.compare(0, source, source, "neon city").summary()
    table = "\n".join(judged_lines({**clips.summary(), "styles": [], "total": total}))

    assert total["source"]["warp"] == pytest.approx(known.overall.value)
    assert total["source"]["warp_paper"] > total["source"]["warp"]
    assert "by the exact flow" in table
    assert "CLIP" not in table
    assert "flow against the exact one" not in table


def test_a_steady_output_has_its_truths_flicker_and_no_drift(sample: Sample) -> None:
    source = sample.clip.rgb_T3HW
    truth = STYLES["thermal"].fn(source)
    perfect = Steadiness()
    for _ in range(2):
        perfect.add(truth, truth, source, 30.0)

    summary = perfect.summary()

    assert summary["flicker"]["output"] == summary["flicker"]["truth"]
    assert [found["per_minute"] for found in summary["drift"].values()] == [0.0] * 3
    assert "brightness +0.00 +- 0.00" in "\n".join(steadiness_lines(summary))


def test_the_picture_has_a_group_for_every_metric(
    judged: dict[str, Any], sample: Sample, tmp_path: Path
) -> None:
    source = sample.clip.rgb_T3HW
    steadiness = Steadiness()
    steadiness.add(source, source, source, 30.0)
    styles = [{"style": "neon", **steadiness.summary()}]
    none = {"styles": [], "flow": "", "clip": ""}

    with_judges = draw_metrics(tmp_path / "a.png", {"styles": styles, "judged": judged})
    without = draw_metrics(tmp_path / "b.png", {"styles": styles, "judged": none})

    assert with_judges.stat().st_size > without.stat().st_size > 500
