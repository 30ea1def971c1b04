"""No value of any parameter ends the stream, but of those that are there to hold the picture."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

from sdv2_host.param_table import PARAMS, ParamSpec, ParamValue
from tests.host.live_host import streaming_host

HOLDING = {"freeze", "blackout", "pause", "panicked"}
ENGINES = {"engine", "vae", "width", "height", "swap_mode", "swap_s"}
"""Of other engines: see test_swap."""
FILES = {"record", "record_show"}
NUM_FRESH = 6
"""More than one chunk, so that one was made with the value."""
LEAST_FPS = 1.0
"""A lower target is asked for to see next to nothing."""


def extremes(spec: ParamSpec) -> list[ParamValue]:
    if spec.choices:
        return list(spec.choices)
    if spec.kind is bool:
        return [True, False]
    if spec.kind is str:
        return ["", "x" * min(spec.max_chars or 0, 500), "neon|sepia:0.5", "\U0001f3a8"]
    assert spec.minimum is not None
    assert spec.maximum is not None
    least = LEAST_FPS if spec.name == "target_fps" else spec.minimum
    values = [spec.minimum, least, spec.maximum, (least + spec.maximum) / 2]
    if spec.kind is float:
        values += [math.nextafter(least, spec.maximum), least + (spec.step or 0.0)]
    return [spec.kind(value) for value in dict.fromkeys(values)]


def test_at_every_extreme_of_every_parameter_new_pictures_come(run_dir: Path, stream: str) -> None:
    specs = [spec for spec in PARAMS.values() if spec.name not in HOLDING | ENGINES | FILES]
    stalled: list[dict[str, ParamValue]] = []

    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            for spec in specs:
                for value in extremes(spec):
                    patch = {spec.name: value}
                    stage.daemon.console.set(patch, "test", now=True)
                    num_wanted = len(stage.fresh) + NUM_FRESH
                    try:
                        await stage.until(lambda n=num_wanted: len(stage.fresh) >= n, 10.0)
                    except TimeoutError:
                        stalled.append(patch)
                stage.daemon.console.set({spec.name: spec.default}, "test", now=True)
            assert stage.daemon.snapshot().worker_restarts == 0

    asyncio.run(run())

    assert stalled == []
