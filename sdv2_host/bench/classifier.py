"""A small frozen network that names the style of a frame: the referee of `bench quality`.

It shares neither architecture nor seeds nor augmentation with the generator it judges.

# T frames   C channels   H W size in px   K classes
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sdv2_host.bench.prompts import UNSTYLED
from sdv2_host.bench.styles import STYLES
from sdv2_host.errors import ModelError

CLASSES: tuple[str, ...] = (*STYLES, UNSTYLED)
MIN_SIZE_PX = 64
_WIDTHS = (48, 96, 128)


class StyleNet(nn.Module):
    """Three strided convolutions; the mean and the spread of every channel over the frame."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            (
                nn.Conv2d(3, _WIDTHS[0], 8, 4, 2),
                nn.Conv2d(_WIDTHS[0], _WIDTHS[1], 3, 2, 1),
                nn.Conv2d(_WIDTHS[1], _WIDTHS[2], 3, 2, 1),
            )
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for width in _WIDTHS)
        self.hidden = nn.Linear(2 * sum(_WIDTHS), 128)
        self.head = nn.Linear(128, num_classes)

    def forward(self, rgb_T3HW: Tensor) -> Tensor:
        """Logits [T, K] of frames 0..1, at least 64 px a side."""
        x = rgb_T3HW * 2 - 1
        features: list[Tensor] = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.silu(norm(conv(x)))
            # Spread tells even textures (dots, tiles) from pictures with large calm areas.
            features += [x.mean((2, 3)), (x.var((2, 3)) + 1e-5).sqrt()]
        logits: Tensor = self.head(F.silu(self.hidden(torch.cat(features, 1))))
        return logits


class Naming(NamedTuple):
    """What the classifier says of some frames."""

    names: list[str]
    probability_TK: Tensor


class Likeness(NamedTuple):
    """How much some frames look like one style, says the classifier; both 0..1."""

    probability: float
    """Of the style, mean of the frames."""
    named: float
    """Share of the frames that are given its name."""


class Classifier:
    """Loaded weights, ready to name frames; holds nothing between calls.

    Raises:
        ModelError: the file is missing, damaged, or of another set of styles.
    """

    def __init__(self, path: Path | None = None) -> None:
        where = Path(str(_default_path())) if path is None else path
        if not where.is_file():
            raise ModelError(f"{where} is missing: run `python -m training.train_classifier`")
        try:
            with safe_open(where, framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ModelError(f"{where} is damaged ({error}): install it again") from error
        self.classes: tuple[str, ...] = tuple(json.loads(metadata.get("classes", "[]")))
        if self.classes != CLASSES:
            raise ModelError(f"{where} knows {len(self.classes)} styles, expected {len(CLASSES)}")
        self.held_out_accuracy = float(metadata["held_out_accuracy"])
        """Share of held-out ground-truth frames it named right when it was trained, 0..1."""
        self._net = StyleNet(len(self.classes))
        self._net.load_state_dict(weights)
        self._net.eval()

    @torch.no_grad()
    def name(self, rgb_T3HW: Tensor) -> Naming:
        """The likeliest style of each frame (0..1, any size from 64 px), and all probabilities."""
        probability_TK = self._net(rgb_T3HW.float()).softmax(1)
        names = [self.classes[int(index)] for index in probability_TK.argmax(1)]
        return Naming(names, probability_TK)

    def likeness(self, rgb_T3HW: Tensor, style: str) -> Likeness:
        """Of the frames to the style."""
        naming = self.name(rgb_T3HW)
        probability_T = naming.probability_TK[:, self.classes.index(style)]
        named = sum(name == style for name in naming.names) / len(naming.names)
        return Likeness(float(probability_T.mean()), named)


def _default_path() -> Path:
    return Path(str(resources.files("sdv2_host"))) / "assets" / "tiny" / "classifier.safetensors"
