"""The parameter pages of the TouchDesigner component: our tables and the component's own rows.

`parameters.json` beside the component is made of this; the component builds its pages from it and
checks what its Python API is given. Every parameter is a row of exactly one page. An action without
needed arguments is a pulse; one with arguments is a pulse with a row for each argument before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace

from sdv2_host.actions import ACTIONS, ActionArg, ActionSpec
from sdv2_host.param_rows import Group
from sdv2_host.param_table import PARAMS, ParamSpec
from sdv2_host.params import SIDE_MULTIPLE
from sdv2_host.surfaces.layout import WIDE_RANGE
from sdv2_host.surfaces.touch_row import LEFT_OUT, Page, Row, Style
from sdv2_host.surfaces.touchdesigner_rows import OWN_ROWS

FORMAT, VERSION = "sdv2-touchdesigner", 1


GROUP_PAGES = {
    Group.PROMPT: Page.PROMPT,
    Group.NOISE: Page.NOISE,
    Group.MODEL: Page.STREAM,
    Group.OUTPUT: Page.OUTPUT,
    Group.TIMING: Page.STREAM,
    Group.TEMPO: Page.SHOW,
    Group.SHOW: Page.SHOW,
}
PARAM_PAGES = {
    "sink_mode": Page.SINKS,
    "sink_threshold": Page.SINKS,
    "drift": Page.SINKS,
    "panicked": Page.SHOW,
    "safe": Page.SHOW,
    "panic_s": Page.SHOW,
    "hold_s": Page.SHOW,
}
ACTION_PAGES = {
    "preset_load": Page.PROMPT,
    "preset_save": Page.PROMPT,
    "preset_next": Page.PROMPT,
    "preset_previous": Page.PROMPT,
    "look_save": Page.PROMPT,
    "look_recall": Page.PROMPT,
    "look_forget": Page.PROMPT,
    "snapshot": Page.OUTPUT,
}
NO_ROW_ACTIONS = {"prompt_blend", "noise_bounds"}
"""What they do, rows of parameters do: 'a:2 | b:1' as the prompt, and both bounds."""
SUGGESTED = {("preset_load", "name"): "presets", ("cues_load", "name"): "cue_lists"}
PARAM_PARS = {"engine": "Liveengine"}
"""Where the usual name is taken: `Engine` is what a host is started with."""
LABELS = {
    "Liveengine": "Engine now",
    "Engineretry": "Try engine again",
    "Seedrandomise": "Randomise seed",
    "Lora": "LoRA",
    "Lorastrength": "LoRA strength",
    "Vae": "Autoencoder",
    "Swapmode": "Engine change",
    "Swaps": "Engine change: fade (s)",
    "Latencyboundms": "Latency bound (ms)",
    "Slomode": "When too slow",
    "Prompt": "Prompt A",
    "Promptb": "Prompt B",
    "Crossfade": "Crossfade A to B",
    "Prompttransitiontext": "Next prompt",
    "Prompttransitiontime": "Next prompt: time",
    "Prompttransition": "Go to next prompt",
    "Blendmode": "Blend of prompts",
    "Recache": "New prompt renews",
    "Recacheframes": "Frames to renew",
    "Presetloadname": "Preset",
    "Presetloadseconds": "Preset: fade (s)",
    "Presetload": "Load preset",
    "Presetsavename": "Save as",
    "Presetsave": "Save preset",
    "Presetnext": "Next preset",
    "Presetprevious": "Previous preset",
    "Looksavename": "Keep look as",
    "Looksave": "Keep look",
    "Lookrecallname": "Look",
    "Lookrecall": "Recall look",
    "Lookforgetname": "Look to forget",
    "Lookforget": "Forget look",
    "Drift": "Drift watchdog",
    "Noisesmin": "Noise min (motion)",
    "Noisesmax": "Noise max (still)",
    "Noisehold": "Hold noise",
    "Mix": "Mix (dry to wet)",
    "Outputsize": "Apply size",
    "Snapshot": "Take snapshot",
    "Panicked": "Panic is on",
    "Safe": "Safe picture",
    "Panics": "Fade to safe (s)",
    "Holds": "Hold, then safe (s)",
    "Bpm": "BPM",
    "Tap": "Tap tempo",
    "Cuesloadname": "Cue list",
    "Cuesload": "Load cue list",
    "Cuegocue": "Cue number",
    "Cuego": "Go",
    "Cueback": "Back",
}
"""What a person reads, where our name alone would not tell."""
SHOW_ORDER = (
    *("Panic", "Resume", "Panicked", "Safe", "Panics", "Holds"),
    *("Cuesloadname", "Cuesload", "Cuegocue", "Cuego", "Cueback"),
    *("Bpm", "Tap", "Downbeat", "Beatsperbar", "Quantize"),
)
"""All rows of the page; what is pressed in a hurry stands first."""
SECTIONS = {
    *("Sendinput", "Lockstep", "Steps", "Targetfps", "Seedrandomise"),
    *("Transition", "Prompttransitiontext", "Presetloadname", "Presetsavename", "Presetnext"),
    *("Looksavename", "Drift"),
    *("Freeze", "Width", "Snapshot", "Cuesloadname", "Bpm", "Command", "Autostart", "Hostprocess"),
}
"""A line is drawn before these."""


def par_name(*words: str) -> str:
    """TouchDesigner's name of something of ours: 'noise_s_min' is 'Noisesmin'."""
    return "".join(words).replace("_", "").capitalize()


