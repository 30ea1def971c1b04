"""What subscribers are sent, when: changes once, in time, and not thrown back. Pure, clock given.

A subscriber is told all values once and then what changes, coalesced per address, the last value
always. It keeps its lease while its machine sends anything. A fader that is being moved is not
fought: for GRAB_NS after a value came from a subscriber it hears nothing about that address, then
what is in force if that is not what it sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S
from sdv2_host.control.console import Change, Console, Notice
from sdv2_host.control.osc_dispatch import Answer, Peer, shown_value
from sdv2_host.errors import ParamError
from sdv2_host.ipc.osc_encode import OutValue
from sdv2_host.param_table import BY_ADDRESS, BY_NORM_ADDRESS, NORM_ROOT, PARAMS
from sdv2_host.status import HostStatus

LEASE_NS = 60 * NS_PER_S
ONCE_NS = NS_PER_S
"""Enough to be told all."""
GRAB_NS = NS_PER_S // 5
HEARTBEAT_NS = NS_PER_S
METRICS_NS = NS_PER_S // 5
DEFAULT_RATE_HZ, MIN_RATE_HZ, MAX_RATE_HZ = 30.0, 1.0, 60.0
MAX_TARGETS = 32
MAX_PER_TURN = 64
"""Messages to one target at once: a receiver with a small socket buffer gets them all."""

STATUS_ROOT = "/sdv2/status/"
METRICS_ROOT = "/sdv2/metrics/"


class Echo(StrEnum):
    """Which of its own changes a subscriber hears back."""

    CORRECTIONS = "corrections"
    """Only where another value came into force: clamped, rounded, pushed along."""
    ALL = "all"
    NONE = "none"


class Lease(Enum):
    """How long a subscriber is one."""

    ONCE = "ONCE_NS, whatever it sends"
    RENEWED = "LEASE_NS after the newest message from its machine"
    LASTING = "until it ends: a connection, or a target that the config names"


class _Heard(NamedTuple):
    value: OutValue
    at_ns: int


@dataclass(slots=True)
class Target:
    """One subscriber. `heard` = what it sent last per address; `due` = what it shall be told, where
    None is the value that a parameter has when it is told."""

    peer: Peer
    prefix: str
    rate_hz: float
    lease: Lease
    sign_ns: int
    """When it last sent something itself, as far as can be told."""
    expires_ns: int | None
    echo: Echo = Echo.CORRECTIONS
    next_ns: int = 0
    due: dict[str, tuple[OutValue, ...] | None] = field(default_factory=dict)
    heard: dict[str, _Heard] = field(default_factory=dict)

    def wants(self, address: str) -> bool:
        if address.startswith(NORM_ROOT):
            return self.prefix.startswith(NORM_ROOT) and address.startswith(self.prefix)
        return address.startswith(self.prefix)


class Parcel(NamedTuple):
    """Messages that are due to one peer, in order."""

    peer: Peer
    messages: list[Answer]


@dataclass(slots=True)
class Feedback:
    """Fields, per process: the targets by peer; what was told last of the status; times of
    the next heartbeat and metrics; messages that found no room."""

    console: Console
    targets: dict[Peer, Target] = field(default_factory=dict)
    _told: dict[str, tuple[OutValue, ...]] = field(default_factory=dict)
    _beat: int = 0
    _next_beat_ns: int = 0
    _next_metrics_ns: int = 0

    def subscribe(
        self,
        peer: Peer,
        prefix: str,
        rate_hz: float,
        now: int,
        lease: Lease = Lease.RENEWED,
    ) -> None:
        """The peer is told everything under `prefix` once, and changes from now on.

        One that subscribes again goes on as it was: no fader in its hands is fought, and it hears
        no more often than its rate.

        Raises:
            ParamError: too many subscribers.
        """
        known = self.targets.get(peer)
        if known is None and len(self.targets) >= MAX_TARGETS:
            self._make_room(now)
        target = Target(
            peer,
            prefix,
            rate_hz=min(max(rate_hz, MIN_RATE_HZ), MAX_RATE_HZ),
            lease=known.lease if known is not None and known.lease is Lease.LASTING else lease,
            sign_ns=now,
            expires_ns=None,
        )
        if known is not None:
            target.echo, target.heard, target.next_ns = known.echo, known.heard, known.next_ns
        if target.lease is not Lease.LASTING:
            target.expires_ns = now + (ONCE_NS if target.lease is Lease.ONCE else LEASE_NS)
        self.targets[peer] = target
        self.dump(target)

    def _make_room(self, now: int) -> None:
        """A subscriber of which nothing was heard for long, though its machine is alive, is gone.

        Raises:
            ParamError: all of them are alive.
        """
        mortal = [t for t in self.targets.values() if t.lease is not Lease.LASTING]
        oldest = min(mortal, key=lambda target: target.sign_ns, default=None)
        if oldest is None or now - oldest.sign_ns < LEASE_NS:
            raise ParamError(f"/sdv2/subscribe: {MAX_TARGETS} subscribers are there already")
        del self.targets[oldest.peer]

    def unsubscribe(self, peer: Peer) -> bool:
        return self.targets.pop(peer, None) is not None

    def renew(self, sender: Peer, now: int) -> None:
        """Something came from this sender."""
        if sender in self.targets:
            self.targets[sender].sign_ns = now
        kind, host = sender.kind, sender.host  # once: this runs for each packet
        for peer, target in self.targets.items():
            if peer.host == host and peer.kind == kind and target.lease is Lease.RENEWED:
                target.expires_ns = now + LEASE_NS

    def heard(self, targets: list[Target], address: str, value: OutValue, now: int) -> None:
        """The subscriber behind these targets sent this value."""
        for target in targets:
            target.sign_ns = now
            if target.wants(address):
                target.heard[address] = _Heard(value, now)
                self._owe(target, address, None)  # what came into force may be another value

    def dump(self, target: Target) -> None:
        """The target shall be told everything it wants."""
        for address in (*BY_ADDRESS, *BY_NORM_ADDRESS):
            self._owe(target, address, None)
        for address, values in (*board_values(self.console.board).items(), *self._told.items()):
            self._owe(target, address, values)

    def on_change(self, change: Change) -> None:
        for name in change.values:
            spec = PARAMS[name]
            self._tell(spec.address, None)
            if spec.minimum is not None:
                self._tell(NORM_ROOT + spec.address.removeprefix("/sdv2/"), None)
        if change.facts:
            for address, values in board_values(self.console.board).items():
                if self._told.get(address) != values:
                    self._told[address] = values
                    self._tell(address, values)

    def on_notice(self, notice: Notice) -> None:
        if notice.level == "error":
            self._tell("/sdv2/error", (notice.origin, notice.text))

    def turn(self, status: HostStatus, now: int) -> None:
        """Heartbeat, status and metrics that are due at `now`."""
        if now >= self._next_beat_ns:
            self._next_beat_ns = now + HEARTBEAT_NS
            self._beat = (self._beat + 1) % 2**31
            self._tell(STATUS_ROOT + "heartbeat", (self._beat,))
        if now < self._next_metrics_ns:
            return
        self._next_metrics_ns = now + METRICS_NS
        for address, value in status_values(status).items():
            if self._told.get(address) != (value,):
                self._told[address] = (value,)
                self._tell(address, (value,))
        for address, number in metric_values(status).items():
            self._tell(address, (number,))

    def parcels(self, now: int) -> list[Parcel]:
        """What is to be sent at `now`; leases that ran out are over."""
        for peer, target in list(self.targets.items()):
            if target.expires_ns is not None and now > target.expires_ns:
                del self.targets[peer]
        found = [Parcel(t.peer, self._take(t, now)) for t in self.targets.values()]
        return [parcel for parcel in found if parcel.messages]

    def next_ns(self) -> int | None:
        """When `parcels` has something to send again; None = when something changes."""
        waiting = [target.next_ns for target in self.targets.values() if target.due]
        return min(waiting, default=None)

    def _tell(self, address: str, values: tuple[OutValue, ...] | None) -> None:
        for target in self.targets.values():
            self._owe(target, address, values)

    def _owe(self, target: Target, address: str, values: tuple[OutValue, ...] | None) -> None:
        if target.wants(address):
            # To the end: what changed last is told last, as it happened.
            target.due.pop(address, None)
            target.due[address] = values

    def _value(self, address: str) -> OutValue:
        is_norm = address.startswith(NORM_ROOT)
        spec = BY_NORM_ADDRESS[address] if is_norm else BY_ADDRESS[address]
        return shown_value(self.console.params, spec, is_norm)

    def _take(self, target: Target, now: int) -> list[Answer]:
        """What the target is sent now; what it is moving itself waits."""
        if now < target.next_ns or not target.due:
            return []
        taken: list[Answer] = []
        for address in list(target.due):
            if len(taken) == MAX_PER_TURN:
                break
            heard = target.heard.get(address)
            if heard is not None and target.echo is not Echo.ALL and now - heard.at_ns < GRAB_NS:
                continue
            due = target.due.pop(address)
            values = (self._value(address),) if due is None else due
            target.heard.pop(address, None)
            if heard is None or not _is_echo(target.echo, heard.value, values[0]):
                taken.append(Answer(address, values))
        target.next_ns = now + int(NS_PER_S / target.rate_hz)
        return taken


def _is_echo(echo: Echo, sent: OutValue, value: OutValue) -> bool:
    """Whether the sender need not hear this value of its own parameter."""
    if echo is Echo.CORRECTIONS and isinstance(sent, float) and isinstance(value, float):
        return math.isclose(sent, value, rel_tol=1e-6, abs_tol=1e-6)
    return echo is Echo.NONE or (echo is Echo.CORRECTIONS and sent == value)


def board_values(board: Mapping[str, object]) -> dict[str, tuple[OutValue, ...]]:
    """The facts that a surface can show: single values, and lists of texts."""
    values: dict[str, tuple[OutValue, ...]] = {}
    for key, fact in board.items():
        if isinstance(fact, str | int | float | bool):
            values[STATUS_ROOT + key] = (fact,)
        elif isinstance(fact, list):
            values[STATUS_ROOT + key] = tuple(fact)
    return values


def status_values(status: HostStatus) -> dict[str, OutValue]:
    """What is told by address of the state of the host."""
    return {
        STATUS_ROOT + "state": status.state.value,
        STATUS_ROOT + "detail": status.detail,
        STATUS_ROOT + "problem": status.problem,
        STATUS_ROOT + "encoding": status.encoding,
        STATUS_ROOT + "schedule": status.schedule,
        STATUS_ROOT + "slowest": status.budget.slowest,
        STATUS_ROOT + "limits_rate": status.budget.limits_rate,
        STATUS_ROOT + "live_prompt": status.prompt,
        STATUS_ROOT + "recording": status.recording,
        STATUS_ROOT + "delay_frames": status.delay_frames,
    }


def metric_values(status: HostStatus) -> dict[str, float]:
    """All floats: a CHOP takes nothing else."""
    metrics = {
        "fps": status.fps,
        "latency_ms": status.latency_ms.p50,
        "latency_p95_ms": status.latency_ms.p95,
        "dropped": status.dropped,
        "repeated": status.frames_repeated,
        "queue_depth": status.queue_depth,
        "restarts": status.worker_restarts,
        "chunk_ms": sum(status.spans_ms.values()),
        **{f"span_{stage}_ms": span_ms for stage, span_ms in status.spans_ms.items()},
        **{
            f"budget_{part}_ms": stage.mean
            for part, stage in status.budget.stages_ms._asdict().items()
        },
        **status.notes,
    }
    return {METRICS_ROOT + name: float(value) for name, value in metrics.items()}
