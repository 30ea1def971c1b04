"""What the host says of itself: to the page, the CLI, scripts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from sdv2_host.host.control import OscCounts
from sdv2_host.host.presenter import Percentiles
from sdv2_host.types import Size


class HostState(StrEnum):
    """Compares equal to its text."""

    STARTING = "starting"
    """The first worker loads and warms up."""
    LIVE = "live"
    """Fresh frames reach the output."""
    WAITING = "waiting"
    """Ready, but no input comes."""
    RECOVERING = "recovering"
    """The worker died; the output holds its last frame until the next one is ready."""
    FAILED = "failed"
    """Not recovering by itself; `detail` says why."""


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
    latency_ms: Percentiles = field(default_factory=Percentiles)
    """Capture of the input slot to publication of the output slot."""
    ttff_ms: float | None = None
    spans_ms: dict[str, float] = field(default_factory=dict)
    """Per stage and chunk, mean of the last 32 chunks."""
    notes: dict[str, float] = field(default_factory=dict)
    """What the engine decided for the newest chunk."""
    problem: str = ""
    """What of the parameters is not followed and why, the newest one; '' = nothing."""
    prompt: str = ""
    """The one in use: not that of the parameters while that one is still being encoded."""
    encoding: str = ""
    """What is being done for a newer prompt, which will follow; '' = nothing."""
    queue_depth: int = 0
    worker_restarts: int = 0
    worker_pid: int | None = None
    worker_rss_bytes: int = 0
    params_version: int = 0
    osc_port: int = 0
    osc: OscCounts = field(default_factory=OscCounts)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, numbers and texts; `latency_ms` and `size` by name."""
        fields = asdict(self)
        fields["state"] = self.state.value
        fields["latency_ms"] = self.latency_ms._asdict()
        fields["size"] = self.size._asdict() if self.size else None
        return fields
