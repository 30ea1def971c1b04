"""ErrandDesk: the application waits for a frame's picture; here the courier sees to it."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from sdv2_host.client.input_ring import InputRing
from sdv2_host.client.lockstep import Ground, Lockstep
from sdv2_host.client.mailbox import Errand
from sdv2_host.client.output_ring import OutputRing


class Scene(NamedTuple):
    """What of the courier an errand needs."""

    ring: InputRing | None
    """None: frames cannot go out."""
    output: OutputRing
    ground: Ground | None
    """None: the host is not ready."""
    obstacle: str
    """Why it is not, or why it may be late, for a person."""


class ErrandDesk:
    """Fields: the errand in hand; the lock-step, from its first frame until something ends it."""

    def __init__(self, errands: deque[Errand]) -> None:
        self._errands = errands
        self._errand: Errand | None = None
        self._lockstep: Lockstep | None = None

    @property
    def is_open(self) -> bool:
        """An errand waits, or a lock-step goes on between two of them."""
        return self._lockstep is not None or self.is_busy

    @property
    def is_busy(self) -> bool:
        """The application waits."""
        return self._errand is not None or bool(self._errands)

    @property
    def is_lockstep(self) -> bool:
        return self._lockstep is not None

    def end(self) -> None:
        """No lock-step goes on; the next errand begins one."""
        self._lockstep = None

    def abandon(self, reason: str) -> None:
        """Who waits, waits no more."""
        while self._errand is not None or self._errands:
            self._errand = self._errand or self._errands.popleft()
            self._fail(reason)
        self._lockstep = None

    def turn(self, scene: Scene, now: int) -> None:
        """Pictures are taken before repeats of them fill the ring; an errand goes as far as it can.

        Called also while the application renders its next frame, which may take long.
        """
        while self._lockstep is not None and (frame := scene.output.next(now)) is not None:
            self._lockstep.take(frame)
        if self._errand is None and self._errands:
            self._errand = self._errands.popleft()
        errand = self._errand
        if errand is None:
            return
        if self._lockstep is not None and self._lockstep.is_out:
            self._await(self._lockstep, errand, scene, now)
        else:
            self._send(errand, scene, now)

    def _send(self, errand: Errand, scene: Scene, now: int) -> None:
        lockstep = self._lockstep
        if lockstep is not None and (reason := lockstep.why_not(scene.ground)):
            self._fail(f"Frame {lockstep.next_frame} of the render: {reason}.")
            return
        if scene.ring is None or scene.ground is None:
            self._expire(errand, f"The render waits for its host: {scene.obstacle}", now)
            return
        if lockstep is None:
            lockstep = Lockstep(scene.ground)
            scene.ring.make_room(scene.ground.delay_frames + 2)
            scene.output.newest(now)  # what is there is of before
        ring = scene.ring
        ring.try_now()
        if not lockstep.send(errand, lambda picture, flags: ring.publish(picture, flags, now), now):
            self._expire(errand, ring.trouble, now)
            return
        self._lockstep = lockstep
        self._await(lockstep, errand, scene, now)

    def _await(self, lockstep: Lockstep, errand: Errand, scene: Scene, now: int) -> None:
        if lockstep.deliver(errand):
            self._errand = None
            return
        shown = f"Frame {lockstep.next_frame} of the render"
        if reason := lockstep.why_not(scene.ground):
            self._fail(f"{shown}: {reason}. {scene.obstacle}")
            return
        late = f"{shown}: no picture came in time. {scene.obstacle} Give it more time if it is slow"
        self._expire(errand, f"{late}; then render again.", now)

    def _expire(self, errand: Errand, reason: str, now: int) -> None:
        if now >= errand.deadline_ns:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        assert self._errand is not None, "there is one in hand"
        self._errand.finish(None, reason)
        self._errand = None
        self._lockstep = None
