"""The paper's metrics of pictures, by the networks that a user brings; others are left open.

CLIP's scores are cosines of embeddings times 100, averaged over frames. The paper's table has that
of neighbouring frames; the script measures that with the prompt beside it.

Source: arXiv 2511.07399, section 5; StreamDiffusionV2, evaluation/clip_score.py at commit 4e0f1f6,
which a later commit removed. Of the warp error: `paper_warp`.

# T frames   H W size in px   E embedding
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from sdv2_host.bench.paper_warp import EstimatedMotion, FlowFn, estimate, paper_warp_errors
from sdv2_host.bench.scores import WarpScore

SCALE = 100


class PictureEncoder(Protocol):
    """As `clip_score.ClipEncoder`."""

    def frames(self, frames_T3HW: Tensor) -> Tensor:
        """Embeddings of length 1 of uint8 frames: [T, E] on the CPU."""

    def prompt(self, text: str) -> Tensor:
        """Its embedding of length 1, [E] on the CPU."""


class Judges(NamedTuple):
    """The networks that a user brings; None = not given."""

    clip: PictureEncoder | None = None
    flow: FlowFn | None = None
    device: torch.device = torch.device("cpu")
    """The flow network's."""
    clip_name: str = ""
    flow_name: str = ""

    def motion(self, frames_T3HW: Tensor) -> EstimatedMotion | None:
        """Of uint8 frames, on the CPU; None without a flow network."""
        if self.flow is None:
            return None
        motion = estimate(self.flow, frames_T3HW.to(self.device) / 255)
        return EstimatedMotion(*(part.cpu() for part in motion))


def neighbour_scores(embeds_TE: Tensor) -> list[float]:
    """Cosine x 100 of each frame but the first with the one before it."""
    return _listed((embeds_TE[1:] * embeds_TE[:-1]).sum(1))


def prompt_scores(embeds_TE: Tensor, prompt_E: Tensor) -> list[float]:
    """Cosine x 100 of each frame with the prompt."""
    return _listed(embeds_TE @ prompt_E)


def _listed(cosines_T: Tensor) -> list[float]:
    scores: list[float] = (cosines_T * SCALE).tolist()
    return scores


@dataclass(slots=True)
class PaperScore:
    """Of some clips, frame by frame; empty = no network for it was given."""

    neighbours: list[float] = field(default_factory=list)
    """CLIP, cosine x 100 with the frame before."""
    prompt: list[float] = field(default_factory=list)
    """CLIP, cosine x 100 with the prompt."""
    warp_paper: list[float] = field(default_factory=list)
    """As the paper's script has it: see `paper_warp`."""
    warp: WarpScore = field(default_factory=WarpScore)
    """Along the estimated motion, where it is seen from both sides."""

    def add(self, frames_T3HW: Tensor, motion: EstimatedMotion | None) -> None:
        """Adds what flow says of a clip of uint8 frames: the first of the motion's, or all."""
        if motion is not None:
            self.warp_paper += paper_warp_errors(frames_T3HW, motion)
            self.warp.add(frames_T3HW / 255, motion)

    def add_embeds(self, embeds_TE: Tensor, prompt_E: Tensor | None) -> None:
        """Adds what CLIP says of a clip."""
        self.neighbours += neighbour_scores(embeds_TE)
        if prompt_E is not None:
            self.prompt += prompt_scores(embeds_TE, prompt_E)

    def merge(self, other: PaperScore) -> None:
        self.neighbours += other.neighbours
        self.prompt += other.prompt
        self.warp_paper += other.warp_paper
        self.warp.merge(other.warp)

    def summary(self) -> dict[str, Any]:
        """Of what was measured: means over frames, and what the middle half lie between."""
        lists = {
            "clip_neighbours": self.neighbours,
            "clip_prompt": self.prompt,
            "warp_paper": self.warp_paper,
        }
        found: dict[str, Any] = {}
        for name, values in lists.items():
            if values:
                found[name] = sum(values) / len(values)
                found[f"{name}_quartiles"] = np.percentile(values, [25, 75]).tolist()
        if self.warp.overall.count:
            found["warp"] = self.warp.overall.value
        return found


@dataclass(slots=True)
class Compared:
    """The scores of the output, beside those of the ground truth and the source."""

    output: PaperScore = field(default_factory=PaperScore)
    truth: PaperScore = field(default_factory=PaperScore)
    source: PaperScore = field(default_factory=PaperScore)

    def merge(self, other: Compared) -> None:
        self.output.merge(other.output)
        self.truth.merge(other.truth)
        self.source.merge(other.source)

    def summary(self) -> dict[str, Any]:
        return {
            "output": self.output.summary(),
            "truth": self.truth.summary(),
            "source": self.source.summary(),
        }
