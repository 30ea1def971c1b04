"""`sdv2-host bench video`: a video and its styled copy, frame by frame; whatever styled it.

Nothing is known of such pictures, so motion is RAFT's, where a user brings it: no other flow takes
its place. Flicker and drift need no weights.

# T frames   H W size in px   h w cells   E embedding   S levels
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sdv2_host.bench.paper_score import Judges, PaperScore
from sdv2_host.bench.raft import memory_bytes
from sdv2_host.bench.scores import MOTION_BINS_PX, bin_name
from sdv2_host.bench.steadiness import LEVELS, Flicker, cells, drift, levels
from sdv2_host.errors import DeviceError, SourceError
from sdv2_host.gpu.device import GIB, device_memory
from sdv2_host.sources.video_file import decode, open_video, stream_fps, to_upright_rgba
from sdv2_host.types import ProgressFn

BLOCK_FRAMES = 8
"""Looked at together, with the last one of the block before."""
FPS_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class VideoPair:
    """What is compared."""

    source: Path
    styled: Path
    prompt: str = ""
    """What the styled one was asked to show; empty = nobody knows."""
    max_frames: int | None = None


@dataclass(slots=True)
class _Seen:
    """One of the two videos; fields grow with every block."""

    score: PaperScore = field(default_factory=PaperScore)
    cells_T3hw: list[Tensor] = field(default_factory=list)
    levels_TS: list[Tensor] = field(default_factory=list)
    embeds_TE: list[Tensor] = field(default_factory=list)

    def add(self, new_T3HW: Tensor, judges: Judges) -> None:
        """Frames not seen before, uint8, at their own size."""
        self.cells_T3hw.append(cells(new_T3HW / 255))
        self.levels_TS.append(levels(new_T3HW / 255))
        if judges.clip is not None:
            self.embeds_TE.append(judges.clip.frames(new_T3HW))

    def flicker(self) -> dict[str, float] | None:
        """None = too few frames to tell."""
        flicker = Flicker()
        flicker.add(torch.cat(self.cells_T3hw))
        if not flicker.num_cells:
            return None
        return {"amplitude": flicker.amplitude, "share": flicker.share}


class _Comparison:
    """The two videos as far as they were looked at; fields live as long as the object."""

    def __init__(self, judges: Judges) -> None:
        self.judges = judges
        self.source, self.styled = _Seen(), _Seen()
        self.count = 0
        self.size = (0, 0)
        """Of the source, width and height in px."""

    def look(self, pictures: Sequence[tuple[Tensor, Tensor]], num_known: int) -> None:
        """Takes frames of both in; the first `num_known`, 0 or 1, were taken in before."""
        source_T3HW, styled_T3HW = (torch.stack(each) for each in zip(*pictures, strict=True))
        self.source.add(source_T3HW[num_known:], self.judges)
        self.styled.add(styled_T3HW[num_known:], self.judges)
        motion = self.judges.motion(source_T3HW)
        self.source.score.add(source_T3HW, motion)
        self.styled.score.add(_resized(styled_T3HW, source_T3HW), motion)
        self.count += len(pictures) - num_known
        self.size = (source_T3HW.shape[3], source_T3HW.shape[2])

    def end(self, prompt: str) -> None:
        """CLIP's scores are in."""
        if self.judges.clip is None:
            return
        prompt_E = self.judges.clip.prompt(prompt) if prompt else None
        for seen in (self.source, self.styled):
            seen.score.add_embeds(torch.cat(seen.embeds_TE), prompt_E)


def run(pair: VideoPair, judges: Judges, progress: ProgressFn) -> dict[str, Any]:
    """Measures the pair; the result fits JSON and `video_report`.

    Raises:
        SourceError: one of them cannot be read, or their frames do not go together.
        DeviceError: their frames are too large for the flow network here.
    """
    fps = _common_fps(pair)
    if judges.flow is not None:
        with open_video(pair.source) as container:
            stream = container.streams.video[0]
            check_memory(pair.source, (stream.width, stream.height), judges.device)
    comparison = _Comparison(judges)
    ended_first = _look_at_all(pair, comparison, progress)
    comparison.end(pair.prompt)
    progress("done", 1.0)
    source, styled = comparison.source, comparison.styled
    return {
        "source": str(pair.source),
        "styled": str(pair.styled),
        "prompt": pair.prompt,
        "frames": comparison.count,
        "ended_first": ended_first,
        "fps": fps,
        "size": comparison.size,
        "clip": judges.clip_name,
        "flow": judges.flow_name,
        "scores": {"styled": styled.score.summary(), "source": source.score.summary()},
        "motion": _motion_rows(styled.score, source.score),
        "flicker": {"styled": styled.flicker(), "source": source.flicker()},
        **_drifts(styled, source, fps),
        "series": _series(styled, source, comparison.count),
    }


