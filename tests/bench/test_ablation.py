"""The ablation finds the effects that toy engines were built with, and no others."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from sdv2_host.bench.ablation import AblationPlan, round_trip, run
from sdv2_host.bench.corners import CORNERS, STEADY, Noise, interval, verdict
from sdv2_host.bench.held_out import Sample, Stretch, as_seen, render_stretches
from sdv2_host.bench.scores import (
    WarpScore,
    error_beyond_by_motion,
    psnr_db,
    squared_error,
    squared_error_by_motion,
)
from sdv2_host.bench.styles import STYLES
from sdv2_host.bench.warp import warp
from sdv2_host.bench.world import Scene
from sdv2_host.gpu.tiny_engine import Past
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, ProgressFn, Size, StyledChunk
from sdv2_host.wan.tiny_weights import load_tiny

NUM_FRAMES = 13
PLAN = AblationPlan(clips=6, size_px=64, styles=("night", "sepia"))
PARAMS = Params(noise_s_min=0.3, noise_s_max=0.5)


class Flickering:
    """The input, brighter in every other frame by an amount that depends on the corner.

    Noise that does not follow motion costs `steady_extra`, each tenth of noise `noise_extra`, and
    held noise gains 2.
    """

    name = "toy"
    size: Size | None = None
    first_chunk_frames = 1
    chunk_frames = 4

    def __init__(self, extra: float, steady_extra: float, noise_extra: float = 0.0) -> None:
        self.extra, self.steady_extra, self.noise_extra = extra, steady_extra, noise_extra

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        progress("nothing to warm up", 1.0)

    def step(self, frames: list[Frame], params: Params) -> StyledChunk:
        bounds = (params.noise_s_min, params.noise_s_max)
        noise = bounds[1] if len(frames) == 1 else bounds[0]
        amount = self.extra + self.steady_extra * (bounds[0] == bounds[1])
        pixels = np.stack([frame.pixels for frame in frames]).astype(np.float32)
        pixels[::2] += amount + self.noise_extra * noise * 10 - 2 * params.noise_hold
        return StyledChunk(
            np.clip(pixels, 0, 255).astype(np.uint8), {}, {"noise_scale": noise, "motion": 1.0}
        )

    def reset(self) -> None:
        pass


def dimmed(frames_T3HW: Tensor) -> Tensor:
    """A poor autoencoder."""
    return frames_T3HW / 2


@pytest.fixture(scope="module")
def clips() -> list[Sample]:
    speeds = enumerate((20.0, 120.0, 300.0) * 2)
    scenes = [Scene.random(7_000 + index, num_layers=3, speed=speed) for index, speed in speeds]
    return [as_seen(scene.render(NUM_FRAMES, 64, 64), 0, 0.0) for scene in scenes]


def measure(
    clips: list[Sample], no_sink_extra: float, steady_extra: float, noise_extra: float = 0.0
) -> dict[str, Any]:
    def make(past: Past, side_px: int) -> Engine:
        assert side_px == PLAN.size_px
        extra = 4.0 + (no_sink_extra if past is Past.NO_SINKS else 0.0)
        return Flickering(extra, steady_extra, noise_extra)

    return run(make, dimmed, clips, PLAN, PARAMS, lambda _what, _fraction: None)


def effects(result: dict[str, Any], against: Noise, motion_px: str = "all") -> dict[str, Any]:
    """Rows of one table by name."""
    (comparison,) = (c for c in result["comparisons"] if c["against"] == against.value)
    (place,) = (p for p in comparison["places"] if p["motion_px"] == motion_px)
    return {row["effect"]: row for row in place["effects"]}


@pytest.fixture(scope="module")
def as_in_the_paper(clips: list[Sample]) -> dict[str, Any]:
    return measure(clips, no_sink_extra=4.0, steady_extra=8.0)


def test_the_corners_come_in_their_order(as_in_the_paper: dict[str, Any]) -> None:
    rows = as_in_the_paper["corners"]

    corners = [(corner.past.value, corner.noise.value) for corner in CORNERS]
    assert [(row["past"], row["noise"]) for row in rows] == corners
    assert len(corners) == 10


@pytest.mark.parametrize("against", [Noise.UPPER, Noise.MEAN])
@pytest.mark.parametrize("measured", ["warp", "slip_px"])
def test_what_lowers_the_error_is_found_and_both_together_lower_it_most(
    as_in_the_paper: dict[str, Any], against: Noise, measured: str
) -> None:
    rows = effects(as_in_the_paper, against)

    assert {verdict(row, measured) for row in rows.values()} == {"lower"}
    assert rows["both"][measured] < rows["motion-aware noise"][measured] < rows["sinks"][measured]
    whole = rows["both"][measured]
    parts = (("sinks", "both, not sinks alone"), ("motion-aware noise", "both, not noise alone"))
    for alone, on_top in parts:
        assert rows[alone][measured] + rows[on_top][measured] == pytest.approx(whole)


def test_sinks_are_told_from_memory_and_held_noise_from_both(
    as_in_the_paper: dict[str, Any],
) -> None:
    verdicts = {row["effect"]: verdict(row, "warp") for row in as_in_the_paper["others"]}

    assert verdicts == {
        "sinks, any noise": "lower",
        "sinks, not window": "undecided",
        "noise held": "lower",
    }


def test_less_noise_alone_gains_mostly_against_the_upper_bound(clips: list[Sample]) -> None:
    result = measure(clips, no_sink_extra=0.0, steady_extra=0.0, noise_extra=4.0)

    gain = {to: effects(result, to)["motion-aware noise"]["warp"] for to in STEADY}
    # The toy's later chunks get 0.3: 0.2 below the upper bound, 0.05 below the mean.
    assert gain[Noise.UPPER] / gain[Noise.MEAN] == pytest.approx(4.0, rel=0.2)


def test_what_does_nothing_is_undecided(clips: list[Sample]) -> None:
    rows = effects(measure(clips, no_sink_extra=0.0, steady_extra=0.0), Noise.UPPER)

    assert [row["warp"] for row in rows.values()] == [0.0] * 5
    assert {verdict(row, "warp") for row in rows.values()} == {"undecided"}


def test_what_raises_the_error_is_said_so(clips: list[Sample]) -> None:
    rows = effects(measure(clips, no_sink_extra=-3.0, steady_extra=0.0), Noise.UPPER)

    assert verdict(rows["sinks"], "warp") == "higher"
    assert verdict(rows["motion-aware noise"], "warp") == "undecided"


def test_every_kind_of_noise_has_the_mean_it_is_named_for(as_in_the_paper: dict[str, Any]) -> None:
    means = {row["noise"]: row["mean_noise"] for row in as_in_the_paper["corners"]}

    aware = (0.5 + 3 * 0.3) / 4
    assert means == pytest.approx(
        {"motion-aware": aware, "upper bound": 0.5, "equal mean": aware, "held": aware}
    )


def test_a_corner_is_the_pooled_warp_error_of_its_clips(
    clips: list[Sample], as_in_the_paper: dict[str, Any]
) -> None:
    pooled = WarpScore()
    for clip in (sample.clip for sample in clips):
        shown = (clip.rgb_T3HW * 255).round()
        # Chunks of 1, 4, 4, 4 frames: the first of each and its third are brighter.
        shown[[0, 1, 3, 5, 7, 9, 11]] += 4.0
        pooled.add(shown.clamp(0, 255) / 255, clip)

    assert as_in_the_paper["corners"][0]["warp"] == pytest.approx(pooled.overall.value, rel=1e-4)


def test_the_distance_from_the_truth_is_that_of_all_pixels_by_their_motion() -> None:
    clip = Scene.random(7_002, num_layers=3, speed=300.0).render(NUM_FRAMES, 64, 64)
    shown = clip.rgb_T3HW + 10 / 255

    by_motion = squared_error_by_motion(shown, clip.rgb_T3HW, clip)

    assert sum(mean.count for mean in by_motion) == (NUM_FRAMES - 1) * 64 * 64
    assert len([mean for mean in by_motion if mean.count]) > 1
    assert all(mean.value == pytest.approx(100, rel=1e-3) for mean in by_motion if mean.count)


def test_a_corner_is_as_far_from_the_truth_as_its_pictures(
    clips: list[Sample], as_in_the_paper: dict[str, Any]
) -> None:
    square, count = 0.0, 0
    for index, clip in enumerate(sample.clip for sample in clips):
        style = STYLES[PLAN.styles[index % len(PLAN.styles)]]
        shown = (clip.rgb_T3HW * 255).round()
        shown[[0, 1, 3, 5, 7, 9, 11]] += 4.0
        error = (shown.clamp(0, 255) - style.fn(clip.rgb_T3HW) * 255)[1:].square()
        square, count = square + float(error.sum()), count + error.numel()

    away = as_in_the_paper["corners"][0]["away"]
    assert away == pytest.approx((square / count) ** 0.5, rel=1e-4)


def test_beyond_compares_what_is_left_over_with_what_the_autoencoder_leaves_over(
    clips: list[Sample], as_in_the_paper: dict[str, Any]
) -> None:
    total, count = 0.0, 0
    alone = WarpScore()
    for index, clip in enumerate(sample.clip for sample in clips):
        style = STYLES[PLAN.styles[index % len(PLAN.styles)]]
        shown = (clip.rgb_T3HW * 255).round()
        shown[[0, 1, 3, 5, 7, 9, 11]] += 4.0
        shown = shown.clamp(0, 255) / 255
        own = (dimmed(style.fn(clip.rgb_T3HW)) * 255).round() / 255
        alone.add(own, clip)
        for frame in range(1, NUM_FRAMES):
            left_of_both = [
                frames[frame] - warp(frames[frame - 1], clip.flow_T2HW[frame])
                for frames in (shown, own)
            ]
            distance_HW = (left_of_both[0] - left_of_both[1]).abs().mean(0) * 255
            seen_HW = clip.visible_T1HW[frame, 0]
            total, count = total + float(distance_HW[seen_HW].sum()), count + int(seen_HW.sum())

    assert as_in_the_paper["corners"][0]["beyond"] == pytest.approx(total / count, rel=1e-4)
    assert as_in_the_paper["bounds"]["autoencoder_alone"]["all"] == pytest.approx(
        alone.overall.value
    )


def test_a_picture_of_nothing_gains_by_warp_error_and_not_by_beyond() -> None:
    clip = Scene.random(7_002, num_layers=3, speed=300.0).render(NUM_FRAMES, 64, 64)
    own, nothing, score = clip.rgb_T3HW, torch.zeros_like(clip.rgb_T3HW), WarpScore()
    score.add(own, clip)

    alike = error_beyond_by_motion(own, own, clip)
    empty = error_beyond_by_motion(nothing, own, clip)

    assert [mean.value for mean in alike] == [0.0, 0.0, 0.0]
    assert empty == score.by_motion


def test_a_round_trip_is_a_session_of_the_autoencoder_chunk_by_chunk() -> None:
    vae = load_tiny().vae
    frames_T3HW = Scene.random(7_002, num_layers=3, speed=120.0).render(9, 64, 64).rgb_T3HW
    cache = vae.init_cache(1, 64, 64)
    parts = []
    for begin, end in ((0, 1), (1, 5), (5, 9)):
        z_BFCHW, cache = vae.encode(frames_T3HW[None, begin:end] * 2 - 1, cache, begin == 0)
        decoded_BTCHW, cache = vae.decode(z_BFCHW, cache, begin == 0)
        parts.append(decoded_BTCHW[0] / 2 + 0.5)

    came_back_T3HW = round_trip(vae, frames_T3HW)

    assert_close(came_back_T3HW, torch.cat(parts).clamp(0, 1), rtol=0, atol=1e-5)
    # Blurred, but that clip: a picture of one colour would be further from it.
    plain_T3HW = frames_T3HW.mean((2, 3), keepdim=True).expand_as(frames_T3HW)
    error, error_of_plain = (
        squared_error(shown, frames_T3HW).value for shown in (came_back_T3HW, plain_T3HW)
    )
    assert psnr_db(error) > psnr_db(error_of_plain) + 6


def test_a_value_lies_within_its_interval(as_in_the_paper: dict[str, Any]) -> None:
    rows = [*as_in_the_paper["corners"], *effects(as_in_the_paper, Noise.UPPER).values()]

    for row in rows:
        low, high = row["warp_interval"]
        assert low < row["warp"] < high


@pytest.mark.parametrize(
    ("between", "said"),
    [
        ([-2.0, -1.0], "lower"),
        ([1.0, 2.0], "higher"),
        ([-1.0, 1.0], "undecided"),
        ([0.0, 0.0], "undecided"),
        ([np.nan, np.nan], "undecided"),
    ],
)
def test_a_verdict_takes_the_whole_interval(between: list[float], said: str) -> None:
    assert verdict({"warp_interval": between}, "warp") == said


def test_an_interval_holds_the_middle_of_the_values() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx([25.0, 975.0])


def test_a_clip_of_stretches_is_one_movement_with_its_flow() -> None:
    scene = Scene.random(7_000, num_layers=3, speed=120.0)
    stretches = (Stretch(0.5, 5), Stretch(2.0, 4))

    clip = render_stretches(scene, stretches, 64)

    whole = scene.render(8, 64, 64, start=1.0 + 2.5 / 30, fps=15.0)
    speed_T = clip.flow_T2HW.norm(dim=1).mean(dim=(1, 2))
    assert len(clip.rgb_T3HW) == 9
    assert float(speed_T[5:].mean() / speed_T[:5].mean()) == pytest.approx(4.0, rel=0.2)
    # Half a pace's last frame, then every second frame of a scene at its own pace.
    assert torch.equal(clip.layer_id_THW[4:], whole.layer_id_THW[:5])


def test_the_result_fits_json(as_in_the_paper: dict[str, Any]) -> None:
    assert json.loads(json.dumps(as_in_the_paper)) == as_in_the_paper
