"""The embedded model as an engine, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from sdv2_host.cores import FreeCores, allowed_cores
from sdv2_host.gpu.cpu_threads import CpuThreads, set_threads
from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.host_memory import keep_freed_memory
from sdv2_host.gpu.overlap import Overlap
from sdv2_host.models import store
from sdv2_host.models.loras import find_lora
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.lora import NO_LORAS, BaseFn, LoraMerge, NoLoras
from sdv2_host.stream.model_calls import ModelCalls
from sdv2_host.stream.motion import MotionRule
from sdv2_host.stream.spec import DEFAULT_GEOMETRY, StreamSpec
from sdv2_host.types import Layout, Size
from sdv2_host.wan.tiny_weights import TINY_PATH, TinyModels, load_tiny

MOTION = MotionRule(latent_sigma=3.7)
"""On 16 held-out clips of 0.5 to 10 px a frame, latents of this model differ 19 times as much as
pixels do (median), and 0.2 of the pixels is the reference's sigma."""

CallsFn = Callable[[StreamModels, StreamSpec], ModelCalls]
"""Chooses how models of such a stream are called."""


class Past(Enum):
    """Which latent frames a stream of the embedded model looks back on."""

    SINKS = "sinks"
    """Sinks and window, as it was trained."""
    NO_SINKS = "no sinks"
    """The window alone: so much less."""
    LONGER_WINDOW = "longer window"
    """The window in the sinks' place as well: as much as with sinks."""


def tiny_spec(
    card: dict[str, Any],
    size: Size,
    *,
    past: Past = Past.SINKS,
    layout: Layout = Layout.SERIAL,
) -> StreamSpec:
    """The stream the embedded model was trained for, on the CPU."""
    num_sinks = int(card.get("num_sinks", DEFAULT_GEOMETRY.num_sinks))
    window = int(card.get("window", DEFAULT_GEOMETRY.window))
    geometry = {
        Past.SINKS: CacheGeometry(num_sinks, window),
        Past.NO_SINKS: CacheGeometry(0, window),
        Past.LONGER_WINDOW: CacheGeometry(0, num_sinks + window),
    }[past]
    return StreamSpec(size.height, size.width, geometry, layout, motion=MOTION)


def models_on_cpu(models: TinyModels | None = None) -> TinyModels:
    """These, None = the embedded model, as a CPU is fastest with them: convolutions have their
    channels innermost.

    Raises:
        ModelError: the model file is missing, damaged, or not this model.
    """
    models = models or load_tiny()
    models.vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return models


def build_tiny_engine(
    size: Size,
    threads: int,
    past: Past = Past.SINKS,
    layout: Layout = Layout.SERIAL,
    models_dir: str = "",
    calls_of: CallsFn | None = None,
    overlap: Overlap = "off",
) -> StreamEngine:
    """The embedded model, loaded, on the CPU. `threads` are set for the process,
    which keeps the memory it has freed; 0 = one per core that other programs leave.

    LoRAs come from `models_dir`, as `Config.models_dir` names it. `calls_of` None: the models'
    own code.

    Raises:
        ModelError: the model file is missing, damaged, or not this model.
    """
    num_threads = set_threads(threads)
    keep_freed_memory()
    models = models_on_cpu()
    spec = tiny_spec(models.card, size, past=past, layout=layout)
    find = partial(find_lora, store.models_dir(models_dir))
    lora = LoraMerge(models.dit, _embedded_weights(), find)
    cpu = CpuThreads(FreeCores(num_threads, allowed_cores())) if threads == 0 else None
    return tiny_engine(models, spec, lora, calls_of, overlap, cpu)


def tiny_engine(
    models: TinyModels,
    spec: StreamSpec,
    lora: LoraMerge | NoLoras = NO_LORAS,
    calls_of: CallsFn | None = None,
    overlap: Overlap = "off",
    cpu: CpuThreads | None = None,
) -> StreamEngine:
    """An engine of models that are loaded already."""
    parts = StreamModels(models.dit, models.vae, models.text, lora)
    if calls_of is not None:
        parts = parts._replace(calls=calls_of(parts, spec))
    return StreamEngine("tiny", parts, spec, overlap=overlap, cpu=cpu)


def _embedded_weights() -> BaseFn:
    """Reads the model file tensor by tensor: what LoRAs are added to."""
    file: Any = safe_open(str(TINY_PATH), framework="pt")

    def base(name: str) -> Tensor:
        tensor: Tensor = file.get_tensor(f"dit.{name}")
        return tensor

    return base
