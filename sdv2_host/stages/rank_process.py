"""The process of one rank: started by the driver, or by an agent on another machine.

Connects to the driver, loads its part of the models, and then does what it is told. Ends with the
connection, whatever it is doing, so that nothing is left of a ring whose driver is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import NoReturn

from sdv2_host.errors import HostError, ProtocolError
from sdv2_host.host.child_side import ChildExit, die_with_daemon
from sdv2_host.stages.channel import connect_to_driver
from sdv2_host.stages.messages import MAX_TEXT_CHARS, Failed
from sdv2_host.stages.nccl_group import ChoosePayloadGroup, payload_group_of
from sdv2_host.stages.rank_speaker import Speaker, leave
from sdv2_host.stages.rank_ticket import Ticket
from sdv2_host.stages.rank_work import RankWork

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 1 << 30
"""A chunk of 12 frames of 3840x2160 with 16 bits is 800 MB."""


def run_rank(ticket: Ticket, choose_direct: ChoosePayloadGroup = payload_group_of) -> NoReturn:
    """The whole life of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides when this one stops
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("SDV2_LOG", "WARNING").upper(),
        format=f"%(levelname)s rank on {ticket.device}: %(message)s",
    )
    die_with_daemon(True)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        channel = connect_to_driver(ticket.address, ticket.token, MAX_PAYLOAD_BYTES)
    except ProtocolError as error:
        log.error("%s", error)
        leave(ChildExit.FAILED)
    driver = Speaker(channel)
    try:
        RankWork(ticket, channel, driver, choose_direct).run()
    except HostError as error:
        driver.say(Failed(error=type(error).__name__, message=str(error)[:MAX_TEXT_CHARS]))
    except Exception as error:  # the edge of this process: whatever it is, the driver must know
        log.exception("failed")
        text = str(error) or type(error).__name__
        driver.say(Failed(error=type(error).__name__, message=text[:MAX_TEXT_CHARS]))
    leave(ChildExit.FAILED)


def _end_with_parent() -> None:
    """Not only with the driver: an agent's ranks have their driver on another machine."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        leave(ChildExit.ABANDONED)
