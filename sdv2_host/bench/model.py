"""One model in one setup, with random weights: what `bench model` measures, cell by cell.

Random weights take as long as trained ones, so no checkpoint is needed. The embedded model has
its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sdv2_host.bench.precision import OneText
from sdv2_host.config import ENGINES, Config
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.tiny_engine import tiny_spec
from sdv2_host.gpu.wan_models import Placement, WanFamily, random_models
from sdv2_host.gpu.wan_spec import WAN_DIMS, wan_spec
from sdv2_host.params import Params
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Frame, FrameMeta, Size
from sdv2_host.wan.tiny_weights import load_tiny

OWN_VAE = "own"
"""The embedded model's autoencoder: it has no other."""
VAE_CHOICES = ("wan", "hybrid", "taehv")
NUM_CLIP_FRAMES = 64
CLIP_CELL_PX = 16


@dataclass(frozen=True, slots=True)
class Cell:
    """One model in one setup: a row of the table."""

    engine: str
    """tiny, wan-1.3b or wan-14b."""
    size: Size
    steps: int
    vae: str
    """As in `Config.vae`; of the embedded model `OWN_VAE`."""
    device: torch.device
    dtype: torch.dtype
    family: WanFamily | None = None
    """Sizes of a Wan engine's models; None = those its name says."""
    seed: int = 0
    """Of the weights."""

    def __str__(self) -> str:
        return f"{self.engine} {self.size}, {self.steps} steps, VAE {self.vae}"

    @property
    def params(self) -> Params:
        """The engine's live parameters as they are without flags, with the cell's steps."""
        return Params().model_copy(update={**ENGINES[self.engine].params, "steps": self.steps})

    @property
    def config(self) -> Config:
        """A start-up with as many rows of cache as the cell has steps."""
        sides = {"width": self.size.width, "height": self.size.height}
        vae = {} if self.vae == OWN_VAE else {"vae": self.vae}
        return Config.model_validate(
            {
                "engine": self.engine,
                **sides,
                **vae,
                "max_steps": self.steps,
                "device": str(self.device),
                "dtype": str(self.dtype).removeprefix("torch."),
            }
        )


class Built(NamedTuple):
    """What an engine of the cell is made of."""

    models: StreamModels
    spec: StreamSpec


def build(cell: Cell) -> Built:
    """The cell's models on its device, with weights that only its seed decides, and its stream.

    Their text encoder gives the same embedding for every prompt. The embedded model has its own
    weights and text encoder, and is on the CPU.

    Raises:
        ModelError: the embedded model is missing or damaged.
    """
    if cell.engine == "tiny":
        tiny = load_tiny()
        tiny.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        models = StreamModels(tiny.dit, tiny.vae, tiny.text)
        return Built(models, tiny_spec(tiny.card, cell.size))
    family = cell.family or WanFamily(WAN_DIMS[cell.engine])
    torch.manual_seed(cell.seed)
    models = random_models(cell.vae, family, Placement(cell.device, cell.dtype))
    spec = wan_spec(cell.config, cell.device, cell.dtype)
    return Built(models._replace(text=OneText(family.dit)), spec)


def source_clip(cell: Cell, num_frames: int = NUM_CLIP_FRAMES) -> list[Frame]:
    """RGBA8 frames of the cell's size: a texture that pans steadily, and begins anew unseen after
    `NUM_CLIP_FRAMES`. `Staging.upload` makes of them what the models see."""
    width, height = cell.size
    random = np.random.default_rng(cell.seed)
    cells = (height // CLIP_CELL_PX, width // CLIP_CELL_PX, 4)
    texture = random.integers(0, 256, cells, dtype=np.uint8)
    picture = texture.repeat(CLIP_CELL_PX, axis=0).repeat(CLIP_CELL_PX, axis=1)
    meta = FrameMeta(width, height)
    shifts = [width * index // NUM_CLIP_FRAMES for index in range(num_frames)]
    return [Frame(meta, np.ascontiguousarray(np.roll(picture, s, axis=1))) for s in shifts]
