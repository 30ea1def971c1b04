"""What `bench multi` compares on real devices: the ring of the product, and a stream on one.

Every setup is made anew for each of its turns, and nothing of it is left afterwards: devices may
have no room for two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch

from sdv2_host.bench.pipeline import source_frames
from sdv2_host.config import Config
from sdv2_host.gpu.banked_text import banked_text
from sdv2_host.gpu.cpu_threads import set_threads
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.tiny_engine import models_on_cpu, tiny_spec
from sdv2_host.gpu.wan_models import Placement, WanFamily, installed_files, load_models
from sdv2_host.gpu.wan_spec import WAN_DIMS, wan_spec
from sdv2_host.host.engines import build_engine
from sdv2_host.params import Params
from sdv2_host.stages.ring_engine import RingEngine, build_ring_engine
from sdv2_host.stages.work import Route
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Engine, Layout, ProgressFn
from sdv2_host.wan.dims import FRAMES_PER_LATENT


class Kind(Enum):
    BARE = "bare pipeline"
    """StreamPipeline on tensors: no frames come in, no pictures go out."""
    SERIAL = "engine, serial"
    BATCH = "engine, batch"
    RING = "ring"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True)
class Setup:
    """One row of the comparison."""

    kind: Kind
    num_devices: int
    threads: int
    """Of each process, on a CPU."""

    @property
    def label(self) -> str:
        devices = f"{self.num_devices} device{'s' if self.num_devices > 1 else ''}"
        return (
            f"{self.kind.value}, {devices}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        )


class Subject(NamedTuple):
    """A stream that can be measured."""

    step: Callable[[], int]
    """Gives one chunk; how many frames have come out."""
    finish: Callable[[], int]
    """Waits for all that is owed; how many frames have come out."""
    ring: RingEngine | None = None


def setups_of(
    devices: tuple[str, ...], threads: int, routes: tuple[Route, ...]
) -> tuple[Setup, ...]:
    """One device as the product runs it, on a CPU also with the threads of all; then more."""
    most = len(devices)
    found = [Setup(kind, 1, threads) for kind in (Kind.BARE, Kind.SERIAL, Kind.BATCH)]
    if devices[0] == "cpu" and most > 1:
        found += [Setup(kind, 1, threads * most) for kind in (Kind.SERIAL, Kind.BATCH)]
    for route in routes:
        kind = Kind.RING if route is Route.RING else Kind.CHAIN
        found += [Setup(kind, count, threads) for count in range(1, most + 1)]
    return tuple(found)


@contextmanager
def opened(setup: Setup, config: Config, params: Params, progress: ProgressFn) -> Iterator[Subject]:
    """The setup, at the begin of a session; its first chunks warm it up.

    Raises:
        HostError: a model or a device is missing, or memory is short.
    """
    names = config.ring_devices
    one = config.model_copy(
        update={"devices": "", "join_listen": "", "device": names[0], "threads": setup.threads}
    )
    if setup.kind is Kind.BARE:
        yield bare_subject(one, params, progress)
    elif setup.kind in {Kind.SERIAL, Kind.BATCH}:
        layout = Layout.BATCH if setup.kind is Kind.BATCH else Layout.SERIAL
        engine = build_engine(one.model_copy(update={"layout": layout.value}), progress)
        # Not warmed up: that measures every layout and length, and chunks that do not count follow.
        yield engine_subject(engine, params, layout)
    else:
        update = {
            "devices": ",".join(names[: setup.num_devices]),
            "route": setup.kind.value,
            "threads": setup.threads,
        }
        ring = build_ring_engine(config.model_copy(update=update), progress)
        try:
            ring.warm_up(params, progress)
            yield engine_subject(ring, params, None)._replace(ring=ring)
        finally:
            ring.close()


def engine_subject(engine: Engine, params: Params, layout: Layout | None) -> Subject:
    """The engine, given frames of its own size: larger ones would take a part of a small model's
    time to travel."""
    assert engine.size is not None, "a model has a size"
    frames = source_frames(engine.size)
    count = engine.chunk_frames
    turn = iter(range(1 << 62))

    def step() -> int:
        first = next(turn) * count % len(frames)
        return len(engine.step(frames[first : first + count], params, layout).frames)

    engine.step(frames[: engine.first_chunk_frames], params, layout)
    return Subject(step, lambda: len(engine.finish().frames))


def bare_subject(config: Config, params: Params, progress: ProgressFn) -> Subject:
    """The pipeline alone, serial. Each step waits for its pictures to be made."""
    models, spec = device_models(config, progress)
    pipeline = StreamPipeline(models.dit, models.vae, models.text, spec)
    state = pipeline.fresh_state()
    shape = (1, FRAMES_PER_LATENT, 3, spec.height_px, spec.width_px)
    frames_BTCHW = (torch.rand(shape) * 2 - 1).to(spec.device, spec.dtype)

    def step() -> int:
        styled_BTCHW = pipeline.step(state, frames_BTCHW, params)
        styled_BTCHW.flatten()[0].item()
        return FRAMES_PER_LATENT

    pipeline.step(state, frames_BTCHW[:, :1], params)
    for _ in range(spec.geometry.num_slots):
        step()
    return Subject(step, lambda: 0)


def device_models(config: Config, progress: ProgressFn) -> tuple[StreamModels, StreamSpec]:
    """The models of `config` on its one device, and their stream.

    Raises:
        HostError: a model or a device is missing.
    """
    set_threads(config.threads)
    if config.engine == "tiny":
        tiny = models_on_cpu()
        return StreamModels(tiny.dit, tiny.vae, tiny.text), tiny_spec(tiny.card, config.size)
    place = Placement.of(config)
    family = WanFamily(WAN_DIMS[config.engine])
    models = load_models(config.vae, installed_files(config), family, place, progress)
    models = models._replace(text=banked_text(config, place.dtype))
    return models, wan_spec(config, place.device, place.dtype)
