"""What can be done beside setting parameters. The second table: ACTIONS, fed to every surface.

An action fires: by its address with no argument, a bang or anything but 0, and only once while a
fader or button holds it there. None of them is reached by a pattern: `/sdv2/*` must not panic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sdv2_host.errors import ParamError
from sdv2_host.param_rows import Group
from sdv2_host.param_table import ParamValue
from sdv2_host.picture_params import PROMPT_MAX_CHARS

NAME = re.compile(r"[\w][\w .-]{0,63}")
"""Of presets and cue lists: no path can be written with it."""
NAME_SYNTAX = "1 to 64 letters, digits, spaces, '.', '_' and '-', no '.' in front"

MAX_FADE_S = 120.0

Args = tuple[ParamValue, ...]


@dataclass(frozen=True, slots=True)
class ActionArg:
    """One argument; ones that may be left out stand last."""

    name: str
    kind: type[str] | type[int] | type[float]
    help: str
    minimum: float | None = None
    maximum: float | None = None
    is_optional: bool = False
    repeats: bool = False
    """The last two arguments may come again and again: text and weight."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """One row of the table."""

    name: str
    address: str
    group: Group
    help: str
    args: tuple[ActionArg, ...] = ()
    sets: tuple[str, ...] = ()
    """The parameters that the arguments are the values of, together: these can be asked for."""


def _action(
    name: str,
    address: str,
    group: Group,
    help_: str,
    *args: ActionArg,
    sets: tuple[str, ...] = (),
) -> ActionSpec:
    return ActionSpec(name, address, group, help_, args, sets)


_SECONDS = ActionArg("seconds", float, "Time of the fade.", 0.0, MAX_FADE_S, is_optional=True)
_TEXT = ActionArg("text", str, f"A prompt of at most {PROMPT_MAX_CHARS} characters.")


def _name(what: str, *, is_optional: bool = False) -> ActionArg:
    return ActionArg("name", str, f"Of the {what}: {NAME_SYNTAX}.", is_optional=is_optional)


_ROWS = (
    _action(
        "prompt_transition",
        "/sdv2/prompt/go",
        Group.PROMPT,
        "Deck A turns into this prompt over the time given, else over the transition.",
        _TEXT,
        ActionArg("time", float, "In the transition's unit.", 0.0, MAX_FADE_S, is_optional=True),
    ),
    _action(
        "prompt_blend",
        "/sdv2/prompt/blend",
        Group.PROMPT,
        "Deck A is these prompts with these weights, text and weight by turns.",
        _TEXT,
        ActionArg(
            "weight",
            float,
            "Relative to the others; 1 where the last one is left out.",
            0.0,
            1000.0,
            is_optional=True,
            repeats=True,
        ),
    ),
    _action(
        "noise_bounds",
        "/sdv2/noise/bounds",
        Group.NOISE,
        "Both noise bounds as one change.",
        ActionArg("s_min", float, "As /sdv2/noise/s_min.", 0.0, 1.0),
        ActionArg("s_max", float, "As /sdv2/noise/s_max.", 0.0, 1.0),
        sets=("noise_s_min", "noise_s_max"),
    ),
    _action(
        "output_size",
        "/sdv2/output/size",
        Group.OUTPUT,
        "Both sides as one change: another engine is made ready, then takes over.",
        ActionArg("width", int, "As /sdv2/output/width.", 0, 2048),
        ActionArg("height", int, "As /sdv2/output/height.", 0, 2048),
        sets=("width", "height"),
    ),
    _action(
        "engine_retry",
        "/sdv2/engine/retry",
        Group.MODEL,
        "An engine that died too often and was given up is started once more, behind the picture.",
    ),
    _action("seed_randomise", "/sdv2/seed/randomise", Group.MODEL, "A seed at random."),
    _action("panic", "/sdv2/panic", Group.SHOW, "The safe picture, at once and until resume."),
    _action(
        "resume",
        "/sdv2/resume",
        Group.SHOW,
        "Back from panic, blackout, freeze and pause to the styled picture.",
    ),
    _action(
        "snapshot", "/sdv2/snapshot", Group.SHOW, "The newest output frame to a PNG in the folder."
    ),
    _action(
        "preset_load",
        "/sdv2/preset/load",
        Group.SHOW,
        "The preset's parameters, all of them or, if one is wrong, none.",
        _name("preset"),
        _SECONDS,
    ),
    _action(
        "preset_save",
        "/sdv2/preset/save",
        Group.SHOW,
        "The present look under this name.",
        _name("preset"),
    ),
    _action("preset_next", "/sdv2/preset/next", Group.SHOW, "The preset after the last loaded."),
    _action(
        "preset_previous", "/sdv2/preset/previous", Group.SHOW, "The preset before the last loaded."
    ),
    _action(
        "look_save",
        "/sdv2/look/save",
        Group.SHOW,
        "The stream as it is now, what it remembers included, under this name; until the end.",
        _name("look"),
    ),
    _action(
        "look_recall",
        "/sdv2/look/recall",
        Group.SHOW,
        "The stream goes on from this look, with its parameters, at the next chunk.",
        _name("look"),
    ),
    _action("look_forget", "/sdv2/look/forget", Group.SHOW, "No such look.", _name("look")),
    _action("cues_load", "/sdv2/cue/load", Group.SHOW, "This cue list.", _name("cue list")),
    _action(
        "cue_go",
        "/sdv2/cue/go",
        Group.SHOW,
        "The next cue, or the one named, now.",
        ActionArg("cue", str, "Its number.", is_optional=True),
    ),
    _action("cue_back", "/sdv2/cue/back", Group.SHOW, "The cue before the present one."),
    _action("tap", "/sdv2/tempo/tap", Group.TEMPO, "A beat is now: four taps set the tempo."),
    _action("downbeat", "/sdv2/tempo/downbeat", Group.TEMPO, "A bar begins now."),
)

ACTIONS: dict[str, ActionSpec] = {row.name: row for row in _ROWS}
ACTION_BY_ADDRESS: dict[str, ActionSpec] = {row.address: row for row in _ROWS}


def check_args(spec: ActionSpec, args: Args) -> Args:
    """The arguments in the kinds that the action takes; too many are an error.

    Raises:
        ParamError: naming the argument, its value and what is allowed.
    """
    wanted = list(spec.args)
    if wanted and wanted[-1].repeats:
        pair = wanted[-2:]
        while len(wanted) < len(args):
            wanted += pair
    needed = sum(not arg.is_optional for arg in spec.args)
    if not needed <= len(args) <= len(wanted):
        names = " ".join(f"[{a.name}]" if a.is_optional else a.name for a in spec.args) or "nothing"
        raise ParamError(f"{spec.address} came with {len(args)} arguments, expected {names}")
    return tuple(_check_arg(spec, arg, value) for arg, value in zip(wanted, args, strict=False))


def _check_arg(spec: ActionSpec, arg: ActionArg, value: ParamValue) -> ParamValue:
    if arg.kind is str:
        return f"{value:g}" if isinstance(value, float) else str(value)
    where = f"{spec.address} {arg.name} = {value!r:.80}"
    low, high = arg.minimum, arg.maximum
    expected = f"{low:g}..{high:g}" if low is not None and high is not None else "a number"
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ParamError(f"{where}, expected {expected}") from None
    if not (low or 0.0) <= number <= (high if high is not None else number):
        raise ParamError(f"{where}, expected {expected}")
    return round(number) if arg.kind is int else number
