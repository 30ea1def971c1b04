"""Carriage: what the courier's thread does, one turn after the other. Owns rings and socket."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sdv2_host.client.attachment import Attachment
from sdv2_host.client.errand_desk import ErrandDesk, Scene
from sdv2_host.client.judgement import SILENT_S, judge
from sdv2_host.client.mailbox import Mailbox, Wish
from sdv2_host.client.output_ring import OutputRing
from sdv2_host.client.report import status_of
from sdv2_host.client.status import Complaint
from sdv2_host.clock import NS_PER_MS, NS_PER_S
from sdv2_host.ipc.osc_encode import OutValue
from sdv2_host.types import FrameFlags

ACTIVE_S = 0.002
LOCKSTEP_S = 0.0005
IDLE_S = 0.03
"""Without a host."""
JUDGE_NS = 50 * NS_PER_MS
FAULT_NS = 10 * NS_PER_S
"""For so long the status tells of an error of ours."""
MAX_LOOK = 1024
"""Addresses whose values are remembered. A host has about eighty."""
MAX_FAULTS = 5
MAX_LOST_CALLS = 5


class Fault(NamedTuple):
    """An error of ours."""

    line: str
    trace: str


class Carriage:
    """Fields, per courier: the box, the wish, the newest value of each address that the application
    set, the desk of lock-step, errors of ours; per host name: the attachment; every JUDGE_NS: the
    judgement and the status that tells it.
    """

    def __init__(self, box: Mailbox, wish: Wish, run_dir: Path | None, now: int) -> None:
        self._box = box
        self._run_dir = run_dir
        self._wish = wish
        self._look: dict[str, OutValue] = {}
        self._desk = ErrandDesk(box.errands)
        self._lost_calls: deque[Complaint] = deque(maxlen=MAX_LOST_CALLS)
        self._faults: deque[str] = deque(maxlen=MAX_FAULTS)
        self._fault = ""
        self._fault_ns = 0
        self._next_judge_ns = 0
        self._at = Attachment(wish.host, run_dir, now)
        self._judgement = judge(self._at.facts(now))
        self.status = status_of(self._at, self._judgement, now)

    def turn(self, wish: Wish, now: int) -> float:
        """Everything that can be done now is done; for how long to rest, in seconds."""
        if wish.host != self._wish.host:
            self._attach_anew(wish.host, now)
        self._wish = wish
        self._at.search.look(wish.host, now)
        # Between sighting a host and meeting it: what was asked for before it was there is taken,
        # so that none of it is sent to a host that it was not meant for.
        self._take_values()
        self._take_calls(now)
        is_new = self._at.meet(now)
        if is_new and self._at.link is not None:
            brings = {key: value for key, value in self._look.items() if key in wish.brings}
            self._at.link.put(brings)
        if self._at.link is not None:
            self._at.link.turn(now)
        self._hand_on()
        self._carry(now)
        if now >= self._next_judge_ns:
            self._next_judge_ns = now + JUDGE_NS
            self._judge(now)
        if self._desk.is_busy:
            return LOCKSTEP_S
        return ACTIVE_S if self._at.is_there else IDLE_S

    def recover(self, fault: Fault, now: int) -> None:
        """After an error of ours: all is attached anew, and the status tells."""
        self._fault, self._fault_ns = fault.line, now
        self._faults.append(fault.trace)
        self._attach_anew(self._wish.host, now)

    def close(self) -> None:
        """Rings and socket are closed, who waits is told."""
        self._desk.abandon("The courier was closed.")
        self._at.close()

    def _attach_anew(self, host: str, now: int) -> None:
        self._desk.abandon("The courier attached anew: render again.")
        old, self._at = self._at, Attachment(host, self._run_dir, now)
        self._next_judge_ns = 0
        self._lost_calls.clear()
        self._box.pictures_in.clear()
        self._box.told.clear()
        old.close()

    def _hand_on(self) -> None:
        """What the host told goes to the application, once that took what came before."""
        link = self._at.link
        if link is None or not link.told.fresh or self._box.told:
            return
        fresh, link.told.fresh = link.told.fresh, {}
        for address in self._look.keys() & fresh.keys():
            self._look[address] = fresh[address]
        self._box.told.append(fresh)

    def _take_values(self) -> None:
        values: dict[str, OutValue] = {}
        while self._box.values:
            change = self._box.values.popleft()
            values[change.address] = change.value
        for address, value in values.items():
            if address in self._look or len(self._look) < MAX_LOOK:
                self._look[address] = value
        if values and self._at.link is not None:
            self._at.link.put(values)

    def _take_calls(self, now: int) -> None:
        link = self._at.link
        while self._box.calls:
            call = self._box.calls.popleft()
            is_answered = link is not None and now - link.heard_ns <= SILENT_S * NS_PER_S
            if link is None or not is_answered or not link.call(call):
                reason = f"was not sent: host '{self._at.host}' does not answer; try again later"
                self._lost_calls.append(Complaint(call.address, reason))

    def _carry(self, now: int) -> None:
        """Pictures, both ways: one by one in a lock-step, else the newest."""
        output, ring = self._at.output, self._at.input
        if self._desk.is_busy:
            self._box.pictures_out.clear()  # given before: now the application waits
            self._box.pictures_in.clear()  # of before too: it would be shown after the render
        elif self._box.pictures_out:
            self._desk.end()
            self._publish(now)
        if output is not None and self._desk.is_open:
            self._desk.turn(self._scene(output), now)
        elif output is not None and self._wish.shows:
            frame = output.newest(now)
            if frame is not None:
                self._box.pictures_in.append(frame)
        if ring is not None:
            ring.heartbeat(now)
            if not self._wish.publishes:
                ring.give_up()

    def _scene(self, output: OutputRing) -> Scene:
        if self._wish.publishes:
            return Scene(self._at.input, output, self._at.ground, self._judgement.sentence)
        return Scene(None, output, self._at.ground, "its input is turned off here; turn it on.")

    def _publish(self, now: int) -> None:
        picture = self._box.pictures_out.popleft()
        ring = self._at.input
        if ring is not None and self._wish.publishes and self._at.is_there:
            ring.publish(picture, FrameFlags.NONE, now)

    def _judge(self, now: int) -> None:
        facts = self._at.facts(now)
        is_new = self._fault and now - self._fault_ns < FAULT_NS
        facts = replace(
            facts,
            fault=self._fault if is_new else "",
            publishes=self._wish.publishes,
            shows=self._wish.shows,
            is_lockstep=self._desk.is_lockstep,
        )
        self._judgement = judge(facts)
        status = status_of(self._at, self._judgement, now)
        self.status = replace(
            status,
            complaints=(*status.complaints, *self._lost_calls),
            faults=tuple(self._faults),
        )
