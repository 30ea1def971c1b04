"""Courier: frames and OSC of one host, carried by a thread of its own."""

from __future__ import annotations

from pathlib import Path

from sdv2_host.client.mailbox import Call, Change, Mailbox, Picture, Wish
from sdv2_host.client.status import State, Status
from sdv2_host.errors import HostError
from sdv2_host.ipc.osc_encode import OutValue
from sdv2_host.types import Frame


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
        self._status = Status(State.NO_HOST, "", wish.host)

    def follow(self, wish: Wish) -> None:
        """What is carried from now on. Another host name: the old host's rings are let go."""
        self._wish = wish

    def send_frame(self, picture: Picture) -> None:
        """The picture goes to the host unless a newer one comes first. Ends a lock-step.

        The array must not be written to any more; see `Picture`.
        """
        self._box.pictures_out.append(picture)

    def newest(self) -> Frame | None:
        """The host's newest picture, if it was not taken yet.

        [H, W, 4] uint8 RGBA, contiguous, bottom row first; nobody writes to it while it is held.
        """
        try:
            return self._box.pictures_in.popleft()
        except IndexError:
            return None

    def set(self, address: str, value: OutValue) -> None:
        """The parameter shall have this value; of several for one address the last one is sent."""
        self._box.values.append(Change(address, value))

    def call(self, address: str, *args: OutValue) -> None:
        """The action fires once. Without a host that answers it is lost, and the status tells:
        a panic that fires minutes after it was pressed is worse than none."""
        self._box.calls.append(Call(address, args))

    def changes(self) -> list[Change]:
        """Parameters whose value the host told since the last call, each with its last value."""
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
        raise NotImplementedError

    @property
    def status(self) -> Status:
        return self._status

    def close(self) -> None:
        """The thread has ended, rings and socket are closed; within a second, whatever hangs."""
