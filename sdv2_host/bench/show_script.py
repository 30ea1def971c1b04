"""What a soundcheck plays: what is done in a show, and nothing that harms. Pure: who plays it
brings the host.

Times are shares of the run, so that a run of half a minute sees all that one of an hour does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sdv2_host.config import ENGINES, EngineName
from sdv2_host.params import Params

HICCUP_S = 1.0
"""How long the engine's process is stopped: longer than any stutter of a system, far shorter than
what the host takes for a hang."""
CATCH_UP_S = 0.5
"""Until the pictures are made of frames that came after it."""
SWEEP_STEPS = 40
SWEEP_SHARE = 0.1
"""Of the run, for one fader to go up and down."""
LOOKS: dict[EngineName, tuple[str, str, tuple[str, str]]] = {
    "tiny": ("neon", "watercolor painting", ("Film Noir", "Neon Rain")),
    "wan-1.3b": (
        "neon city at night",
        "oil painting, thick strokes",
        ("Wan Oil Portrait", "Wan Clay Studio"),
    ),
    "passthrough": ("neon", "watercolor", ("Film Noir", "Neon Rain")),
}
"""Two prompts and two presets that come with the product."""


class Stage(NamedTuple):
    """What can be done to the host; each gives the line that it answered."""

    set: Callable[[dict[str, Any], float], str]
    """Values, and the seconds of the fade."""
    call: Callable[..., str]
    hiccup: Callable[[float], str]
    """The engine's process stands still for so many seconds."""
    restore: Callable[[], str]
    """All that can be set is as it was at the beginning."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done."""

    at: float
    """Share of the run, 0..1."""
    what: str
    """As the page names it; '' = not worth a line, one of many."""
    act: Callable[[Stage], str]
    halts_s: float = 0.0
    """How long no pictures can be styled for it."""


def show_script(engine: EngineName) -> list[Step]:
    """In the order of time."""
    prompt, other, presets = LOOKS.get(engine, LOOKS["wan-1.3b"])
    noise_max = Params().model_copy(update=ENGINES[engine].params).noise_s_max
    steps = [
        Step(0.06, f"prompt '{prompt}'", lambda stage: stage.set({"prompt": prompt}, 1.0)),
        *_sweep(0.14, "noise_s_max", "a fader: noise", noise_max - 0.15, noise_max),
        *_sweep(0.27, "mix", "a fader: mix", 0.5, 1.0),
        Step(
            0.40,
            "both decks, cross-faded",
            lambda stage: stage.set({"prompt_b": other, "crossfade": 1.0}, 2.0),
        ),
        Step(
            0.49,
            "back to deck A",
            lambda stage: stage.set({"crossfade": 0.0}, 1.0),
        ),
        Step(0.55, f"preset '{presets[0]}'", lambda stage: stage.call("preset_load", presets[0])),
        Step(0.64, "panic", lambda stage: stage.call("panic")),
        Step(0.68, "resume", lambda stage: stage.call("resume")),
        Step(
            0.75,
            f"engine stopped for {HICCUP_S:g} s",
            lambda stage: stage.hiccup(HICCUP_S),
            HICCUP_S + CATCH_UP_S,
        ),
        Step(0.85, f"preset '{presets[1]}'", lambda stage: stage.call("preset_load", presets[1])),
        Step(0.91, "as at the beginning, until the end", lambda stage: stage.restore()),
    ]
    return sorted(steps, key=lambda step: step.at)


def _sweep(at: float, name: str, what: str, low: float, high: float) -> Iterator[Step]:
    """A fader goes down from `high` and up again."""
    for number in range(SWEEP_STEPS + 1):
        share = abs(2 * number / SWEEP_STEPS - 1)
        value = round(low + (high - low) * share, 4)
        yield Step(
            at + SWEEP_SHARE * number / SWEEP_STEPS,
            what if number == 0 else "",
            _setting(name, value),
        )


def _setting(name: str, value: float) -> Callable[[Stage], str]:
    def act(stage: Stage) -> str:
        stage.set({name: value}, 0.0)
        return ""

    return act
