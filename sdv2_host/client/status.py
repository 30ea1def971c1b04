"""Status: how a host does, as a person at the application sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from sdv2_host.types import Size

_NOTHING: Mapping[str, float] = MappingProxyType({})


class State(Enum):
    """In the order in which a start passes them, then what goes wrong."""

    NO_HOST = "no host"
    STARTING = "starting"
    WAITING = "waiting for input"
    LIVE = "live"
    PAUSED = "paused"
    HELD = "held"
    """Panic, blackout or freeze: what is shown does not follow the input."""
    LOCKSTEP = "lock-step"
    """Frames go one by one for a render; see `Courier.exchange`."""
    SLOW = "slow"
    """Frames go out, but no fresh picture came for some seconds."""
    RECOVERING = "recovering"
    SAFE = "safe"
    """The host gave its engine up and shows the input as it is."""
    FAILED = "failed"
    UNANSWERED = "unanswered"
    """The host runs, but does not answer on its OSC port."""
    HUNG = "hung"
    """The host's process is there, but gives no sign of life at all."""
    WRONG_VERSION = "wrong version"
    REFUSED = "refused"
    """The name, or what lies in the run directory, cannot be used; the sentence says why."""
    FAULT = "fault"
    """An error of the courier itself; it goes on with a fresh attachment."""
    CLOSED = "closed"


class Complaint(NamedTuple):
    """An error that the host told: of which address or origin, and the reason."""

    origin: str
    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """One snapshot. Numbers of the host are those it told last; 0 where it told none."""

    state: State
    sentence: str
    """What is wrong and what to do, for a person; one or two sentences."""
    host: str
    """The name that the courier follows."""
    running: tuple[str, ...] = ()
    """Names of all hosts of this user that run, for a menu. Looked for once a second."""
    version: str = ""
    pid: int = 0
    port: int = 0
    """Of OSC and the control page; 0 = no host."""
    page_url: str = ""
    """Of the control page, with its token."""
    detail: str = ""
    """The host's own line: what it loads, waits for, or why it failed."""
    problem: str = ""
    """What of the parameters the host cannot follow, and why."""
    input_trouble: str = ""
    """Why pictures do not go out though the wish says so; '' = they do, or none was sent."""
    fps: float = 0.0
    """Fresh pictures per second, as the host counts."""
    latency_ms: float = 0.0
    """Median, from capture to the picture on the output ring."""
    latency_p95_ms: float = 0.0
    dropped: int = 0
    """Frames that reached no picture, since the host's start."""
    spans_ms: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    """Time per stage and chunk: upload, encode, denoise, decode, download, as the engine has."""
    metrics: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    """All numbers of /sdv2/metrics/, by what follows that."""
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    """All of /sdv2/status/, by what follows that: preset, cue, recording... Lists, such as presets,
    are one text with ', ' between the names."""
    delay_frames: int | None = None
    """By how many frames a picture is later than its frame in lock-step; None = not told."""
    heartbeat_age_s: float | None = None
    """Since the host's last sign of life on OSC; None = none yet."""
    output_size: Size | None = None
    """Of the newest picture; None = none yet."""
    frames_sent: int = 0
    """Published since the input ring was opened."""
    frames_shown: int = 0
    """Fresh pictures fetched since the courier began."""
    complaints: tuple[Complaint, ...] = ()
    """The last errors that the host told, newest last, and actions that did not reach it."""
    faults: tuple[str, ...] = ()
    """Tracebacks of the courier's own errors, newest last."""