def _look_at_all(pair: VideoPair, comparison: _Comparison, progress: ProgressFn) -> str | None:
    """Which of the two had no frame left when the other had; a block has the last one's end."""
    videos = (islice(_frames(path), pair.max_frames) for path in (pair.source, pair.styled))
    block: list[tuple[Tensor, Tensor]] = []
    num_known, ended_first = 0, None
    for source, styled in zip_longest(*videos):
        if source is None or styled is None:
            ended_first = "source" if source is None else "styled"
            break
        block.append((source, styled))
        if len(block) == num_known + BLOCK_FRAMES:
            comparison.look(block, num_known)
            progress(f"{comparison.count} frames", 0.0)
            block, num_known = block[-1:], 1
    if len(block) > num_known:
        comparison.look(block, num_known)
    return ended_first


def _frames(path: Path) -> Iterator[Tensor]:
    """uint8 [3, H, W], upright.

    Raises:
        SourceError: a frame has another size than the first.
    """
    size: tuple[int, int] | None = None
    with open_video(path) as container:
        for frame in decode(container, container.streams.video[0]):
            rgb_HW3 = to_upright_rgba(frame)[..., :3]
            height, width = rgb_HW3.shape[:2]
            size = size or (width, height)
            if size != (width, height):
                raise SourceError(
                    f"{path} goes from {size[0]}x{size[1]} to {width}x{height}, expected one size; "
                    "compare a copy of it that has"
                )
            yield torch.from_numpy(rgb_HW3).permute(2, 0, 1).contiguous()


def _common_fps(pair: VideoPair) -> float:
    rates = []
    for path in (pair.source, pair.styled):
        with open_video(path) as container:
            rates.append(stream_fps(container.streams.video[0]))
    if abs(rates[0] - rates[1]) > FPS_TOLERANCE * rates[0]:
        raise SourceError(
            f"{pair.source} has {rates[0]:.4g} fps and {pair.styled} {rates[1]:.4g}, but they are "
            "compared frame by frame; style the video with sdv2-host render, which keeps its frames"
        )
    return rates[0]


def check_memory(path: Path, size_px: tuple[int, int], device: torch.device) -> None:
    """The flow network can take frames of this width and height.

    Raises:
        DeviceError: a pair of them does not fit beside what is there.
    """
    width, height = size_px
    needed, free = memory_bytes(*size_px), device_memory(device).free
    if needed > free:
        raise DeviceError(
            f"{path} is {width}x{height}: RAFT takes {needed / GIB:.1f} GiB for a pair of such "
            f"frames and {device} has {free / GIB:.1f} GiB free; compare smaller copies of both"
        )


def _resized(styled_T3HW: Tensor, like_T3HW: Tensor) -> Tensor:
    """The styled frames at the source's size, which is that of the flow; as the paper's script."""
    size = like_T3HW.shape[2:]
    if styled_T3HW.shape[2:] == size:
        return styled_T3HW
    return F.interpolate(styled_T3HW, size=size, mode="bilinear", align_corners=False)


def _motion_rows(styled: PaperScore, source: PaperScore) -> list[dict[str, Any]]:
    """Warp errors by motion, with the share of the pixels seen; empty without flow."""
    total = styled.warp.overall.count
    rows = []
    for index in range(len(MOTION_BINS_PX)):
        own, other = styled.warp.by_motion[index], source.warp.by_motion[index]
        if own.count:
            rows.append(
                {
                    "motion_px": bin_name(index),
                    "share": own.count / total,
                    "warp_styled": own.value,
                    "warp_source": other.value,
                }
            )
    return rows


def _drifts(styled: _Seen, source: _Seen, fps: float) -> dict[str, Any]:
    """Slopes of the levels of both, and of the styled one's less the source's."""
    styled_TS, source_TS = torch.cat(styled.levels_TS), torch.cat(source.levels_TS)
    of = {"styled": styled_TS, "source": source_TS, "styled less source": styled_TS - source_TS}
    return {
        "drift": {
            name: {
                level: drift(levels_TS[:, index], fps)._asdict()
                for index, level in enumerate(LEVELS)
            }
            for name, levels_TS in of.items()
        }
    }


def _series(styled: _Seen, source: _Seen, count: int) -> dict[str, list[float]]:
    """Frame by frame, the first left out, for the picture; the warp error where no frame lacks."""
    styled_TS, source_TS = torch.cat(styled.levels_TS), torch.cat(source.levels_TS)
    found: dict[str, list[float]] = {}
    for index, level in enumerate(LEVELS):
        found[f"{level}, styled"] = styled_TS[1:, index].tolist()
        found[f"{level}, source"] = source_TS[1:, index].tolist()
    if styled.score.neighbours:
        found["CLIP, neighbours, styled"] = styled.score.neighbours
    if styled.score.prompt:
        found["CLIP, prompt, styled"] = styled.score.prompt[1:]
    if count > 1 and len(styled.score.warp_paper) == count - 1:
        found["warp, paper's script, styled"] = styled.score.warp_paper
    return found
