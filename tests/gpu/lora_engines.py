"""Engines that LoRAs are merged in: random weights of their own, that no other test sees."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.overlap import Overlap
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.models.loras import find_lora
from sdv2_host.models.store import lora_dir
from sdv2_host.stream.lora import LoraMerge
from sdv2_host.types import Layout, Size
from sdv2_host.wan.tiny_weights import TinyModels
from tests.gpu.histories import SIZE
from tests.lora_files import factors, tensors_of, write
from tests.toys import TOY_DIT

BUDGET_BYTES = 20_000
"""The toy's matrices are some 75 kB: a change of LoRAs takes four chunks or so."""


def write_loras(models_dir: Path) -> Path:
    """The folder, with the LoRAs ink and oil of the toy in it."""
    for seed, name in ((1, "ink"), (2, "oil")):
        tensors = tensors_of("kohya", factors(TOY_DIT, seed, size=0.3), None)
        write(lora_dir(models_dir) / f"{name}.safetensors", tensors)
    return models_dir


def lora_engine(
    models: TinyModels,
    models_dir: Path,
    layout: Layout = Layout.SERIAL,
    overlap: Overlap = "off",
    size: Size = SIZE,
) -> StreamEngine:
    own = models._replace(dit=copy.deepcopy(models.dit))
    base = {name: value.clone() for name, value in own.dit.state_dict().items()}
    lora = LoraMerge(own.dit, base.__getitem__, partial(find_lora, models_dir), BUDGET_BYTES)
    return tiny_engine(own, tiny_spec({}, size, layout=layout), lora, overlap=overlap)
