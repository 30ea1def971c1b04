"""Commands that play a running daemon: get, set, prompt, presets, cues, panic, status."""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from sdv2_host.actions import MAX_FADE_S
from sdv2_host.commands.client import Client
from sdv2_host.errors import ParamError
from sdv2_host.param_table import BY_ADDRESS, PARAMS, ParamSpec

WATCH_S = 0.5
SETUP = frozenset(("engine", "vae"))
SETUP_S = 1.0
"""Until the host has looked whether there is such an engine here."""
CLEAR = "\x1b[H\x1b[2J"


def spec_of(name: str) -> ParamSpec:
    """The parameter of this name or address. Raises: ParamError."""
    spec = PARAMS.get(name) or BY_ADDRESS.get(name)
    if spec is None:
        near = difflib.get_close_matches(name, (*PARAMS, *BY_ADDRESS), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParamError(f"unknown parameter {name!r}; {hint}sdv2-host params lists all")
    return spec


def get(client: Client, names: list[str], as_json: bool) -> None:
    """Prints the values in force. Raises: ParamError, HostError."""
    wanted = [spec_of(name).name for name in names] or list(PARAMS)
    values = client.get("/api/state")["values"]
    chosen = {name: values[name] for name in wanted}
    if as_json:
        print(json.dumps(chosen, indent=2))
    elif len(names) == 1:
        print(shown(chosen[wanted[0]]))
    else:
        for name, value in chosen.items():
            print(f"{name:20} {shown(value)}")


def set_values(client: Client, assignments: list[str], fade_s: float | None) -> int:
    """Sets NAME=VALUE ...; what is in force then. The exit code: 2 when one was refused.

    Raises:
        ParamError: no such parameter, or no '='.
    """
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ParamError(f"{assignment!r}: expected NAME=VALUE, for example steps=3")
        values[spec_of(name.strip()).name] = value.strip()
    return set_params(client, values, fade_s)


def set_params(client: Client, values: Mapping[str, str], fade_s: float | None) -> int:
    """Sets parameters by name and prints what became of it; the exit code.

    Another engine, or its autoencoder, comes later or not at all. That it is not installed is known
    within a moment, which is waited for.

    Raises: HostError.
    """
    body: dict[str, Any] = {"values": values}
    if fade_s is not None:
        check_fade(fade_s)
        body["fade"] = fade_s
    result = client.post("/api/set", body)
    for name, value in result["values"].items():
        print(f"{name} = {shown(value)}")
    for name in values.keys() - result["values"].keys() - result["errors"].keys():
        print(f"{name} waits for the beat (quantize)")
    for text in (*result["clamped"].values(), *result["errors"].values()):
        print(f"sdv2-host: {text}", file=sys.stderr)
    asked = {name: value for name, value in result["values"].items() if name in SETUP}
    if taken_back := _taken_back(client, asked):
        print(f"sdv2-host: {taken_back}", file=sys.stderr)
    return 2 if result["errors"] or taken_back else 0


def _taken_back(client: Client, asked: Mapping[str, object]) -> str:
    """Why what was asked for is not in force any more; '' = it is."""
    end_s = time.monotonic() + SETUP_S
    while asked and time.monotonic() < end_s:
        values = client.get("/api/state")["values"]
        if any(values[name] != value for name, value in asked.items()):
            return str(client.get("/api/status")["problem"]) or "somebody has set it anew"
        time.sleep(SETUP_S / 10)
    return ""


def load_preset(client: Client, preset: str, fade_s: float | None) -> str:
    """The preset is asked for; the line that says so. Raises: HostError."""
    if fade_s is None:
        return client.call("preset_load", preset)
    check_fade(fade_s)
    return client.call("preset_load", preset, fade_s)


def check_fade(seconds: float) -> None:
    """Raises: ParamError when the host would not take it."""
    if not 0 <= seconds <= MAX_FADE_S:
        raise ParamError(f"--fade {seconds:g}: expected 0..{MAX_FADE_S:g} seconds")


def shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def list_presets(client: Client, as_json: bool) -> None:
    """Prints the names, the loaded one marked."""
    board = client.get("/api/state")["board"]
    if as_json:
        print(json.dumps({"presets": board["presets"], "preset": board["preset"]}, indent=2))
        return
    for name in board["presets"]:
        changed = " (changed)" if board.get("preset_changed") else ""
        print(f"* {name}{changed}" if name == board["preset"] else f"  {name}")


def list_cues(client: Client, as_json: bool) -> None:
    """Prints the lists and the cues of the one in hand."""
    board = client.get("/api/state")["board"]
    keys = ("cue_lists", "cue_list", "cues", "cue", "next_cue")
    if as_json:
        print(json.dumps({key: board.get(key) for key in keys}, indent=2))
        return
    print(f"lists: {', '.join(board['cue_lists']) or 'none'}")
    for line in board["cues"]:
        number = line.split(" ", 1)[0]
        mark = "*" if number == board["cue"] else ">" if number == board["next_cue"] else " "
        print(f"{mark} {line}")


def status(client: Client, as_json: bool, watch: bool) -> int:
    """Prints how it goes; the exit code: 0 = live."""
    while True:
        answer = client.get("/api/status")
        if as_json:
            print(json.dumps(answer, indent=2))
        else:
            print((CLEAR if watch else "") + status_text(answer), flush=True)
        if not watch:
            return 0 if answer["state"] == "live" else 1
        time.sleep(WATCH_S)


def status_text(answer: dict[str, Any]) -> str:
    """What the command prints of the answer at /api/status."""
    size = answer["size"]
    latency = answer["latency_ms"]
    spans = ", ".join(f"{name} {ms:.1f}" for name, ms in answer["spans_ms"].items())
    lines = [
        f"{answer['name']}: {answer['state']}, {answer['detail']}",
        f"engine    {answer['engine']} at {size['width']}x{size['height']}" if size else "",
        f"prompt    {answer['prompt']}",
        f"fps       {answer['fps']:.1f}, {answer['dropped']} dropped of {answer['frames_in']}",
        f"latency   {latency['p50']:.0f} ms median, {latency['p95']:.0f} ms p95",
        *_budget_lines(answer.get("budget")),
        f"chunk     {spans} ms" if spans else "",
        f"problem   {answer['problem']}" if answer["problem"] else "",
        f"encoding  {answer['encoding']}" if answer["encoding"] else "",
        f"schedule  {answer['schedule']}" if answer.get("schedule") else "",  # older: not told
        f"recording {answer['recording']}" if answer["recording"] else "",
        f"show      recorded to {answer['show']}" if answer.get("show") else "",
        f"camera    {answer['camera']}" if answer.get("camera") else "",
        f"touch shm {answer['touch_shm']}" if answer.get("touch_shm") else "",
        f"OBS feed  {answer['obs_feed']}" if answer.get("obs_feed") else "",
        f"OBS       {answer['obs']['state']}" if answer.get("obs", {}).get("state") else "",
        f"played at port {answer['port']}: {answer['osc']['datagrams']} OSC packets, "
        f"{answer['web']['clients']} pages",
    ]
    return "\n".join(line for line in lines if line)


def _budget_lines(budget: dict[str, Any] | None) -> list[str]:
    """None: the host is older and tells none."""
    if budget is None or not budget["says"]:
        return []
    parts = [
        f"{name} {ms['p50']:.0f}/{ms['p95']:.0f}/{ms['p99']:.0f}"
        for name, ms in budget["stages_ms"].items()
        if ms["p99"] > 0
    ]
    return [f"budget    {budget['says']}", f"          p50/p95/p99 in ms: {', '.join(parts)}"]
