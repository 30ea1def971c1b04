"""What happens in a soak: every order, guest and accident, at its frame. Pure; one seed, one show.

Rates are those of a busy evening, per hour of the show. Of each kind the run is cut into as many
equal parts as there are of it, with one in each part at a random frame: so every tenth of the run
has its share, and the tenths can be compared.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

SHOW_FPS = 30
"""What an hour is counted in: 108,000 frames, however fast they pass."""
FRAMES_PER_HOUR = 3600 * SHOW_FPS
USUAL_STEPS = 2


class Way(Enum):
    """How an order gets to the host."""

    UDP = "OSC over UDP"
    SIZES = "OSC 1.0 over TCP"
    SLIP = "OSC 1.1 over TCP"
    SOCKET = "WebSocket"
    HTTP = "HTTP"


class Order(NamedTuple):
    """One message."""

    address: str
    args: tuple[str | float | bool, ...] = ()


class Turn(NamedTuple):
    """Something that happens once `at_frame` frames were sent."""

    at_frame: int
    kind: str
    seed: int
    """For what whoever does it chooses himself."""
    way: Way = Way.UDP
    orders: tuple[Order, ...] = ()


class Toggle(NamedTuple):
    """What goes on and, after some frames, off."""

    per_hour: float
    address: str
    on: tuple[str | float | bool, ...]
    off: Order
    frames: tuple[int, int]
    """For how long, at least and at most."""


class Choice(NamedTuple):
    """An order that is given with one of these arguments."""

    per_hour: float
    address: str
    options: tuple[tuple[str | float | bool, ...], ...] = ((),)


PROMPTS = (
    "watercolor painting",
    "neon city at night, rain",
    "woodcut print, black and white",
    "an oil painting | comic panel:0.5",
    "stained glass",
)
NAMES = ("soak a", "soak b", "soak c")
"""Presets and looks that are made, and made anew."""
CUE_LIST = "First night"


def _switch(
    per_hour: float,
    address: str,
    frames: tuple[int, int],
    on: str | float = True,
    off: str | float = False,
) -> Toggle:
    return Toggle(per_hour, address, (on,), Order(address, (off,)), frames)


TOGGLES = {
    "freeze": _switch(40, "/sdv2/freeze", (15, 90)),
    "blackout": _switch(40, "/sdv2/blackout", (15, 90)),
    "panic": Toggle(40, "/sdv2/panic", (), Order("/sdv2/resume"), (30, 120)),
    "pause": _switch(20, "/sdv2/pause", (15, 60)),
    "record": _switch(10, "/sdv2/record", (60, 300)),
    "one step": _switch(10, "/sdv2/steps", (60, 200), 1, USUAL_STEPS),
    "three steps": _switch(10, "/sdv2/steps", (60, 200), 3, USUAL_STEPS),
    "four steps": _switch(10, "/sdv2/steps", (60, 200), 4, USUAL_STEPS),
    "schedule": _switch(10, "/sdv2/slo/mode", (90, 400), "steps", "chunks"),
    "beat": _switch(6, "/sdv2/tempo/quantize", (60, 200), "beat", "off"),
    "both lined up": _switch(30, "/sdv2/output/mix", (30, 120), 0.5, 1.0),
}


def _any_of(*options: str | float) -> tuple[tuple[str | float, ...], ...]:
    return tuple((option,) for option in options)


CHOICES = {
    "prompt": Choice(120, "/sdv2/prompt", _any_of(*PROMPTS)),
    "prompt over time": Choice(30, "/sdv2/prompt/go", tuple((text, 2.0) for text in PROMPTS)),
    "blend": Choice(20, "/sdv2/prompt/blend", tuple((text, 1.0, "ink", 0.5) for text in PROMPTS)),
    "deck b": Choice(40, "/sdv2/prompt/b", _any_of("", *PROMPTS)),
    "crossfade": Choice(60, "/sdv2/prompt/crossfade", _any_of(0.0, 0.25, 0.5, 1.0)),
    "mixing": Choice(10, "/sdv2/prompt/blend_mode", _any_of("linear", "slerp")),
    "sinks": Choice(10, "/sdv2/sink/mode", _any_of("auto", "fixed", "adaptive")),
    "recache": Choice(10, "/sdv2/prompt/recache", _any_of("off", "sinks", "window")),
    "seed": Choice(20, "/sdv2/seed", _any_of(0, 1, 77777)),
    "any seed": Choice(10, "/sdv2/seed/randomise"),
    "safe picture": Choice(6, "/sdv2/panic/safe", _any_of("input", "black", "hold")),
    "preset": Choice(60, "/sdv2/preset/load", tuple((name, 1.0) for name in NAMES)),
    "preset kept": Choice(12, "/sdv2/preset/save", _any_of(*NAMES)),
    "preset next": Choice(20, "/sdv2/preset/next"),
    "cue list": Choice(2, "/sdv2/cue/load", _any_of(CUE_LIST)),
    "cue": Choice(60, "/sdv2/cue/go"),
    "cue back": Choice(10, "/sdv2/cue/back"),
    "look kept": Choice(20, "/sdv2/look/save", _any_of(*NAMES)),
    "look again": Choice(20, "/sdv2/look/recall", _any_of(*NAMES)),
    "look forgotten": Choice(10, "/sdv2/look/forget", _any_of(*NAMES)),
    "tap": Choice(30, "/sdv2/tempo/tap"),
    "snapshot": Choice(6, "/sdv2/snapshot"),
}
"""Many of them are refused, as a preset that is not there: that is part of a busy evening."""

GUESTS: Mapping[str, float] = {
    "osc burst": 30,
    "osc malformed": 60,
    "osc connection": 60,
    "osc subscriber": 30,
    "page": 120,
    "sleeper": 12,
    "http": 240,
    "viewer": 30,
}
"""Who comes and goes, per hour. A viewer is a process that reads the output and is killed."""
SOURCE: Mapping[str, float] = {"source anew": 12, "source stalls": 12, "source size": 12}
ACCIDENTS: Mapping[str, float] = {"engine swap": 2, "worker killed": 2}

DISTURBING = frozenset(
    ("freeze", "pause", "one step", "three steps", "four steps", "schedule", *SOURCE, *ACCIDENTS)
)
"""What changes how late pictures are, for as long as it lasts: no ordinary operation."""

KINDS: Mapping[str, float] = {
    **{kind: toggle.per_hour for kind, toggle in TOGGLES.items()},
    **{kind: choice.per_hour for kind, choice in CHOICES.items()},
    **GUESTS,
    **SOURCE,
    **ACCIDENTS,
}


def plan(num_frames: int, seed: int, leave_out: frozenset[str] = frozenset()) -> list[Turn]:
    """All turns of a run of so many frames, in order; every kind comes at least once."""
    assert leave_out <= KINDS.keys(), "only what there is can be left out"
    turns: list[Turn] = []
    for kind, per_hour in KINDS.items():
        if kind in leave_out:
            continue
        # A generator of its own: what is left out changes nothing of the others.
        rng = random.Random(f"{seed} {kind}")
        count = max(1, round(per_hour * num_frames / FRAMES_PER_HOUR))
        for index in range(count):
            at_frame = int((index + rng.random()) * num_frames / count)
            turns += _turns_of(kind, at_frame, rng)
    # What would go off after the end goes off at it.
    ended = [turn._replace(at_frame=min(turn.at_frame, num_frames - 1)) for turn in turns]
    return sorted(ended, key=lambda turn: turn.at_frame)


def _turns_of(kind: str, at_frame: int, rng: random.Random) -> list[Turn]:
    """One occurrence: one turn, or two where it goes off again."""
    seed, way = rng.randrange(2**31), rng.choice(tuple(Way))
    if kind in TOGGLES:
        toggle = TOGGLES[kind]
        end_frame = at_frame + rng.randint(*toggle.frames)
        on = Turn(at_frame, kind, seed, way, (Order(toggle.address, toggle.on),))
        return [on, Turn(end_frame, f"{kind} off", seed, rng.choice(tuple(Way)), (toggle.off,))]
    if kind in CHOICES:
        choice = CHOICES[kind]
        return [
            Turn(at_frame, kind, seed, way, (Order(choice.address, rng.choice(choice.options)),))
        ]
    return [Turn(at_frame, kind, seed, way)]


CALM: Mapping[str, str | float | bool] = {
    "prompt": PROMPTS[0],
    "prompt_b": "",
    "crossfade": 0.0,
    "steps": USUAL_STEPS,
    "slo_mode": "chunks",
    "mix": 1.0,
    "record": False,
    "quantize": "off",
    "recache": "sinks",
    "sink_mode": "auto",
}
"""The parameters of a rest, in which nobody is there and nothing is asked for."""
