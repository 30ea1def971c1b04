"""The one place where an engine's name becomes an engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sdv2_host.alpha import premultiplied
from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.config import Config
from sdv2_host.cores import spin_briefly
from sdv2_host.host.output_mix import fitted
from sdv2_host.ipc.pixels import to_rgba8
from sdv2_host.models.compiled_store import CompiledStore, compiled_dir
from sdv2_host.params import Params
from sdv2_host.types import AlphaMode, Engine, Frame, Layout, ProgressFn, Shape, Size, StyledChunk


def build_engine(config: Config, progress: ProgressFn) -> Engine:
    """The engine that `config.engine` names, loaded, not yet warm. Runs in the worker.

    Imports are lazy: torch takes seconds and hundreds of MB, and passthrough must run without it.

    Raises:
        ModelError: its weights are missing or damaged.
        DeviceError: its device is missing, or too small.
    """
    if config.engine == "passthrough":
        return PassthroughEngine()
    progress(f"loading engine {config.engine}", 0.0)
    spin_briefly()  # before torch is there
    if config.is_ring:
        from sdv2_host.stages.ring_engine import build_ring_engine  # noqa: PLC0415

        return build_ring_engine(config, progress)
    if config.engine == "tiny":
        from sdv2_host.gpu.compile_choice import chosen_calls  # noqa: PLC0415
        from sdv2_host.gpu.tiny_engine import build_tiny_engine  # noqa: PLC0415

        compiled = CompiledStore(compiled_dir())
        return build_tiny_engine(
            config.size,
            config.threads,
            models_dir=config.models_dir,
            calls_of=partial(chosen_calls, config.compile, progress, compiled),
            overlap=config.overlap,
        )
    from sdv2_host.gpu.wan_engine import build_wan_engine  # noqa: PLC0415

    return build_wan_engine(config, progress)


class NoMemory:
    """Of an engine that remembers nothing."""

    can_keep = True

    def keep(self) -> NoMemory:
        return self

    def write(self, path: Path) -> None:
        path.write_bytes(b"")

    def recall(self, path: Path) -> None:
        """There is nothing to put back."""


class PassthroughEngine:
    """Gives back the pictures it was given as RGBA8: for plumbing, tests and a dry signal.

    At the size that the parameters ask for, cropped as every engine's; without one each picture is
    of its own size, untouched. Alpha that is straight comes back premultiplied. Chunked like the
    streaming models, 1 frame and then 4, so that everything around it sees the same rhythm.
    """

    name = "passthrough"
    size: Size | None = None
    first_chunk_frames = 1
    chunk_frames = 4
    layout = Layout.SERIAL
    delay_frames = 3
    most_behind = 0
    step_ms: Mapping[Shape, float] = MappingProxyType({})
    memory = NoMemory()

    def warm_up(self, params: Params, progress: ProgressFn) -> None:
        progress("passthrough needs no warm-up", 1.0)

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        del layout
        begin_ns = now_ns()
        pictures = np.stack([_picture(frame, params) for frame in frames])
        spans_ms = {"convert": (now_ns() - begin_ns) / NS_PER_MS}
        problem = "engine passthrough takes no LoRAs" if params.lora else ""
        if params.looks and params.looks[-1].verb != "forget":
            problem = "engine passthrough has no looks: it remembers nothing"
        look_serial = params.looks[-1].serial if params.looks else 0
        return StyledChunk(pictures, spans_ms, {}, problem, look_serial, carries_alpha=True)

    def collect(self) -> StyledChunk:
        return self.finish()

    def finish(self) -> StyledChunk:
        return StyledChunk(np.empty((0, 1, 1, 4), np.uint8), {}, {})

    def reset(self) -> None:
        """Nothing survives a chunk here."""


def _picture(frame: Frame, params: Params) -> NDArray[np.uint8]:
    """[H, W, 4]; a side that is not asked for is the frame's own."""
    if not params.width and not params.height:
        picture = to_rgba8(frame)
        return premultiplied(picture) if frame.meta.alpha is AlphaMode.STRAIGHT else picture
    meta = frame.meta
    return fitted(frame, Size(params.width or meta.width, params.height or meta.height))
