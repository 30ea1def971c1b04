"""What the motion-aware noise does over a clip that is calm, fast, and calm again.

# T frames
"""

from __future__ import annotations

from typing import Any

from sdv2_host.bench.held_out import FPS, Stretch, as_seen, render_stretches, stream
from sdv2_host.bench.scores import REFERENCE_SIDE_PX
from sdv2_host.bench.world import Scene
from sdv2_host.params import Params
from sdv2_host.types import Engine

METRICS = ("pixels", "latents")
SCENE_SEED = 9_000_014
SPEED_UNITS_S = 360.0
"""A held-out scene that moves about 5 px per frame at pace 1, all the time."""
STRETCHES = (Stretch(0.02, 33), Stretch(1.5, 32), Stretch(0.02, 32))


def trace(engine: Engine, size_px: int, params: Params) -> dict[str, Any]:
    """Per chunk: exact motion, and the motion 0..1 and noise that each metric makes of it."""
    scene = Scene.random(SCENE_SEED, speed=SPEED_UNITS_S)
    sample = as_seen(render_stretches(scene, STRETCHES, size_px), SCENE_SEED, 0.0)
    scale = REFERENCE_SIDE_PX / size_px
    speed_T = sample.clip.flow_T2HW.norm(dim=1).mean(dim=(1, 2)) * scale
    rows: list[dict[str, Any]] = []
    begin, count = 0, engine.first_chunk_frames
    while begin + count <= len(speed_T):
        motion_px = float(speed_T[begin : begin + count].amax())
        rows.append({"time_s": begin / FPS, "motion_px": motion_px})
        begin, count = begin + count, engine.chunk_frames
    for metric in METRICS:
        with_metric = params.model_copy(update={"motion_metric": metric})
        notes = stream(engine, sample.pixels_THW4, with_metric).notes
        for row, note in zip(rows, notes, strict=True):
            row[metric] = {"motion": note["motion"], "noise_scale": note["noise_scale"]}
    return {
        "bounds": [params.noise_s_min, params.noise_s_max],
        "window_frames": params.motion_window,
        "gain": params.motion_gain,
        "reaction": params.motion_reaction,
        "chunks": rows,
    }
