"""Courier: frames and OSC of one host, carried by a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

from sdv2_host.client.carriage import Carriage, Fault
from sdv2_host.client.mailbox import Call, Change, Errand, Mailbox, Picture, Wish
from sdv2_host.client.status import State, Status
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.errors import HostError
from sdv2_host.ipc.osc_encode import OutValue
from sdv2_host.types import Frame

CLOSE_S = 0.9
"""The thread's turn is over long before, unless the system itself hangs."""
AFTER_FAULT_S = 0.5
GRACE_S = 2.0
"""For the thread to say itself why a picture did not come."""


class LockstepError(HostError):
    """A frame of a render got no picture; the sentence says why and what to do."""


class Courier:
    """Frames and OSC of one host, for as long as it lives, dies, restarts and comes back.

    All methods are for one thread, the application's. None but `exchange` and `close` ever waits:
    they swap references with the courier's thread, which does all that can take time. It
    re-attaches for ever: no call fails because of what a host does.
    """

    def __init__(self, wish: Wish, *, run_dir: Path | None = None) -> None:
        """The thread runs. `run_dir` None: wherever hosts of this user are."""
        self._wish = wish
        self._box = Mailbox()
        self._carriage = Carriage(self._box, wish, run_dir, now_ns())
        self._is_closing = False
        # A thread of its own: rings, socket and directories are looked at every 2 ms, and a host
        # that hangs must not hold up the application's. It ends with `close`, or with the process.
        self._thread = threading.Thread(target=self._run, name=f"courier {wish.host}", daemon=True)
        self._thread.start()

    def follow(self, wish: Wish) -> None:
        """What is carried from now on. Another host name: the old host's rings are let go."""
        self._wish = wish

    def send_frame(self, picture: Picture) -> None:
        """The picture goes to the host unless a newer one comes first. Ends a lock-step.

        The array must not be written to any more; see `Picture`.
        """
        if not picture.capture_ts_ns:
            picture = picture._replace(capture_ts_ns=now_ns())
        self._box.pictures_out.append(picture)

    def newest(self) -> Frame | None:
        """The host's newest picture, if it was not taken yet.

        [H, W, 4] uint8 RGBA, contiguous, bottom row first; nobody writes to it while it is held.
        """
        with contextlib.suppress(IndexError):
            return self._box.pictures_in.popleft()
        return None

    def set(self, address: str, value: OutValue) -> None:
        """The parameter shall have this value; of several for one address the last one is sent.

        Without a host it is sent to none, unless `Wish.brings` names the address.
        """
        self._box.values.append(Change(address, value))

    def call(self, address: str, *args: OutValue) -> None:
        """The action fires once. Without a host that answers it is lost, and the status tells:
        a panic that fires minutes after it was pressed is worse than none."""
        self._box.calls.append(Call(address, args))

    def changes(self) -> list[Change]:
        """Parameters whose value the host told since the last call, each with its last value.

        All of them after a host was met, then what changes; of what was `set` here only what the
        host made another value of.
        """
        try:
            told = self._box.told.popleft()
        except IndexError:
            return []
        return [Change(address, value) for address, value in told.items()]

    def exchange(self, picture: Picture, timeout_s: float) -> Frame | None:
        """Lock-step, for renders: the picture of the frame `Status.delay_frames` calls ago.

        Waits, on purpose. The first call begins a lock-step, and waits until the host is ready.
        The first `delay_frames` calls give None; then every picture comes exactly once, in order:
        call k gives the picture of frame k - delay_frames. Frames are as those of `newest`.

        Raises:
            LockstepError: no picture within `timeout_s`; the next call begins anew.
        """
        errand = Errand(picture, now_ns() + int(timeout_s * NS_PER_S))
        self._box.errands.append(errand)
        if self._is_closing or not errand.done.wait(timeout_s + GRACE_S):
            raise LockstepError("The courier's thread has ended, so no picture can come.")
        if errand.refusal:
            raise LockstepError(errand.refusal)
        return errand.frame

    @property
    def status(self) -> Status:
        status = self._carriage.status
        if self._is_closing:
            return replace(status, state=State.CLOSED, sentence="The component is off.")
        return status

    def close(self) -> None:
        """The thread has ended, rings and socket are closed; within a second, whatever hangs."""
        self._is_closing = True
        # Python's collector may end an application's last reference to us in our own thread.
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)

    def __enter__(self) -> Courier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        carriage, fault = self._carriage, None
        while not self._is_closing:
            now = now_ns()
            try:
                if fault is not None:
                    carriage.recover(fault, now)
                    fault = None
                pause_s = carriage.turn(self._wish, now)
            # An error of ours in a thread would end the component without a word on stage: it
            # becomes the status, with its trace, and everything is attached anew.
            except Exception as error:
                fault = Fault(f"{type(error).__name__}: {error}", traceback.format_exc())
                pause_s = AFTER_FAULT_S
            time.sleep(pause_s)
        carriage.close()
