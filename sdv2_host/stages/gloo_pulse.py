"""Signs of life between neighbours: a cable that is cut, or a machine that hangs, closes no socket.

Along every link the receiving place sends a byte back four times a second. Whichever end waits
too long for the other has lost it. An idle ring has pulses too, so no length of idleness does.
"""

from __future__ import annotations

import threading
from datetime import timedelta

import torch

from sdv2_host.stages.gloo_group import GlooGroup

PULSE_S = 0.25
SILENCE = timedelta(seconds=2)
"""More than the driver allows for the pulses of a process on its channel: what hangs as a whole is
named by the driver; this is for a link that is cut while both its ends live."""

_TAG = 1 << 19
"""No packet has it."""


def send_pulses(group: GlooGroup, peer: int, stopped: threading.Event) -> None:
    """`peer` has had a byte every PULSE_S. Blocks until `stopped`.

    Raises:
        RuntimeError: the peer did not take one within SILENCE, or is gone.
    """
    pulse = torch.zeros(1, dtype=torch.uint8)
    while not stopped.wait(PULSE_S):
        group.send(pulse, peer, _TAG).wait(SILENCE)


def await_pulses(group: GlooGroup, peer: int, stopped: threading.Event) -> None:
    """Blocks until `stopped`.

    Raises:
        RuntimeError: nothing came from the peer within SILENCE, or it is gone.
    """
    pulse = torch.zeros(1, dtype=torch.uint8)
    while not stopped.is_set():
        group.receive(pulse, peer, _TAG).wait(SILENCE)
