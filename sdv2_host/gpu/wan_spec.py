"""What a stream of the Wan models is: the settings of a start-up as a StreamSpec."""

from __future__ import annotations

import dataclasses
import math

import torch

from sdv2_host.config import Config
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.motion import MotionRule
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.types import Layout
from sdv2_host.wan.dims import WAN_1_3B, WAN_14B, WanDims

WAN_DIMS: dict[str, WanDims] = {"wan-1.3b": WAN_1_3B, "wan-14b": WAN_14B}
NUM_PROMPTS = {"wan-1.3b": 4, "wan-14b": 2}
"""Kept ready for the next switch; the embeddings themselves stay in the prompt bank."""
GEOMETRY = CacheGeometry(num_sinks=3, window=3)
"""streamdiffusionv2: num_kv_cache 6, num_sink_tokens 3."""
TIMESTEPS = (700.0, 500.0, 400.0, 200.0)
MOTION = MotionRule(latent_sigma=1.5)
"""Not measured: there are no published weights here. The embedded model's is 0.7 of its latents'
spread, and Wan's channels have a spread of 2.2 (WanVAEDims.latent_std)."""
REFERENCE_SINK_THRESHOLD = 0.2
REFERENCE_FIRST_CHUNK_FRAMES = 5


def wan_spec(
    config: Config, device: torch.device, dtype: torch.dtype, *, for_planning: bool = False
) -> StreamSpec:
    """The stream that `config` asks for.

    `for_planning` takes the rolling cache in both modes: equally large, and it asks the device
    nothing, which a dry run could not answer.
    """
    common = StreamSpec(
        config.height,
        config.width,
        GEOMETRY,
        Layout(config.layout),
        timesteps=TIMESTEPS[: config.num_step_rows],
        timestep_offset=100.0,
        motion=MOTION,
        num_prompts=NUM_PROMPTS.get(config.engine, 1),
        device=device,
        dtype=dtype,
    )
    if config.mode == "corrected" or for_planning:
        return common
    return reference_rules(common)


def first_chunk_frames(config: Config) -> int:
    """The reference begins with two latents; one is enough, and the first picture is there
    four frames earlier."""
    return REFERENCE_FIRST_CHUNK_FRAMES if config.mode == "reference" else 1


def reference_rules(spec: StreamSpec) -> StreamSpec:
    """The same stream with every rule as in StreamDiffusionV2."""
    return dataclasses.replace(
        spec,
        cache=CacheMode.REFERENCE,
        max_step_ratio=math.inf,
        is_first_canonical=True,
        sink_threshold=REFERENCE_SINK_THRESHOLD,
    )
