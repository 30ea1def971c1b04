"""PictureParams: the live parameters that a chunk's picture is made with."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sdv2_host.blend import BlendMode, parse_blend
from sdv2_host.errors import ParamError
from sdv2_host.loras import LORA_MAX_CHARS, parse_loras
from sdv2_host.param_rows import Group, row, state

PROMPT_MAX_CHARS = 2000
MOTION_WINDOW_MAX_FRAMES = 64


class PictureParams(BaseModel):
    """The first part of `Params`: prompt, noise, model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(
        "watercolor painting",
        max_length=PROMPT_MAX_CHARS,
        description="What the picture should look like, in plain words: deck A. Several with "
        "weights are separated by '|': 'neon city:2 | watercolor:1'.",
        json_schema_extra=row("/sdv2/prompt", Group.PROMPT, can_fade=True),
    )
    prompt_b: str = Field(
        "",
        max_length=PROMPT_MAX_CHARS,
        description="Deck B; empty = as deck A.",
        json_schema_extra=row("/sdv2/prompt/b", Group.PROMPT, can_fade=True),
    )
    crossfade: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="From deck A (0) to deck B (1).",
        json_schema_extra=row("/sdv2/prompt/crossfade", Group.PROMPT, "", 0.01, can_fade=True),
    )
    blend_mode: BlendMode = Field(
        "linear",
        description="How several prompts become one, in decks, blends and transitions: linear = "
        "their weighted sum, slerp = along the sphere, so that halfway is no weaker a look.",
        json_schema_extra=row("/sdv2/prompt/blend_mode", Group.PROMPT),
    )
    transition: float = Field(
        0.0,
        ge=0.0,
        le=120.0,
        description="How long a new prompt takes to replace the one before; 0 = at once.",
        json_schema_extra=row(
            "/sdv2/prompt/transition", Group.PROMPT, "", 0.1, in_preset=False, is_output=True
        ),
    )
    transition_unit: Literal["seconds", "chunks"] = Field(
        "seconds",
        description="What the transition counts in.",
        json_schema_extra=state("/sdv2/prompt/transition_unit", Group.PROMPT),
    )
    recache: Literal["off", "sinks", "window"] = Field(
        "sinks",
        description="What a new prompt makes new of the frames in view: sinks = the kept ones, "
        "window = all, from the source, so that nothing of the old look is left; off = nothing.",
        json_schema_extra=row("/sdv2/prompt/recache", Group.PROMPT, in_preset=False),
    )
    recache_frames: int = Field(
        1,
        ge=0,
        le=8,
        description="Recache window: how many of the model's last frames, four pictures each, are "
        "made new. Each takes as long as denoising a chunk, once.",
        json_schema_extra=row(
            "/sdv2/prompt/recache_frames", Group.PROMPT, "frames", 1, in_preset=False
        ),
    )
    steps: int = Field(
        2,
        ge=1,
        le=4,
        description="Denoising steps per chunk: more is closer to the prompt, and slower.",
        json_schema_extra=row("/sdv2/steps", Group.MODEL, "steps", 1),
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Chooses the noise; equal seeds and inputs give equal pictures.",
        json_schema_extra=row("/sdv2/seed", Group.MODEL, "", 1),
    )
    noise_s_min: float = Field(
        0.35,
        ge=0.0,
        le=1.0,
        description="Noise for the fastest motion: lower keeps moving things intact.",
        json_schema_extra=row("/sdv2/noise/s_min", Group.NOISE, "", 0.01, can_fade=True),
    )
    noise_s_max: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="Noise for a still picture: higher gives the prompt more freedom.",
        json_schema_extra=row("/sdv2/noise/s_max", Group.NOISE, "", 0.01, can_fade=True),
    )
    motion_gain: float = Field(
        1.0,
        ge=0.0,
        le=4.0,
        description="How strongly motion lowers the noise; 0 = not at all.",
        json_schema_extra=row("/sdv2/noise/motion_gain", Group.NOISE, "", 0.05, can_fade=True),
    )
    motion_metric: Literal["pixels", "latents"] = Field(
        "pixels",
        description="What motion is measured on: pixels = the input from frame to frame, latents "
        "= what the model sees of it, where camera grain counts less.",
        json_schema_extra=row("/sdv2/noise/motion_metric", Group.NOISE),
    )
    motion_window: int = Field(
        4,
        ge=4,
        le=MOTION_WINDOW_MAX_FRAMES,
        description="For how many frames a fast movement keeps the noise down.",
        json_schema_extra=row("/sdv2/noise/motion_window", Group.NOISE, "frames", 4),
    )
    motion_reaction: float = Field(
        0.9,
        ge=0.05,
        le=1.0,
        description="How quickly the noise follows the motion: 1 = at once, less = smoothly.",
        json_schema_extra=row("/sdv2/noise/motion_reaction", Group.NOISE, "", 0.05, can_fade=True),
    )
    noise_hold: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="How much of the noise stays as it is from chunk to chunk: more flickers less, "
        "but 1 may show as a pattern that stands still; 0 = new noise for each chunk.",
        json_schema_extra=row("/sdv2/noise/hold", Group.NOISE, "", 0.05, can_fade=True),
    )
    sink_mode: Literal["auto", "fixed", "adaptive"] = Field(
        "auto",
        description="Which old frames are kept in view: fixed = the first ones, adaptive = "
        "replaced where the picture has moved on, auto = as the engine was tuned.",
        json_schema_extra=row("/sdv2/sink/mode", Group.MODEL),
    )
    sink_threshold: float = Field(
        0.2,
        ge=-1.0,
        le=1.0,
        description="Adaptive: a kept frame less similar to the newest than this is replaced.",
        json_schema_extra=row("/sdv2/sink/threshold", Group.MODEL, "", 0.01, can_fade=True),
    )
    drift: Literal["off", "watch", "act"] = Field(
        "watch",
        description="When the picture drifts from how its look began, though the source does not: "
        "watch = it is told, act = sinks are made new and a few chunks get more noise.",
        json_schema_extra=row("/sdv2/drift", Group.MODEL, in_preset=False),
    )
    lora: str = Field(
        "",
        max_length=LORA_MAX_CHARS,
        description="LoRAs merged into the model, by name and strength: 'ghibli:0.8, ink'.",
        json_schema_extra=row("/sdv2/lora", Group.MODEL),
    )
    lora_strength: float = Field(
        1.0,
        ge=0.0,
        le=2.0,
        description="Multiplies the strength of all LoRAs; 0 = the model without them.",
        json_schema_extra=row("/sdv2/lora/strength", Group.MODEL, "", 0.01),
    )

    @field_validator("lora")
    @classmethod
    def _check_lora(cls, text: str) -> str:
        try:
            parse_loras(text)
        except ParamError as error:
            raise ValueError(str(error)) from error
        return text

    @field_validator("prompt", "prompt_b")
    @classmethod
    def _check_blend(cls, text: str) -> str:
        try:
            parse_blend(text)
        except ParamError as error:
            raise ValueError(str(error)) from error
        return text
