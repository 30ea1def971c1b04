"""A video beside its styled copy: in blocks as in one, and only what the judges can say."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sdv2_host.bench import video
from sdv2_host.bench.clip_score import load_clip
from sdv2_host.bench.paper_score import Judges, PaperScore
from sdv2_host.bench.video import VideoPair, check_memory, run
from sdv2_host.bench.video_report import draw, format_table
from sdv2_host.errors import DeviceError, SourceError
from tests.bench.tiny_clip import write_tiny_clip

SIDE_PX, SHIFT_PX, FRAMES = 48, 2, 20
CPU = torch.device("cpu")


class ShiftFlow:
    """A flow network of a world that moves two px to the right from frame to frame."""

    def __init__(self) -> None:
        self.shift_px = -SHIFT_PX

    def __call__(self, first_B3HW: Tensor, second_B3HW: Tensor) -> Tensor:
        self.shift_px = -self.shift_px  # forward, then backward
        flow = torch.zeros(1, 2, *first_B3HW.shape[2:])
        flow[:, 0] = self.shift_px
        return flow


def _write(path: Path, frames: NDArray[np.uint8], fps: int = 30) -> Path:
    """A lossless video of [T, H, W, 3]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=Fraction(fps), options={"crf": "0"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _moving(num_frames: int = FRAMES) -> NDArray[np.uint8]:
    wide = np.random.default_rng(5).integers(0, 200, (SIDE_PX, 2 * SIDE_PX, 3), dtype=np.uint8)
    begins = [SIDE_PX - SHIFT_PX * index for index in range(num_frames)]
    return np.stack([wide[:, begin : begin + SIDE_PX] for begin in begins])


def _flickering(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frames + (np.arange(len(frames), dtype=np.uint8) % 2 * 10)[:, None, None, None]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> VideoPair:
    folder = tmp_path_factory.mktemp("videos")
    source = _write(folder / "source.mp4", _moving())
    return VideoPair(source, _write(folder / "styled.mp4", _flickering(_moving())), "neon city")


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Judges:
    folder = tmp_path_factory.mktemp("clip")
    write_tiny_clip(folder)
    return Judges(load_clip(folder, CPU), ShiftFlow(), clip_name="tiny", flow_name="shift")


def _measure(pair: VideoPair, judges: Judges) -> dict[str, Any]:
    result = run(pair, judges, lambda _what, _fraction: None)
    return dict(json.loads(json.dumps(result)))


@pytest.fixture(scope="module")
def measured(pair: VideoPair, judges: Judges) -> dict[str, Any]:
    return _measure(pair, judges)


def test_a_flickering_copy_has_the_warp_error_and_flicker_that_were_put_in(
    measured: dict[str, Any],
) -> None:
    styled, source = measured["scores"]["styled"], measured["scores"]["source"]

    assert measured["frames"] == FRAMES
    assert source["warp"] == pytest.approx(0, abs=1e-3)
    assert styled["warp"] == pytest.approx(10, abs=1e-3)
    # Every other frame is 10 brighter: 5 above and below the middle, beside what the source has.
    own, other = (measured["flicker"][name]["amplitude"] for name in ("styled", "source"))
    assert own**2 == pytest.approx(other**2 + 5**2, rel=0.05)


def test_the_scores_are_those_of_all_frames_at_once(
    measured: dict[str, Any], judges: Judges
) -> None:
    """The oracle has the whole clip in one block."""
    source = torch.from_numpy(_moving()).permute(0, 3, 1, 2).contiguous()
    styled = torch.from_numpy(_flickering(_moving())).permute(0, 3, 1, 2).contiguous()
    whole = PaperScore()
    whole.add(styled, judges.motion(source))
    assert judges.clip is not None
    whole.add_embeds(judges.clip.frames(styled), judges.clip.prompt("neon city"))

    assert video.BLOCK_FRAMES < FRAMES
    assert len(whole.warp_paper) == len(whole.neighbours) == FRAMES - 1
    expected = json.loads(json.dumps(whole.summary()))
    found = measured["scores"]["styled"]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4)


def test_without_judges_flicker_and_drift_stay_and_the_table_says_what_lacks(
    pair: VideoPair, measured: dict[str, Any]
) -> None:
    result = _measure(pair, Judges())
    table = format_table(result)

    assert result["flicker"] == measured["flicker"]
    assert result["drift"] == measured["drift"]
    assert result["scores"] == {"styled": {}, "source": {}}
    assert "not measured: CLIP scores: give a CLIP with --clip FOLDER" in table
    assert "not measured: warp error: give RAFT-large with --raft FILE" in table


def test_the_table_says_who_judged(measured: dict[str, Any]) -> None:
    table = format_table(measured)

    assert "20 frames at 30 fps, 48x48" in table
    assert "by tiny" in table
    assert "by shift" in table
    assert "drift goes by 0.7 s" in table
    assert "not measured" not in table


def test_a_prompt_that_was_not_said_is_no_score(pair: VideoPair, judges: Judges) -> None:
    silent = _measure(VideoPair(pair.source, pair.styled, max_frames=3), judges)

    assert silent["frames"] == 3
    assert "clip_prompt" not in silent["scores"]["styled"]
    assert "say it with --prompt TEXT" in format_table(silent)


def test_flow_that_agrees_nowhere_is_said(pair: VideoPair) -> None:
    apart = Judges(flow=lambda first, _second: first[:, :2] + 9, flow_name="apart")

    result = _measure(VideoPair(pair.source, pair.styled, max_frames=4), apart)
    table = format_table(result)

    assert result["scores"]["styled"] == {}
    assert "warp error: flow forward and back agree nowhere by apart" in table
    assert "not measured: flicker: it takes 8 frames" in table
    assert "flicker, styled" not in table


@pytest.mark.parametrize("num_frames", [1, 7, 8, 9])
def test_what_one_of_them_has_more_is_left_out_and_said(
    pair: VideoPair, tmp_path: Path, num_frames: int
) -> None:
    short = _write(tmp_path / "short.mp4", _moving(num_frames))

    result = _measure(VideoPair(pair.source, short), Judges())
    other_way = _measure(VideoPair(short, pair.source), Judges())

    assert (result["frames"], result["ended_first"]) == (num_frames, "styled")
    assert (other_way["frames"], other_way["ended_first"]) == (num_frames, "source")
    assert "the styled one ended first" in format_table(result)


def test_a_copy_of_another_size_is_brought_to_the_sources(
    pair: VideoPair, judges: Judges, tmp_path: Path
) -> None:
    doubled = np.repeat(np.repeat(_moving(6), 2, 1), 2, 2)
    styled = _write(tmp_path / "large.mp4", doubled)

    result = _measure(VideoPair(pair.source, styled, max_frames=6), judges)

    # Bilinear halving of doubled pixels gives them back.
    assert result["scores"]["styled"]["warp"] == pytest.approx(0, abs=1e-3)


def test_frames_too_large_for_the_flow_are_refused() -> None:
    with pytest.raises(DeviceError, match=r"^vast\.mp4 is 8192x8192: RAFT takes 9543\.7 GiB"):
        check_memory(Path("vast.mp4"), (8192, 8192), CPU)

    check_memory(Path("small.mp4"), (256, 256), CPU)


def test_other_frame_rates_are_refused(pair: VideoPair, tmp_path: Path) -> None:
    slow = _write(tmp_path / "slow.mp4", _moving(4), fps=24)

    with pytest.raises(SourceError, match=r"30 fps and .*slow\.mp4 24.*sdv2-host render"):
        run(VideoPair(pair.source, slow), Judges(), lambda _what, _fraction: None)


def test_a_size_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "live.mjpeg"
    with path.open("wb") as file:
        for side_px in (64, 64, 64, 96, 96, 96):
            Image.new("RGB", (side_px, side_px)).save(file, "JPEG")

    with pytest.raises(SourceError, match=r"live\.mjpeg goes from 64x64 to 96x96"):
        run(VideoPair(path, path), Judges(), lambda _what, _fraction: None)


def test_the_picture_is_written_but_for_a_single_frame(
    pair: VideoPair, measured: dict[str, Any], tmp_path: Path
) -> None:
    single = _measure(VideoPair(pair.source, pair.styled, max_frames=1), Judges())

    assert draw(tmp_path / "none.png", single) is None
    path = draw(tmp_path / "new" / "video.png", measured)
    assert path is not None
    assert path.stat().st_size > 1000