def touch_pages() -> dict[Page, list[Row]]:
    """All pages with their rows, in order."""
    pages: dict[Page, list[Row]] = {page: list(OWN_ROWS.get(page, ())) for page in Page}
    for spec in PARAMS.values():
        pages[PARAM_PAGES.get(spec.name, GROUP_PAGES[spec.group])].append(_param_row(spec))
    for action in ACTIONS.values():
        if action.name not in NO_ROW_ACTIONS:
            page = ACTION_PAGES.get(action.name, GROUP_PAGES[action.group])
            pages[page].extend(_action_rows(action))
    pages[Page.SHOW].sort(key=lambda row: SHOW_ORDER.index(row.par))
    return {
        page: [replace(row, begins_section=row.par in SECTIONS) for row in rows]
        for page, rows in pages.items()
    }


def touch_json() -> str:
    """`parameters.json`: the pages, every field of every row that is not its default."""
    pages = [
        {"name": page.value, "rows": [_short(row) for row in rows]}
        for page, rows in touch_pages().items()
    ]
    content = {"format": FORMAT, "version": VERSION, "pages": pages}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def touch_markdown() -> str:
    """The pages as tables, for the component's README."""
    parts = []
    for page, rows in touch_pages().items():
        parts.append(f"#### {page.value}\n")
        parts.append("| parameter | kind | range | default | what it does |")
        parts.append("| --- | --- | --- | --- | --- |")
        parts += [_markdown_row(row) for row in rows]
        parts.append("")
    return "\n".join(parts)


def _short(row: Row) -> dict[str, object]:
    blank = asdict(Row("", Style.STR, "", ""))
    needed = ("par", "style", "label", "help")
    values = asdict(row).items()
    return {key: value for key, value in values if key in needed or value != blank[key]}


def _markdown_row(row: Row) -> str:
    default = "" if row.default is None or row.default == "" else f"`{row.default}`"
    cells = (f"`{row.par}` {row.label}", row.style.value, row.allowed, default, row.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _param_row(spec: ParamSpec) -> Row:
    limits = (spec.minimum or 0.0, spec.maximum or 0.0)
    is_wide = limits[1] - limits[0] > WIDE_RANGE
    par = PARAM_PARS.get(spec.name, par_name(spec.name))
    row = Row(
        par,
        _style(spec),
        _label(par, spec.name, spec.unit),
        f"{spec.help} {spec.address}",
        spec.default,
        choices=spec.choices,
        param=spec.name,
        address=spec.address,
        is_sent_by_pulse=spec.swaps_engine and spec.kind is int,
        is_look=spec.in_preset,
        multiple=SIDE_MULTIPLE if spec.swaps_engine and spec.kind is int else 0,
        max_chars=spec.max_chars or 0,
        allowed=spec.allowed,
    )
    if spec.minimum is None or spec.maximum is None:
        return row
    slider = float(WIDE_RANGE) if is_wide else spec.maximum
    return replace(row, minimum=spec.minimum, maximum=spec.maximum, slider_maximum=slider)


def _style(spec: ParamSpec) -> Style:
    if spec.choices:
        return Style.MENU
    return {bool: Style.TOGGLE, int: Style.INT, float: Style.FLOAT, str: Style.STR}[spec.kind]


def _label(par: str, name: str, unit: str = "") -> str:
    text = name.replace("_", " ")
    made = f"{text[0].upper()}{text[1:]}" + (f" ({unit})" if unit and unit not in name else "")
    return LABELS.get(par, made)


def _action_rows(action: ActionSpec) -> Iterator[Row]:
    """The rows of the arguments, then the pulse."""
    args = [] if action.sets else [_arg_row(action, arg) for arg in action.args]
    yield from args
    yield Row(
        par_name(action.name),
        Style.PULSE,
        _label(par_name(action.name), action.name),
        f"{action.help} {action.address}",
        action=action.name,
        address=action.address,
        arg_pars=tuple(map(par_name, action.sets)) or tuple(row.par for row in args),
    )


def _arg_row(action: ActionSpec, arg: ActionArg) -> Row:
    pulse = _label(par_name(action.name), action.name)
    help_ = f"{arg.help} Goes with {pulse}, {action.address}"
    suggestions = SUGGESTED.get((action.name, arg.name), "")
    par = par_name(action.name, arg.name)
    label = _label(par, f"{pulse}: {arg.name}")
    if arg.kind is str:
        style = Style.STR_MENU if suggestions else Style.STR
        return Row(par, style, label, help_, "", suggestions=suggestions)
    assert arg.is_optional, f"{action.name} {arg.name}: no pulse says that it is left out"
    row = Row(par, Style.FLOAT, label, f"-1 = as it is set elsewhere. {help_}", LEFT_OUT)
    allowed = f"{arg.minimum:.10g}..{arg.maximum:.10g}, or {LEFT_OUT:g}"
    row = replace(row, minimum=LEFT_OUT, maximum=arg.maximum, allowed=allowed)
    return replace(row, slider_maximum=min(arg.maximum or 0.0, 20.0))
