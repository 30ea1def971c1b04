"""Params: what can change while the stream runs. The table of it is made of the fields' rows.

A `Params` is a frozen snapshot; `apply` makes the next one. A chunk carries the snapshot it was
made with, so no change is ever half applied.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from pydantic import Field

from sdv2_host.blend import Blend, mixed, parse_blend
from sdv2_host.look_orders import LookOrder
from sdv2_host.param_rows import Group, row, state
from sdv2_host.picture_params import PictureParams

AS_STARTED: Final = "as-started"
"""The choice of an engine or autoencoder that the command line made."""
EngineChoice = Literal["as-started", "passthrough", "tiny", "wan-1.3b", "wan-14b"]
VaeChoice = Literal["as-started", "wan", "hybrid", "taehv"]

SloMode = Literal["off", "chunks", "steps", "vae", "size"]
"""What the scheduler may change: each also what stands before it; see `Params.slo_mode`."""

SIDE_MULTIPLE = 16
MIN_SIDE_PX = 64
MAX_SIDE_PX = 2048


class Params(PictureParams):
    """One snapshot of the live parameters. Field order is the order in tables and pages: what a
    picture is made with, then engine, output, timing and tempo."""

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
        description="The safe picture, of a panic and while the model makes none: the input as it "
        "is, black, or the last frame.",
        json_schema_extra=state("/sdv2/panic/safe"),
    )
    panic_s: float = Field(
        0.5,
        ge=0.0,
        le=10.0,
        description="Time of the fade to the safe picture and back.",
        json_schema_extra=state("/sdv2/panic/seconds", unit="s"),
    )
    hold_s: float = Field(
        2.0,
        ge=0.0,
        le=3600.0,
        description="While the model makes no pictures the output holds its last one for so long, "
        "then fades to the safe picture until it does; 0 = at once. Where the safe picture is "
        "hold, it is held throughout.",
        json_schema_extra=state("/sdv2/recover/hold_s", unit="s"),
    )
    record: bool = Field(
        False,
        description="Record the output to an MP4 in the recordings folder.",
        json_schema_extra=state("/sdv2/record"),
    )
    record_show: bool = Field(
        False,
        description="Record the show itself: input frames and every change, for sdv2-host replay, "
        "which makes its pictures again, the same or larger.",
        json_schema_extra=state("/sdv2/record/show"),
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
        "in use, which takes memory for both; replace = the one in use is stopped first; what the "
        "output shows meanwhile /sdv2/recover/hold_s says.",
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
        description="Frames whose picture would come later than this are dropped where newer ones "
        "can take their place, and chunks are chosen to keep it; 0 = no bound.",
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

    show: str = ""
    """Folder that the show is recorded to; '' = none. Not a row of the table: named by the host."""

    looks: tuple[LookOrder, ...] = ()
    """The newest orders, oldest first; an engine does each once. Not a row of the table: set by
    the host, so that a look comes back with its parameters, at the same chunk."""


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
