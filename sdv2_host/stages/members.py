"""Who takes part in the ring: what is heard of the ranks goes in, what is to be done comes out.

A rank is STARTING until its models are loaded, then READY, and gone for ever when it died, fell
silent or was told off: a process that is started in its place is another rank. The ranks of the
newest epoch are its *members*. A member that is gone begins an epoch of the others at once; one
that is ready and no member is taken in as soon as the ring is formed. Either way the stream is fed
again what it owes, so nothing is lost but time.

A *slot* is a device of this machine, whose process the driver starts and starts again; ranks of
other machines have none, their agent looks after them.

Pure: no thread, no clock; all times are `clock.now_ns`, and never go back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S


@dataclass(frozen=True, slots=True)
class MemberLimits:
    """How long is waited for what, in seconds."""

    silence_s: float = 1.0
    """Of a rank that is ready; it gives a sign of life ten times as often."""
    start_silence_s: float = 90.0
    """Of one that loads: importing and reading hold the interpreter."""
    busy_s: float = 20.0
    """Of the main thread at one piece of work..."""
    busy_times: float = 5.0
    """...or so many times the longest so far, where that is longer: on a machine that is starved
    of CPU another process would not be faster."""
    form_s: float = 300.0
    """From the begin of an epoch until its ranks have begun it: blocks may come from a disk."""
    link_grace_s: float = 0.3
    """From the end of a connection between ranks to a new epoch of the same ranks: more often one
    of them has died, which is heard of within milliseconds."""
    max_deaths: int = 5
    """So many deaths within `death_window_s`, and the slot is left out."""
    death_window_s: float = 60.0
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0


class Spawn(NamedTuple):
    """A process for this slot is to be started."""

    slot: int


class Kill(NamedTuple):
    """The rank is gone; whatever is left of its process is to be ended."""

    rank: int
    reason: str


class BeginEpoch(NamedTuple):
    """These ranks form a ring from now on. In the order in which they came."""

    epoch: int
    ranks: tuple[int, ...]


class LeaveOut(NamedTuple):
    """The slot's processes die again and again: no other is started."""

    slot: int
    reason: str


class GiveUp(NamedTuple):
    """No rank is left."""

    reason: str


Order = Spawn | Kill | BeginEpoch | LeaveOut | GiveUp


class Phase(Enum):
    STARTING = "starting"
    READY = "ready"


@dataclass(slots=True)
class _Rank:
    slot: int | None
    heard_ns: int
    phase: Phase = Phase.STARTING


@dataclass(slots=True)
class _Slot:
    rank: int | None = None
    start_ns: int | None = None
    """When to start the next process; None = nothing to start."""
    is_left_out: bool = False
    deaths_ns: deque[int] = field(default_factory=deque)


