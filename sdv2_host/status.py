"""What the host says of itself: to the page, the CLI, scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host.types import Size


class Percentiles(NamedTuple):
    """Milliseconds; 0 while nothing was measured."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0

    @classmethod
    def of(cls, values_ms: Sequence[float] | NDArray[np.float64]) -> Percentiles:
        """Of all these, rounded to 0.01 ms."""
        if not len(values_ms):
            return cls()
        return cls(*(round(float(ms), 2) for ms in np.percentile(values_ms, [50, 95, 99])))


class StageMs(NamedTuple):
    """One part of the latency, in milliseconds. Means of all parts add up to the mean latency;
    percentiles do not."""

    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


class StagesMs(NamedTuple):
    """Parts of the way from the capture of a frame to its picture on the output ring: what
    `FrameBudget` says of them. Neither the camera nor the screen is in it."""

    wait: StageMs = StageMs()
    upload: StageMs = StageMs()
    encode: StageMs = StageMs()
    denoise: StageMs = StageMs()
    decode: StageMs = StageMs()
    download: StageMs = StageMs()
    between: StageMs = StageMs()
    publish: StageMs = StageMs()


class LatencyBudget(NamedTuple):
    """Of fresh pictures of the last 10 s."""

    stages_ms: StagesMs = StagesMs()
    slowest: str = ""
    """The part that takes most of the latency; '' = no picture came."""
    limits_rate: str = ""
    """Why not more pictures come: the engine's longest stage per chunk, or 'input' where it could
    make more than it is given; '' = not known."""
    says: str = ""
    """Both in one line for a person."""


@dataclass(slots=True)
class OscCounts:
    """Since the start. Every message is counted as applied, called, asked, unknown or rejected."""

    datagrams: int = 0
    bad_datagrams: int = 0
    """Not OSC at all."""
    applied: int = 0
    """Parameters set."""
    clamped: int = 0
    """Of the applied ones: out of range, set to the nearest allowed value."""
    called: int = 0
    """Actions fired."""
    asked: int = 0
    """Questions answered: a value, a ping, a subscription."""
    unknown: int = 0
    rejected: int = 0
    """A value of the wrong kind, or one that is no number."""
    refused: int = 0
    """Packets from an address that may not send."""
    too_many: int = 0
    """Connections closed because there were too many, HTTP among them."""
    slow: int = 0
    """Connections closed because they did not read what they had subscribed to."""


@dataclass(slots=True)
class WebCounts:
    """HTTP and WebSocket, since the start; each refusal by its reason."""

    requests: int = 0
    evil_host: int = 0
    evil_origin: int = 0
    no_token: int = 0
    wrong_token: int = 0
    oversized: int = 0
    flooding: int = 0
    """WebSocket clients closed for more messages than a person or a fader sends."""
    slow: int = 0
    """Clients closed because they did not read for too long."""
    late: int = 0
    """Clients closed because they did not say in time what they want: no hello, half a request."""
    too_many: int = 0
    """Clients that came when there was no more room."""
    bad_messages: int = 0
    clients: int = 0
    """WebSocket clients now."""


@dataclass(slots=True)
class ObsCounts:
    """How following OBS goes; counts are since the start."""

    state: str = ""
    """One line for a person; '' = OBS is not followed."""
    scene: str = ""
    """The scene on air, as far as is known."""
    connects: int = 0
    switches: int = 0
    """Scene switches seen."""
    triggered: int = 0
    """Of them: those that triggered a preset or a cue."""
    failed: int = 0
    """Of them: those whose preset or cue could not be had."""


class HostState(StrEnum):
    """Compares equal to its text."""

    STARTING = "starting"
    """The first worker loads and warms up."""
    LIVE = "live"
    """Fresh frames reach the output."""
    WAITING = "waiting"
    """Ready, but no input comes."""
    RECOVERING = "recovering"
    """The worker died, or does not answer; the output holds its last frame and after a while shows
    the safe picture, until new ones come."""
    SAFE = "safe"
    """The engine died too often and was given up: the input is shown as it is, nothing is styled,
    until it is tried again or another engine is chosen. `detail` says why."""
    FAILED = "failed"
    """Nothing makes pictures, and nothing will by itself; `detail` says why."""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One snapshot. Counts are since the daemon's start, over all its workers."""

    state: HostState
    detail: str
    """One line for a person: what it is waiting for, loading, or why it failed."""
    engine: str
    size: Size | None
    """Of output frames; None = not known yet."""
    fps: float = 0.0
    """Fresh frames per second on the output."""
    frames_in: int = 0
    """Frames that the source published while a worker was ready."""
    frames_out: int = 0
    """Fresh frames published."""
    frames_repeated: int = 0
    dropped: int = 0
    """Frames of the source that never reached the output."""
    cadence_gaps: int = 0
    delay_frames: int = 0
    """Further frames of the source, at most, until the picture of a frame is on the output: what a
    lock-step client reckons with. 0 while no worker is ready."""
    latency_ms: Percentiles = field(default_factory=Percentiles)
    """Capture of the input slot to publication of the output slot."""
    budget: LatencyBudget = field(default_factory=LatencyBudget)
    """Where that time goes."""
    ttff_ms: float | None = None
    spans_ms: dict[str, float] = field(default_factory=dict)
    """Per stage and chunk, mean of the last 32 chunks."""
    step_ms: dict[str, float] = field(default_factory=dict)
    """What a step takes by chunk length, layout and steps, as the warm-up measured it; what is not
    in it the engine cannot do."""
    schedule: str = ""
    """What the scheduler does to keep the rate, and why; '' = it has nothing to decide."""
    notes: dict[str, float] = field(default_factory=dict)
    """What the engine decided for the newest chunk."""
    problem: str = ""
    """What of the parameters is not followed and why, the newest one; '' = nothing."""
    prompt: str = ""
    """The one in use: not that of the parameters while that one is still being encoded."""
    encoding: str = ""
    """What is being done for a newer prompt, which will follow; '' = nothing."""
    preparing: str = ""
    """What is done for the engine that will take over; '' = none will."""
    queue_depth: int = 0
    worker_restarts: int = 0
    worker_pid: int | None = None
    worker_rss_bytes: int = 0
    params_version: int = 0
    port: int = 0
    """Of OSC, page and OSCQuery."""
    osc: OscCounts = field(default_factory=OscCounts)
    web: WebCounts = field(default_factory=WebCounts)
    recording: str = ""
    """File that the output is being recorded to; '' = none."""
    show: str = ""
    """Folder that the show itself is being recorded to, for a replay; '' = none."""
    camera: str = ""
    """What the virtual camera does; '' = there is none."""
    touch_shm: str = ""
    """What goes to and comes from TouchDesigner's Shared Mem TOPs; '' = not asked for."""
    obs_port: int = 0
    """Of the feed that OBS' Media Source reads; 0 = there is none."""
    obs_feed: str = ""
    """What that feed does."""
    obs: ObsCounts = field(default_factory=ObsCounts)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, numbers and texts; named tuples by name."""
        fields = asdict(self)
        fields["state"] = self.state.value
        fields["latency_ms"] = self.latency_ms._asdict()
        fields["budget"] = {
            **self.budget._asdict(),
            "stages_ms": {
                name: stage._asdict() for name, stage in self.budget.stages_ms._asdict().items()
            },
        }
        fields["size"] = self.size._asdict() if self.size else None
        return fields
