"""Params: what can change while the stream runs. The table of it is made of the fields' rows.

A `Params` is a frozen snapshot; `apply` makes the next one. A chunk carries the snapshot it was
made with, so no change is ever half applied.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sdv2_host.blend import Blend, BlendMode, mixed, parse_blend
from sdv2_host.errors import ParamError
from sdv2_host.look_orders import LookOrder
from sdv2_host.loras import LORA_MAX_CHARS, parse_loras
from sdv2_host.param_rows import Group, row, state

AS_STARTED: Final = "as-started"
"""The choice of an engine or autoencoder that the command line made."""
EngineChoice = Literal["as-started", "passthrough", "tiny", "wan-1.3b", "wan-14b"]
VaeChoice = Literal["as-started", "wan", "hybrid", "taehv"]

SloMode = Literal["off", "chunks", "steps", "vae", "size"]
"""What the scheduler may change: each also what stands before it; see `Params.slo_mode`."""

PROMPT_MAX_CHARS = 2000
SIDE_MULTIPLE = 16
MIN_SIDE_PX = 64
MAX_SIDE_PX = 2048
MOTION_WINDOW_MAX_FRAMES = 64


class Params(BaseModel):
    """One snapshot of the live parameters. Field order is the order in tables and pages."""

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
    engine: EngineChoice = Field(
        AS_STARTED,
        description="What makes the picture. Another one is made ready beside the one in use, "
        "which goes on until then; what is still as the one starts (noise, steps) becomes as the "
        "other starts.",
        json_schema_extra=row("/sdv2/engine", Group.MODEL, in_preset=False, swaps_engine=True),
    )
    vae: VaeChoice = Field(
        AS_STARTED,
        description="Autoencoder of a Wan engine: wan = both ways (best), hybrid = Wan encodes and "
        "TAEHV decodes, taehv = both ways (fastest).",
        json_schema_extra=row("/sdv2/vae", Group.MODEL, in_preset=False, swaps_engine=True),
    )
    mix: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="Wet and dry: 1 = the styled picture, 0 = the input, as late as the styled.",
        json_schema_extra=row(
            "/sdv2/output/mix", Group.OUTPUT, "", 0.01, can_fade=True, is_output=True
        ),
    )
    freeze: bool = Field(
        False,
        description="Hold the output on its last frame; the stream goes on behind it.",
        json_schema_extra=state("/sdv2/freeze"),
    )
    blackout: bool = Field(
        False,
        description="Black output; the stream goes on behind it.",
        json_schema_extra=state("/sdv2/blackout"),
    )
    pause: bool = Field(
        False,
        description="The model rests and takes no frames; the output holds its picture.",
        json_schema_extra=state("/sdv2/pause"),
    )
    panicked: bool = Field(
        False,
        description="The output shows the safe picture, until resume; /sdv2/panic sets it.",
        json_schema_extra=state("/sdv2/panicked"),
    )
    safe: Literal["input", "black", "hold"] = Field(
        "input",
        description="The safe picture of a panic: the input as it is, black, or the last frame.",
        json_schema_extra=state("/sdv2/panic/safe"),
    )
    panic_s: float = Field(
        0.5,
        ge=0.0,
        le=10.0,
        description="Time of the fade to the safe picture and back.",
        json_schema_extra=state("/sdv2/panic/seconds", unit="s"),
    )
    record: bool = Field(
        False,
        description="Record the output to an MP4 in the recordings folder.",
        json_schema_extra=state("/sdv2/record"),
    )
    width: int = Field(
        0,
        ge=0,
        le=MAX_SIDE_PX,
        description="Width the engine works at; 0 = as started.",
        json_schema_extra=row(
            "/sdv2/output/width",
            Group.OUTPUT,
            "px",
            SIDE_MULTIPLE,
            in_preset=False,
            swaps_engine=True,
        ),
    )
    height: int = Field(
        0,
        ge=0,
        le=MAX_SIDE_PX,
        description="Height the engine works at; 0 = as started.",
        json_schema_extra=row(
            "/sdv2/output/height",
            Group.OUTPUT,
            "px",
            SIDE_MULTIPLE,
            in_preset=False,
            swaps_engine=True,
        ),
    )
    swap_mode: Literal["beside", "replace"] = Field(
        "beside",
        description="How another engine or size comes: beside = it is made ready beside the one "
        "in use, which takes memory for both; replace = the one in use is stopped first, and the "
        "output holds its picture meanwhile.",
        json_schema_extra=state("/sdv2/swap/mode"),
    )
    swap_s: float = Field(
        0.5,
        ge=0.0,
        le=10.0,
        description="Time of the cross-fade from one engine's picture to the next one's; 0 = a "
        "cut.",
        json_schema_extra=state("/sdv2/swap/seconds", unit="s"),
    )
    target_fps: float = Field(
        0.0,
        ge=0.0,
        le=120.0,
        description="Frames per second to style at most, evenly chosen; 0 = all of the source's.",
        json_schema_extra=row("/sdv2/slo/fps", Group.TIMING, "fps", 1, in_preset=False),
    )
    latency_bound_ms: float = Field(
        0.0,
        ge=0.0,
        le=10000.0,
        description="Frames whose picture would come later than this are dropped, and chunks are "
        "chosen to keep it; 0 = no bound.",
        json_schema_extra=row("/sdv2/slo/latency_ms", Group.TIMING, "ms", 10, in_preset=False),
    )
    slo_mode: SloMode = Field(
        "chunks",
        description="What may change when the engine cannot keep the rate: nothing (off), the "
        "length and layout of chunks, then the steps too, then the VAE, then the size.",
        json_schema_extra=row("/sdv2/slo/mode", Group.TIMING, in_preset=False),
    )
    bpm: float = Field(
        120.0,
        ge=20.0,
        le=300.0,
        description="Beats per minute; /sdv2/tempo/tap sets it.",
        json_schema_extra=row(
            "/sdv2/tempo/bpm", Group.TEMPO, "bpm", 0.1, in_preset=False, is_output=True
        ),
    )
    beats_per_bar: int = Field(
        4,
        ge=1,
        le=16,
        description="Beats in a bar.",
        json_schema_extra=row(
            "/sdv2/tempo/beats_per_bar", Group.TEMPO, "", 1, in_preset=False, is_output=True
        ),
    )
    quantize: Literal["off", "beat", "bar", "2 bars", "4 bars"] = Field(
        "off",
        description="New prompts, presets and cues wait until their picture falls on the next one.",
        json_schema_extra=state("/sdv2/tempo/quantize", Group.TEMPO),
    )

    blend: Blend = ()
    """What a chunk is conditioned on, where that is no more what the decks say: during a
    transition. Not a row of the table: set by the host, `prompts_of` reads it."""

    looks: tuple[LookOrder, ...] = ()
    """The newest orders, oldest first; an engine does each once. Not a row of the table: set by
    the host, so that a look comes back with its parameters, at the same chunk."""

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


def prompts_of(params: Params) -> Blend:
    """The prompts that a chunk with these parameters is made with."""
    if params.blend:
        return params.blend
    deck_a = parse_blend(params.prompt)
    if not params.prompt_b or params.crossfade <= 0:
        return deck_a
    return mixed(deck_a, parse_blend(params.prompt_b), params.crossfade)


def allows(mode: SloMode, what: SloMode) -> bool:
    """Whether the scheduler may change `what` in this mode."""
    modes = get_args(SloMode)
    return modes.index(mode) >= modes.index(what)