class Members:
    """Told what happens, each method returns what to do about it. Lifetime: an engine.

    Fields: `_ranks` those that are not gone; `_members` of the newest epoch; `_unready` of them,
    that have not begun it yet; `_begun_ns` when it was begun; `_link_failed_ns` when its first
    connection ended, None = all stand.
    """

    def __init__(
        self,
        num_slots: int,
        *,
        now: int,
        num_joining: int = 0,
        join_wait_s: float = 0.0,
        limits: MemberLimits | None = None,
    ) -> None:
        """The first epoch waits for every slot, and `join_wait_s` for `num_joining` others."""
        self._limits = limits or MemberLimits()
        self._slots = [_Slot() for _ in range(num_slots)]
        self._num_joining = num_joining
        self._join_by_ns = now + round(join_wait_s * NS_PER_S)
        self._ranks: dict[int, _Rank] = {}
        self._members: tuple[int, ...] = ()
        self._unready: set[int] = set()
        self._begun_ns = now
        self._link_failed_ns: int | None = None
        self._link_failures_ns: deque[int] = deque()
        self._last_words = "none was started"
        self._has_given_up = False
        self.epoch = 0
        self.group = 0
        """The epoch since which the members are connected."""

    @property
    def members(self) -> tuple[int, ...]:
        """Of the newest epoch."""
        return self._members

    @property
    def is_formed(self) -> bool:
        """Every member has begun the newest epoch."""
        return bool(self._members) and not self._unready

    @property
    def num_ready(self) -> int:
        return sum(rank.phase is Phase.READY for rank in self._ranks.values())

    def start(self) -> list[Order]:
        """The first orders."""
        return [Spawn(slot) for slot in range(len(self._slots))]

    def came(self, rank: int, slot: int | None, now: int) -> list[Order]:
        """A process was started for the slot, or one of another machine joined."""
        self._ranks[rank] = _Rank(slot, now)
        if slot is not None:
            self._slots[slot].rank = rank
        return []

    def heard(self, rank: int, now: int) -> list[Order]:
        """A sign of life of one that loads."""
        one = self._ranks.get(rank)
        if one is not None:
            one.heard_ns = max(one.heard_ns, now)  # it may have said so before `deaf_until`
        return []

    def deaf_until(self, now: int) -> None:
        """Nobody could be heard before that: whoever is silent is so from here on."""
        for rank in self._ranks.values():
            rank.heard_ns = max(rank.heard_ns, now)

    def pulse(self, rank: int, now: int, busy_s: float, longest_s: float) -> list[Order]:
        """Its process lives; its main thread is at one piece of work for so long."""
        self.heard(rank, now)
        limits = self._limits
        if rank not in self._members:
            return []
        if busy_s > max(limits.busy_s, limits.busy_times * longest_s):
            return self._end(rank, f"is stuck in one piece of work for {busy_s:.0f} s", now)
        return []

    def ready(self, rank: int, now: int) -> list[Order]:
        """Its models are loaded."""
        if rank not in self._ranks:
            return []
        self.heard(rank, now)
        self._ranks[rank].phase = Phase.READY
        return self._take_in(now)

    def epoch_ready(self, rank: int, epoch: int, now: int) -> list[Order]:
        """It has the blocks of its place, and connects to its neighbours."""
        if epoch == self.epoch:
            self._unready.discard(rank)
        return self._take_in(now)

    def link_failed(self, rank: int, group: int, now: int) -> list[Order]:
        """A connection between it and a neighbour has ended."""
        if rank in self._members and group == self.group and self._link_failed_ns is None:
            self._link_failed_ns = now
        return []

    def died(self, rank: int, reason: str, now: int, *, is_final: bool = False) -> list[Order]:
        """Its process has ended, or its connection. Again for one that is gone: nothing.

        `is_final`: another one would end the same way.
        """
        if rank not in self._ranks:
            return []
        gone = self._ranks.pop(rank)
        self._last_words = reason
        orders: list[Order] = []
        if gone.slot is not None:
            orders = self._empty(gone.slot, reason, now, is_final=is_final)
        if rank in self._members:
            return orders + self._begin(now)
        return orders + self._take_in(now)

    def begin_session(self, now: int) -> list[Order]:
        """The stream begins anew with the same ranks, which stay connected."""
        self.epoch += 1
        if not self._members:
            return []
        return [BeginEpoch(self.epoch, self._members)]

    def tick(self, now: int) -> list[Order]:
        """What time brings: silence, processes to start again, rings to form anew."""
        orders: list[Order] = []
        if self._has_given_up:
            return orders
        for rank, one in list(self._ranks.items()):
            limit_s = self._silence_s(one)
            if now - one.heard_ns > limit_s * NS_PER_S:
                orders += self._end(rank, f"gave no sign of life for {limit_s:g} s", now)
        for index, slot in enumerate(self._slots):
            if slot.start_ns is not None and now >= slot.start_ns:
                slot.start_ns = None
                orders.append(Spawn(index))
        if self._unready and now - self._begun_ns > self._limits.form_s * NS_PER_S:
            newest = max(self._unready)
            orders += self._end(newest, f"did not begin in {self._limits.form_s:g} s", now)
        failed_ns = self._link_failed_ns
        if failed_ns is not None and now - failed_ns > self._limits.link_grace_s * NS_PER_S:
            orders += self._connect_anew(now)
        return orders + self._take_in(now)

    def _connect_anew(self, now: int) -> list[Order]:
        """A new epoch of the same ranks; in the end without the one that came last."""
        self._link_failures_ns.append(now)
        while self._link_failures_ns[0] < now - self._limits.death_window_s * NS_PER_S:
            self._link_failures_ns.popleft()
        if len(self._link_failures_ns) < self._limits.max_deaths or len(self._members) == 1:
            return self._begin(now)
        self._link_failures_ns.clear()
        times = self._limits.max_deaths
        return self._end(max(self._members), f"was cut off from its neighbours {times} times", now)

    def next_tick_ns(self, now: int) -> int:
        """When `tick` has something to do, if nothing happens until then."""
        due = [one.heard_ns + self._silence_s(one) * NS_PER_S for one in self._ranks.values()]
        due += [slot.start_ns for slot in self._slots if slot.start_ns is not None]
        if self._unready:
            due.append(self._begun_ns + self._limits.form_s * NS_PER_S)
        if self._link_failed_ns is not None:
            due.append(self._link_failed_ns + self._limits.link_grace_s * NS_PER_S)
        if not self._members and self._join_by_ns > now:
            due.append(self._join_by_ns)
        return round(min(due, default=now + NS_PER_S)) + 1

    def _silence_s(self, rank: _Rank) -> float:
        is_ready = rank.phase is Phase.READY
        return self._limits.silence_s if is_ready else self._limits.start_silence_s

    def _end(self, rank: int, reason: str, now: int) -> list[Order]:
        return [Kill(rank, reason), *self.died(rank, reason, now)]

    def _empty(self, index: int, reason: str, now: int, *, is_final: bool) -> list[Order]:
        """The slot's process is gone; another one is started later, or none."""
        slot, limits = self._slots[index], self._limits
        slot.rank = None
        slot.deaths_ns.append(now)
        while slot.deaths_ns[0] < now - limits.death_window_s * NS_PER_S:
            slot.deaths_ns.popleft()
        if is_final or len(slot.deaths_ns) >= limits.max_deaths:
            slot.is_left_out = True
            return [LeaveOut(index, reason)]
        delay_s = limits.first_delay_s * 4.0 ** (len(slot.deaths_ns) - 1)
        slot.start_ns = now + round(min(delay_s, limits.max_delay_s) * NS_PER_S)
        return []

    def _ready_ranks(self) -> tuple[int, ...]:
        """Those that stay, then those that are new."""
        ready = [rank for rank, one in self._ranks.items() if one.phase is Phase.READY]
        staying = [rank for rank in self._members if rank in self._ranks]
        return (*staying, *(rank for rank in ready if rank not in self._members))

    def _take_in(self, now: int) -> list[Order]:
        """An epoch with those that are ready and no members, if it is time for one."""
        if self._has_given_up:
            return []
        if self._members:
            has_newcomer = len(self._ready_ranks()) > len(self._members)
            return self._begin(now) if has_newcomer and not self._unready else []
        return self._begin(now) if self._is_time_to_begin(now) else []

    def _is_time_to_begin(self, now: int) -> bool:
        """Every slot has a rank that is ready, or never will; so have those who join, or late."""
        for slot in self._slots:
            if slot.is_left_out:
                continue
            if slot.rank is None or self._ranks[slot.rank].phase is not Phase.READY:
                return False
        joined = [one.phase for one in self._ranks.values() if one.slot is None]
        if joined.count(Phase.READY) >= self._num_joining:
            return True
        return now >= self._join_by_ns and (self.num_ready > 0 or not joined)

    def _begin(self, now: int) -> list[Order]:
        """A new epoch of all that are ready; of none, the end."""
        self._members = self._ready_ranks()
        self._unready = set(self._members)
        self._link_failed_ns = None
        self._begun_ns = now
        if not self._members:
            self._has_given_up = True
            return [GiveUp(self._last_words)]
        self.epoch += 1
        self.group = self.epoch
        return [BeginEpoch(self.epoch, self._members)]
