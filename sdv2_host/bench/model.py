"""One model in one setup, with random weights: what `bench model` measures, cell by cell.

Random weights take as long as trained ones, so no checkpoint is needed. The embedded model has
its own.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from sdv2_host.bench.precision import OneText
from sdv2_host.config import ENGINES, Config
from sdv2_host.gpu.compile_choice import chosen_calls
from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.tiny_engine import models_on_cpu, tiny_spec
from sdv2_host.gpu.wan_engine import calls_for
from sdv2_host.gpu.wan_models import Placement, WanFamily, random_models
from sdv2_host.gpu.wan_spec import WAN_DIMS, wan_spec
from sdv2_host.models.compiled_store import CompiledStore, compiled_dir
from sdv2_host.params import Params
from sdv2_host.stream.model_calls import ModelCalls
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Frame, FrameMeta, Size

OWN_VAE = "own"
"""The embedded model's autoencoder: it has no other."""
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
    settings: tuple[tuple[str, str], ...] = ()
    """Further start-up settings of `Config`, with their values."""

    def __str__(self) -> str:
        plural = "" if self.steps == 1 else "s"
        asked = "".join(f" {name}={value}" for name, value in self.settings)
        return f"{self.engine} {self.size} {self.steps} step{plural} {self.vae}{asked}"

    @property
    def models_family(self) -> WanFamily:
        """Of a Wan engine."""
        return self.family or WanFamily(WAN_DIMS[self.engine])

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
                **dict(self.settings),
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
        tiny = models_on_cpu()
        models = StreamModels(tiny.dit, tiny.vae, tiny.text)
        return Built(models, tiny_spec(tiny.card, cell.size))
    torch.manual_seed(cell.seed)
    models = random_models(cell.vae, cell.models_family, Placement.of(cell.config))
    text = OneText(cell.models_family.dit)
    return Built(models._replace(text=text), _wan_spec(cell))


def calls_of(cell: Cell, built: Built) -> ModelCalls:
    """How a host would call the cell's models: recorded, compiled, as its settings say.

    Raises:
        DeviceError: what the cell's settings ask for does not run on the device.
    """
    if cell.engine == "tiny":
        compiled = CompiledStore(compiled_dir())
        return chosen_calls(cell.config.compile, _untold, compiled, built.models, built.spec)
    return calls_for(cell.config, built.models, built.spec)


def _untold(text: str, fraction: float) -> None:
    del text, fraction


def engine_of(cell: Cell, built: Built, calls: ModelCalls | None = None) -> StreamEngine:
    """The engine that a host would play the cell with, not yet warm. With `calls` in place of its
    own: one whose stages do not overlap.

    Raises:
        DeviceError: what the cell's settings ask for does not run on the device.
    """
    models = built.models._replace(calls=calls or calls_of(cell, built))
    overlap = "off" if calls is not None else cell.config.overlap
    return StreamEngine(cell.engine, models, built.spec, overlap=overlap)


class LastBuilt:
    """The newest cell's models, which the next one takes where it needs the same."""

    def __init__(self) -> None:
        self._last: tuple[Cell, Built] | None = None

    def serves(self, cell: Cell) -> bool:
        """Whether the cell needs the same models."""
        if self._last is None:
            return False
        before, _ = self._last
        return replace(before, size=cell.size, steps=cell.steps) == cell

    def build(self, cell: Cell) -> Built:
        """As `build(cell)`. Other models than before are made when those are gone."""
        if self._last is not None and self.serves(cell):
            built = self._last[1]
            return Built(built.models, _spec_like(built.spec, cell))
        self.forget_()
        built = build(cell)
        self._last = (cell, built)
        return built

    def forget_(self) -> None:
        """Nothing is held, nor what was compiled for it: torch keeps so many variants, and no
        more."""
        self._last = None
        torch.compiler.reset()
        free_memory()


def free_memory() -> None:
    """What nobody holds any more is free for others."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _spec_like(spec: StreamSpec, cell: Cell) -> StreamSpec:
    if cell.engine != "tiny":
        return _wan_spec(cell)
    return replace(spec, width_px=cell.size.width, height_px=cell.size.height)


def _wan_spec(cell: Cell) -> StreamSpec:
    return wan_spec(cell.config, cell.device, cell.dtype)


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
