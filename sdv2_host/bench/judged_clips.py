"""The paper's metrics on held-out clips, where the flow that they go by can itself be judged.

Without a flow network they go by the exact flow.

# T frames   H W size in px   E embedding
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdv2_host.bench.held_out import Sample
from sdv2_host.bench.paper_score import Compared, Judges
from sdv2_host.bench.paper_warp import EstimatedMotion
from sdv2_host.bench.scores import (
    MOTION_BINS_PX,
    REFERENCE_SIDE_PX,
    Mean,
    bin_name,
    mean_where,
)
from sdv2_host.types import ProgressFn

EXACT = "the exact flow"
"""What a report calls the renderer's."""


class JudgedClips:
    """What the judges say of the sources, once for all styles, lives as long as the object."""

    def __init__(self, judges: Judges, samples: list[Sample], progress: ProgressFn) -> None:
        self._judges, self._samples = judges, samples
        self._sources = [_bytes(sample.clip.rgb_T3HW) for sample in samples]
        self._motions: list[EstimatedMotion] = []
        for index, sample in enumerate(samples):
            if judges.flow is not None:
                progress(f"flow of clip {index + 1} of {len(samples)}", 0.0)
            exact = sample.clip
            self._motions.append(
                judges.motion(self._sources[index])
                or EstimatedMotion(exact.flow_T2HW, exact.visible_T1HW, exact.visible_T1HW)
            )
        clip = judges.clip
        self._source_embeds = [] if clip is None else [clip.frames(one) for one in self._sources]

    def compare(self, index: int, output_T3HW: Tensor, truth_T3HW: Tensor, text: str) -> Compared:
        """The scores of a styled clip, its ground truth and its source; frames are 0..1."""
        output, truth, count = _bytes(output_T3HW), _bytes(truth_T3HW), len(output_T3HW)
        compared, motion, clip = Compared(), self._motions[index], self._judges.clip
        compared.output.add(output, motion)
        compared.truth.add(truth, motion)
        compared.source.add(self._sources[index][:count], motion)
        if clip is not None:
            prompt_E = clip.prompt(text)
            compared.output.add_embeds(clip.frames(output), prompt_E)
            compared.truth.add_embeds(clip.frames(truth), prompt_E)
            compared.source.add_embeds(self._source_embeds[index][:count], prompt_E)
        return compared

    def summary(self) -> dict[str, Any]:
        """Who judged, and how far the estimated flow is from the exact one; fits JSON."""
        return {
            "clip": self._judges.clip_name,
            "flow": self._judges.flow_name or EXACT,
            "flow_error": self._flow_error() if self._judges.flow is not None else [],
        }

    def _flow_error(self) -> list[dict[str, Any]]:
        """Mean distance of the flows by motion, px of a 256-px picture, over visible pixels."""
        means = [Mean() for _ in MOTION_BINS_PX]
        for sample, motion in zip(self._samples, self._motions, strict=True):
            exact = sample.clip
            scale = REFERENCE_SIDE_PX / exact.flow_T2HW.shape[-2]
            speed_THW = exact.flow_T2HW.norm(dim=1) * scale
            missed_THW = (motion.flow_T2HW - exact.flow_T2HW).norm(dim=1) * scale
            for mean, (low, high) in zip(means, MOTION_BINS_PX, strict=True):
                chosen = exact.visible_T1HW[:, 0] & (speed_THW >= low) & (speed_THW < high)
                mean.merge(mean_where(missed_THW, chosen))
        return [
            {"motion_px": bin_name(index), "missed_px": mean.value}
            for index, mean in enumerate(means)
            if mean.count
        ]


def _bytes(frames_T3HW: Tensor) -> Tensor:
    return (frames_T3HW.clamp(0, 1) * 255).round().to(torch.uint8)
