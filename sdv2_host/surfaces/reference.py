"""The address reference, generated from the tables: for docs, `osc doc` and whoever writes code."""

from __future__ import annotations

import json
from dataclasses import asdict

from sdv2_host.actions import ACTIONS, ActionSpec
from sdv2_host.param_rows import Group
from sdv2_host.param_table import NORM_ROOT, PARAMS, ParamSpec

OUT_ROWS = (
    ("/sdv2/status/heartbeat", "i", "counts once a second, from before the model is loaded"),
    ("/sdv2/status/state", "s", "starting, live, waiting, recovering, safe or failed"),
    ("/sdv2/status/detail", "s", "one line for a person"),
    ("/sdv2/status/problem", "s", "what of the parameters is not followed, and why"),
    ("/sdv2/status/live_prompt", "s", "the prompt in use"),
    ("/sdv2/status/encoding", "s", "what is being done for a newer one"),
    ("/sdv2/status/schedule", "s", "how long chunks are and why, or nothing"),
    ("/sdv2/status/slowest", "s", "the part that takes most of the latency"),
    ("/sdv2/status/limits_rate", "s", "the stage that keeps more pictures from coming, or input"),
    ("/sdv2/status/preset", "s", "the preset loaded last"),
    ("/sdv2/status/cue, next_cue, cue_list", "s", "where the show is"),
    ("/sdv2/status/recording, show, snapshot", "s", "files being written, written last"),
    ("/sdv2/status/delay_frames", "i",
     "frames, at most, that follow a frame before its picture comes; 0 while not known"),
    ("/sdv2/metrics/fps, latency_ms, latency_p95_ms, dropped, repeated, queue_depth, restarts, "
     "chunk_ms, chunk_frames, span_STAGE_ms, noise_scale, motion, threads, drift, recached", "f",
     "five times a second, floats for CHOPs"),
    ("/sdv2/metrics/budget_wait_ms, budget_upload_ms, budget_encode_ms, budget_denoise_ms, "
     "budget_decode_ms, budget_download_ms, budget_between_ms, budget_publish_ms", "f",
     "parts of the latency, means of 10 s; together they are all of it"),
    ("/sdv2/error", "s s", "address or origin, and the reason"),
    ("/sdv2/pong", "s s f", "answer to a ping: its token, version, uptime in s"),
)  # fmt: skip
ASK_ROWS = (
    (
        "/sdv2/subscribe [port] [prefix] [rate]",
        "be told all values, and changes from now on; 60 s unless anything else is sent",
    ),
    ("/sdv2/unsubscribe [port]", "no more"),
    ("/sdv2/dump", "all values once"),
    ("/sdv2/ping [token]", "a sign of life; also keeps a subscription"),
    ("/sdv2/echo corrections or all or none", "which of its own changes a subscriber hears"),
)
KINDS = {str: "s", int: "i", float: "f", bool: "T/F"}


def reference_markdown() -> str:
    """Tables by group, then what can be asked and what is sent."""
    parts = [part for group in Group for part in _group(group)]
    parts.append("### Conversation\n")
    parts.append("| send | effect |\n| --- | --- |")
    parts += [f"| `{address}` | {text} |" for address, text in ASK_ROWS]
    parts.append("\n### Sent to subscribers\n")
    parts.append("| address | type | meaning |\n| --- | --- | --- |")
    parts += [f"| `{address}` | {types} | {text} |" for address, types, text in OUT_ROWS]
    return "\n".join(parts) + "\n"


def reference_json() -> str:
    """Both tables, every field."""
    params = [{**asdict(spec), "kind": spec.kind.__name__} for spec in PARAMS.values()]
    actions = [
        {**asdict(spec), "args": [{**asdict(a), "kind": a.kind.__name__} for a in spec.args]}
        for spec in ACTIONS.values()
    ]
    return json.dumps({"params": params, "actions": actions, "norm_root": NORM_ROOT}, indent=2)


def _group(group: Group) -> list[str]:
    params = [spec for spec in PARAMS.values() if spec.group is group]
    actions = [spec for spec in ACTIONS.values() if spec.group is group]
    lines = [f"### {group.value}\n"]
    if params:
        lines.append("| address | type | range | default | unit | what it does |")
        lines.append("| --- | --- | --- | --- | --- | --- |")
        lines += [_param_row(spec) for spec in params]
        lines.append("")
    if actions:
        lines.append("| action | arguments | what it does |")
        lines.append("| --- | --- | --- |")
        lines += [_action_row(spec) for spec in actions]
        lines.append("")
    return lines


def _param_row(spec: ParamSpec) -> str:
    marks = " *Another engine takes over.*" if spec.swaps_engine else ""
    marks += "" if spec.in_preset else " Not in presets."
    default = f"`{spec.default}`" if spec.default != "" else "empty"
    cells = (
        f"`{spec.address}`",
        KINDS[spec.kind],
        spec.allowed,
        default.replace("|", "\\|"),
        spec.unit,
        f"{spec.help}{marks}",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _action_row(spec: ActionSpec) -> str:
    names = [f"[{arg.name}]" if arg.is_optional else arg.name for arg in spec.args]
    if spec.args and spec.args[-1].repeats:
        names.append("...")
    return f"| `{spec.address}` | {' '.join(names) or 'none'} | {spec.help} |"
