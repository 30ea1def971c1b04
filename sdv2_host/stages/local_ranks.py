"""Processes of this machine, one for each device of the ring that is here."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from sdv2_host.stages.rank_ticket import Ticket

PRELOADED = ["torch", "sdv2_host.stages.rank_process", "sdv2_host.stages.rank_build"]
END_S = 2.0


class LocalRanks:
    """Starts and ends them. Owns one thread for each, which waits for its end.

    On Linux processes without a CUDA device are forked off one that has imported torch: 0.03 s
    against 4. CUDA cannot be used after a fork, and other systems have none worth the name.
    """

    def __init__(
        self,
        target: Callable[[Ticket], None],
        on_end: Callable[[int, str], None],
        *,
        has_gpus: bool,
    ) -> None:
        """`target` is what a process runs; `on_end` is told (number, why) in a thread
        of its own."""
        can_fork = sys.platform == "linux" and not has_gpus
        self._context = multiprocessing.get_context("forkserver" if can_fork else "spawn")
        if can_fork:
            self._context.set_forkserver_preload(PRELOADED)
        self._target = target
        self._on_end = on_end
        self._processes: dict[int, BaseProcess] = {}

    @property
    def pids(self) -> dict[int, int]:
        """Of those that run, by number."""
        return {number: process.pid or 0 for number, process in list(self._processes.items())}

    def start(self, number: int, ticket: Ticket) -> None:
        """A process has been started with the ticket; it is called by that number here.

        Raises:
            OSError: no memory or no file handles are left.
        """
        process = self._context.Process(  # type: ignore[attr-defined]
            target=self._target, args=(ticket,), name=f"rank {number}", daemon=True
        )
        process.start()
        self._processes[number] = process
        threading.Thread(
            target=self._watch, args=(number, process), name="watch rank", daemon=True
        ).start()

    def kill(self, number: int) -> None:
        """Its process ends, even one that hangs; no news for one that has ended."""
        process = self._processes.get(number)
        if process is not None:
            process.kill()

    def close(self) -> None:
        """No process is left."""
        for process in list(self._processes.values()):
            process.kill()
        for process in list(self._processes.values()):
            process.join(END_S)

    def _watch(self, number: int, process: BaseProcess) -> None:
        wait([process.sentinel])
        code = process.exitcode or 0
        self._processes.pop(number, None)
        self._on_end(
            number, f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        )
