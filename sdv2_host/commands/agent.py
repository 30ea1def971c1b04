"""`sdv2-host agent`: lends devices of this machine to a host on another one."""

from __future__ import annotations

import contextlib
import queue
import sys
from pathlib import Path
from typing import NamedTuple

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.config import host_and_port
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.device import resolve_device
from sdv2_host.stages.join_token import check_token, make_token, read_token
from sdv2_host.stages.local_ranks import LocalRanks
from sdv2_host.stages.rank_build import build_rank
from sdv2_host.stages.rank_process import run_rank
from sdv2_host.stages.rank_ticket import Ticket

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 3.0
STEADY_S = 30.0
"""A device that took part for so long is tried again at once."""
LOOK_S = 0.5


class AgentOptions(NamedTuple):
    """Of the command line; None = not given."""

    join: str | None
    token_file: Path | None
    token: str | None
    devices: list[str]
    interface: str
    models_dir: str


def make_token_file(path: Path) -> int:
    """A new token is in the file; the exit code."""
    make_token(path)
    print(f"a token is in {path}: copy the file to each machine, by a way nobody else can read")
    return 0


def run_agent(options: AgentOptions) -> int:
    """Lends the devices until it is interrupted; the exit code.

    Raises:
        ConfigError: an option is missing or wrong.
        DeviceError: a device is not there.
    """
    ended: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    tickets = _tickets(options)
    ranks = LocalRanks(
        run_rank,
        lambda number, why: ended.put((number, why)),
        has_gpus=any(ticket.device != "cpu" for ticket in tickets),
    )
    loans = [_Loan(ticket) for ticket in tickets]
    try:
        while True:
            _start_due(loans, ranks)
            # Not without a limit: on Windows Ctrl-C is not heard in such a wait.
            with contextlib.suppress(queue.Empty):
                number, why = ended.get(timeout=LOOK_S)
                _say(loans[number].ended(why))
    except KeyboardInterrupt:
        return 130
    finally:
        ranks.close()


class _Loan:
    """A device that is lent: its process is started again whenever it has ended."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self._start_ns: int | None = now_ns()
        self._begun_ns = 0
        self._delay_s = FIRST_DELAY_S

    def is_due(self) -> bool:
        """It is time to start its process; asked once for each start."""
        if self._start_ns is None or now_ns() < self._start_ns:
            return False
        self._start_ns, self._begun_ns = None, now_ns()
        return True

    def ended(self, why: str) -> str:
        """Its process is started again after a while; what to tell."""
        now = now_ns()
        was_steady = now - self._begun_ns > STEADY_S * NS_PER_S
        delay_s = FIRST_DELAY_S if was_steady else self._delay_s
        self._delay_s = min(2 * delay_s, MAX_DELAY_S)
        self._start_ns = now + round(delay_s * NS_PER_S)
        return f"{self.ticket.device} is in no stream, its process {why}; again in {delay_s:g} s"


def _start_due(loans: list[_Loan], ranks: LocalRanks) -> None:
    for number, loan in enumerate(loans):
        if loan.is_due():
            host, port = loan.ticket.address
            _say(f"{loan.ticket.device} joins {host}:{port}")
            ranks.start(number, loan.ticket)


def _tickets(options: AgentOptions) -> list[Ticket]:
    if options.join is None:
        raise ConfigError("--join HOST:PORT is missing: the --join-listen of the host to help")
    try:
        address = host_and_port(options.join)
    except ValueError as error:
        raise ConfigError(f"--join {options.join}: {error}") from None
    if (options.token is None) == (options.token_file is None):
        raise ConfigError("expected either --token-file FILE or --token TOKEN")
    if options.token_file is not None:
        token = read_token(options.token_file)
    else:
        token = check_token(options.token or "", "--token")
    devices = [str(resolve_device(name)) for name in options.devices]
    return [
        Ticket(
            address=address,
            token=token,
            device=device,
            build=build_rank,
            interface=options.interface,
            models_dir=options.models_dir,
        )
        for device in devices
    ]


def _say(line: str) -> None:
    print(f"sdv2-host agent: {line}", file=sys.stderr, flush=True)
