"""StatusBoard: what the component shows of its state, ten times a second and only what changed.

The table `status` holds one row per fact; `metrics` is a Script CHOP whose channels are numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import td

import sdv2_host
from sdv2_host.client.status import State, Status
from sdv2_host.types import STAGES as PARTS

LIVE_STATES = {State.LIVE, State.LOCKSTEP}
STAGES = ("upload", "encode", "denoise", "decode", "download")
NUMBERS = (
    *("fps", "latency_ms", "latency_p95_ms", "dropped", "heartbeat", "live", "delay_frames"),
    *("input_fps", "output_fps"),
    *(f"{stage}_ms" for stage in STAGES),
    *(f"budget_{part}_ms" for part in PARTS),
)
FACTS = (
    *("state", "sentence", "host", "version", "error", "detail", "problem", "input"),
    *("transfer", "process", "slowest", "limits_rate"),
    *("preset", "cue", "next_cue", "cue_list", "live_prompt", "recording", "show", "snapshot"),
)


@dataclass(frozen=True, slots=True)
class Extra:
    """What the component knows besides the courier."""

    transfer: str
    """How pictures go, and why."""
    process: str
    """How the daemon does that was started here; '' = none was."""
    input_fps: float = 0.0
    output_fps: float = 0.0


def numbers_of(status: Status, extra: Extra) -> dict[str, float]:
    """The channels of `metrics`, always all of them."""
    found = {
        "fps": status.fps,
        "latency_ms": status.latency_ms,
        "latency_p95_ms": status.latency_p95_ms,
        "dropped": float(status.dropped),
        "heartbeat": float(status.facts.get("heartbeat", 0)),
        "live": float(status.state in LIVE_STATES),
        "delay_frames": float(status.delay_frames or 0),
        "input_fps": extra.input_fps,
        "output_fps": extra.output_fps,
        **{f"{stage}_ms": status.spans_ms.get(stage, 0.0) for stage in STAGES},
        **{name: status.metrics.get(name, 0.0) for name in (f"budget_{part}_ms" for part in PARTS)},
    }
    return {name: found[name] for name in NUMBERS}


def facts_of(status: Status, extra: Extra) -> dict[str, str]:
    """The rows of the table `status`, always all of them."""
    found = {
        "state": status.state.value,
        "sentence": status.sentence,
        "host": status.host,
        "version": status.version,
        "error": _error(status),
        "detail": status.detail,
        "problem": status.problem,
        "input": status.input_trouble,
        "transfer": extra.transfer,
        "process": extra.process,
    }
    return {name: found[name] if name in found else _told(status, name) for name in FACTS}


def _error(status: Status) -> str:
    """The last one that the host told, with what it is about."""
    if not status.complaints:
        return ""
    # The reason first: a parameter shows the beginning of a long text only. The rest says who
    # asked, which may be another surface.
    origin, text = status.complaints[-1]
    return f"{text} ({origin})"


def _told(status: Status, name: str) -> str:
    return str(status.facts.get(name, ""))


@dataclass(slots=True)
class StatusBoard:
    """Fields, per extension: the operators it writes to, and what they show."""

    owner: td.COMP
    _numbers: Mapping[str, float] = field(default_factory=dict)
    _facts: Mapping[str, str] = field(default_factory=dict)

    def show(self, status: Status, extra: Extra) -> None:
        """Table, channels and read-only parameters say this."""
        facts, numbers = facts_of(status, extra), numbers_of(status, extra)
        if facts != self._facts:
            self._write(facts)
        if numbers != self._numbers:
            self._numbers = numbers
            self.owner.opex("metrics").cook(force=True)
        _set_text(self.owner, "Status", facts["sentence"] or facts["state"])
        _set_text(self.owner, "Lasterror", facts["error"])
        _set_text(self.owner, "Hostversion", facts["version"])
        _set_text(self.owner, "Hostprocess", facts["process"])
        _set_text(self.owner, "Version", sdv2_host.__version__)
        delay = self.owner.par.Lockstepdelay
        if delay.eval() != (status.delay_frames or 0):
            delay.val = status.delay_frames or 0

    def cook_metrics(self, script_chop: td.scriptCHOP) -> None:
        """The channels, called inside the Script CHOP's cook."""
        script_chop.clear()
        script_chop.isTimeSlice = False
        script_chop.numSamples = 1
        for name in NUMBERS:
            script_chop.appendChan(name)[0] = self._numbers.get(name, 0.0)

    def _write(self, facts: Mapping[str, str]) -> None:
        table = self.owner.opex("status")
        assert isinstance(table, td.DAT), "status is no DAT any more"
        for name in FACTS:
            if facts[name] != self._facts.get(name):
                table[name, 1] = facts[name]
        self._facts = facts


def _set_text(owner: td.COMP, name: str, text: str) -> None:
    par = owner.par[name]
    assert par is not None, f"the component has lost its parameter {name}"
    if par.eval() != text:
        par.val = text
