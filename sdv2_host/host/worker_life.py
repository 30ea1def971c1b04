"""One worker process from its start to its end: what it is told, what it says, why it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sdv2_host.config import Config
from sdv2_host.errors import DeviceMemoryError, HostError, ProtocolError
from sdv2_host.host import child_process
from sdv2_host.host.child_process import Process
from sdv2_host.host.limits import Limits
from sdv2_host.host.stand_in import StandIn
from sdv2_host.ipc.frame_ring import remove_stale
from sdv2_host.ipc.messages import (
    Configure,
    Failed,
    FromWorker,
    Problem,
    Ready,
    Report,
    SetParams,
    decode_from_worker,
)
from sdv2_host.params import Params


class Place(NamedTuple):
    """Where a worker works."""

    work_stream: str
    """The ring that it writes: its own while it lives."""
    run_dir: Path | None
    """Of the rings' descriptors, None = the default."""


class WorkerLife:
    """A worker process. Runs from the moment it is made; used in one event loop.

    Fields, all per life: `ready` and `newest` its last messages of that kind; `problem` what of
    the parameters it does not follow; `failure` what it told before it ended; whether its process
    is asked, terminated or killed by now.
    """

    def __init__(
        self,
        config: Config,
        place: Place,
        params: SetParams,
        on_message: Callable[[WorkerLife, FromWorker], None],
        limits: Limits,
    ) -> None:
        """`on_message` is told what it says, in the loop."""
        self.config = config
        self.place = place
        self.ready: Ready | None = None
        self.newest: Report | None = None
        self.problem = ""
        self.failure: Failed | None = None
        self._params = params
        self._on_message = on_message
        self._limits = limits
        self._changed = asyncio.Event()
        self._process: Process | None = None
        self._is_ending = False
        self._task = asyncio.create_task(self._live(), name=f"worker on {place.work_stream}")

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def ended(self) -> asyncio.Task[str]:
        """Done when the process is gone and its ring with it; why it ended, in words."""
        return self._task

    @property
    def ran_out_of_memory(self) -> bool:
        """As far as can be told of one that has ended."""
        return self.failure is not None and self.failure.error == DeviceMemoryError.__name__

    def set_params(self, params: SetParams) -> None:
        """It uses these from its next chunk on; only the newest are sent."""
        self._params = params
        self._changed.set()

    def end(self) -> None:
        """It will be stopped; `ended` tells when."""
        # While it is being ended already that would leave the process to itself.
        if not self._is_ending and not self._task.cancelling():
            self._task.cancel()

    def host_error(self) -> HostError | None:
        """What it told before it ended, as our own error; None = nothing."""
        return child_process.as_host_error(self.failure, "the worker") if self.failure else None

    async def _live(self) -> str:
        try:
            try:
                process = await child_process.spawn(self._limits.worker)
            except OSError as error:  # no memory or no file handles left: not the host's end
                return f"could not be started: {error}"
            self._process = process
            sender = asyncio.create_task(self._send_params(process))
            try:
                return await self._listen(process)
            finally:
                self._is_ending = True
                sender.cancel()
                await child_process.end(process, self._limits.stop_s, self._limits.terminate_s)
        finally:
            self._process = None
            # A killed worker, or one of a killed daemon before us, cannot have removed its ring.
            remove_stale(self.place.work_stream, self.place.run_dir)

    async def _send_params(self, process: Process) -> None:
        run_dir = self.place.run_dir
        self._changed.clear()
        first = Configure(
            config=self.config,
            work_stream=self.place.work_stream,
            params=self._followed(self._params.params),
            version=self._params.version,
            run_dir=str(run_dir) if run_dir is not None else None,
        )
        with contextlib.suppress(ConnectionError):  # it died: `_listen` notices and says why
            await child_process.send(process, first)
            while True:
                await self._changed.wait()
                self._changed.clear()
                followed = self._followed(self._params.params)
                newest = self._params.model_copy(update={"params": followed})
                await child_process.send(process, newest)
                await asyncio.sleep(self._limits.send_gap_s)

    def _followed(self, params: Params) -> Params:
        """With no more steps than this worker has caches for: two of them may be told the same.

        The safe engine's ask for the size that it stands in for.
        """
        if isinstance(self.config, StandIn):
            params = self.config.sized(params)
        most = self.config.num_step_rows
        return params if params.steps <= most else params.model_copy(update={"steps": most})

    async def _listen(self, process: Process) -> str:
        silence_s = usual_s = self._limits.start_silence_s
        while True:
            try:
                line = await child_process.read_line(process, silence_s)
                if not line:
                    return await self._reason(process)
                message = decode_from_worker(line)
            except TimeoutError:
                return f"gave no sign of life for {silence_s:g} s"
            except (ValueError, ProtocolError) as error:  # ValueError: the line has no end
                return f"broke the protocol ({error})"
            if isinstance(message, Ready):
                self.ready = message
                step_s = max(message.step_ms.values(), default=0.0) / 1000
                silence_s = usual_s = self._limits.silence_after_s(step_s)
            elif isinstance(message, Report):
                self.newest = message
                chunk_s = sum(message.spans_ms.values()) / 1000
                silence_s = max(usual_s, self._limits.silence_after_s(chunk_s))
            elif isinstance(message, Problem):
                self.problem = message.text
            elif isinstance(message, Failed):
                self.failure = message
            self._on_message(self, message)

    async def _reason(self, process: Process) -> str:
        """In words, after its stdout closed."""
        reason = await child_process.exit_reason(process, self._limits.stop_s)
        if self.failure is not None:
            return f"failed with {self.failure.error}: {self.failure.message}"
        return reason
