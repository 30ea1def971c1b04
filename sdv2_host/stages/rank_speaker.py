"""How the process of a rank speaks to its driver, and how it ends."""

from __future__ import annotations

import logging
import os
from typing import NoReturn

from sdv2_host.errors import ProtocolError
from sdv2_host.host.child_side import ChildExit
from sdv2_host.stages.channel import Channel, Payload
from sdv2_host.stages.messages import FromRank, encode


def leave(code: int) -> NoReturn:
    """At once: other threads may be anywhere, in gloo or on a device."""
    logging.shutdown()
    os._exit(code)


class Speaker:
    """Says things to the driver, from any thread; ends the process when that one is gone."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def say(self, message: FromRank, payload: Payload = b"") -> None:
        try:
            self._channel.send(encode(message), payload)
        except ProtocolError:
            leave(ChildExit.ABANDONED)
