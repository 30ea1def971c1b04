"""The daemon: one loop that owns sockets, parameters, the presenter and the worker's supervisor.

Never imports torch, and never dies with a worker.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sdv2_host.config import Config
from sdv2_host.control.osc_endpoint import OscListener, listen_osc
from sdv2_host.errors import RingError
from sdv2_host.host.presenter import OUTPUT_RING_SLOTS, Presenter, PresenterStats
from sdv2_host.host.prompt_desk import DeskListener, open_desk
from sdv2_host.host.supervisor import Limits, Supervisor
from sdv2_host.host.text_process import TextSetup
from sdv2_host.host.worker_log import WorkerLog
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.ipc.messages import FromWorker, Problem, Progress, Ready, Report
from sdv2_host.params import Params, Patch, apply
from sdv2_host.status import HostState, HostStatus, OscCounts
from sdv2_host.types import ProgressFn, Size

log = logging.getLogger(__name__)


class Daemon:
    """One host: rings NAME-in and NAME-out, an OSC port, and a worker that makes the pictures.

    Where the engine takes its prompts from the bank, a prompt desk and its text process too.

    Used from one event loop. `run` once; `apply` and `snapshot` at any time.
    """

    def __init__(
        self,
        config: Config,
        params: Params,
        *,
        run_dir: Path | None = None,
        limits: Limits | None = None,
        text: TextSetup | None = None,
    ) -> None:
        """`run_dir` holds the rings' descriptors, None = the default; the others are for tests.

        `text`: a text encoder in place of the engine's own.
        """
        self.ready = asyncio.Event()
        """Set once the first worker is warm: input frames are styled from here on."""
        self.on_progress: list[ProgressFn] = []
        """Called while a worker starts."""
        self._config = config
        self._params = params
        self._version = 0
        self._run_dir = run_dir
        self._supervisor = Supervisor(
            config, params, self._on_message, self._on_death, run_dir=run_dir, limits=limits
        )
        listener = DeskListener(self._on_prompt, self._on_prompt_problem, self._on_progress)
        self._desk = open_desk(config, text, listener)
        self._presenter: Presenter | None = None
        self._osc: OscListener | None = None
        self._worker_log = WorkerLog()
        self._detail = "starting"
        self._failure = ""
        self._problems: dict[str, str] = {}
        self._ring_failure: asyncio.Future[RingError] | None = None

    @property
    def config(self) -> Config:
        return self._config

    @property
    def params(self) -> Params:
        """The newest snapshot."""
        return self._params

    def apply(self, patch: Patch, origin: str) -> Params:
        """The parameters with the patch in them; the worker has them at its next chunk.

        A prompt that has to be encoded first follows when it is. Nothing happens where no value
        changes. `origin` says who asked, for the log.
        """
        changed = apply(self._params, self._allowed(patch))
        if changed == self._params:
            if "prompt" in patch:
                self._ask_again(changed.prompt)
            return changed
        log.debug("%s sets %s", origin, dict(patch))
        self._params = changed
        if self._presenter is not None:
            self._presenter.freeze(changed.freeze)
        self._desk.ask(changed.prompt)
        self._version += 1
        self._send_params()
        return changed

    def _ask_again(self, prompt: str) -> None:
        """For a prompt that failed: what it lacked may be there by now."""
        live = self._desk.live
        self._desk.ask(prompt)
        if self._desk.live != live:
            self._on_prompt()

    def _send_params(self) -> None:
        """The worker has the newest parameters from its next chunk on, with the live prompt."""
        prompt = self._desk.live
        if prompt is not None:
            sent = self._params.model_copy(update={"prompt": prompt})
            self._supervisor.set_params(self._version, sent)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then no process, socket or segment of ours is left.

        When workers keep dying the host stays up in state FAILED with its last frame on the output.

        Raises:
            AlreadyRunningError: a host of this name is running.
            ConfigError: the OSC port cannot be used.
            HostError: the first worker cannot start, or shared memory is full.
        """
        async with AsyncExitStack() as stack:
            # The output ring first: its writer lock is what makes a name unique.
            writer = FrameWriter(
                self._config.output_stream, slot_count=OUTPUT_RING_SLOTS, run_dir=self._run_dir
            )
            stack.callback(writer.close)
            await self._open(stack, writer)
            await self._serve(stop)

    async def _open(self, stack: AsyncExitStack, writer: FrameWriter) -> None:
        """Presenter and OSC run, and will be closed by `stack`."""
        loop = asyncio.get_running_loop()
        ring_failure: asyncio.Future[RingError] = loop.create_future()
        self._ring_failure = ring_failure

        def fail(error: RingError) -> None:
            loop.call_soon_threadsafe(ring_failure.set_result, error)

        reader = FrameReader(self._config.work_stream, run_dir=self._run_dir)
        presenter = Presenter(reader, writer, self._config.output_fps, fail)
        stack.callback(presenter.close)
        self._presenter = presenter
        presenter.freeze(self._params.freeze)
        self._osc = await listen_osc(self._config, self.apply)
        stack.callback(self._osc.transport.close)

    async def _serve(self, stop: asyncio.Event) -> None:
        assert self._ring_failure is not None, "opened before"
        supervised = asyncio.create_task(self._supervise())
        encoding = asyncio.create_task(self._desk.run())
        stopped = asyncio.create_task(stop.wait())
        try:
            first = asyncio.FIRST_COMPLETED
            ends: set[asyncio.Future[Any]] = {supervised, encoding, stopped, self._ring_failure}
            await asyncio.wait(ends, return_when=first)
            if supervised.done() and not stopped.done():
                self._failure = supervised.result()
                log.error("%s", self._failure)
                await asyncio.wait(ends - {supervised}, return_when=first)
            if encoding.done():
                encoding.result()
            if self._ring_failure.done():
                raise self._ring_failure.result()
        finally:
            for task in (stopped, supervised, encoding):
                task.cancel()
            await asyncio.wait({supervised, encoding})

    async def _supervise(self) -> str:
        """The worker's life, from when its first prompt is ready. See `Supervisor.run`."""
        await self._desk.first(self._params.prompt)
        self._send_params()
        return await self._supervisor.run()

    def _on_message(self, message: FromWorker) -> None:
        self._worker_log.heard(message)
        if isinstance(message, Report):
            if self._presenter is not None:
                self._presenter.wake()
        elif isinstance(message, Progress):
            self._on_progress(message.text, message.fraction)
        elif isinstance(message, Problem):
            self._set_problem("engine", message.text)
        elif isinstance(message, Ready):
            if self._presenter is not None:
                self._presenter.worker_ready(message.ready_ns)
            self.ready.set()
            log.info("%s is ready after %.0f ms", message.engine, message.warmup_ms)

    def _on_progress(self, text: str, fraction: float) -> None:
        self._detail = text
        for callback in self.on_progress:
            callback(text, fraction)

    def _on_prompt(self) -> None:
        """A prompt that was asked for some time ago is live: a snapshot of its own."""
        self._version += 1
        self._send_params()

    def _on_prompt_problem(self, text: str) -> None:
        self._set_problem("prompt", text)

    def _on_death(self, reason: str) -> None:
        self._worker_log.died()
        self._desk.worker_died()
        self._set_problem("engine", "")
        self._detail = f"the worker {reason}"

    def _allowed(self, patch: Patch) -> Patch:
        """The patch with no more steps than this host keeps caches for."""
        most = self._config.num_step_rows
        steps = patch.get("steps")
        if steps is None:
            return patch
        if int(steps) <= most:
            self._set_problem("steps", "")
            return patch
        self._set_problem(
            "steps",
            f"{steps} steps: this host keeps caches for {most}, which it uses; start it with "
            f"--max-steps {steps}",
        )
        return {**patch, "steps": most}

    def _set_problem(self, origin: str, text: str) -> None:
        """`origin` has this problem from now on, or none; the newest is what the status shows."""
        known = self._problems.pop(origin, "")
        if text:
            self._problems[origin] = text
            if text != known:
                log.warning("%s", text)

    def snapshot(self) -> HostStatus:
        """The state of now."""
        stats = self._presenter.stats() if self._presenter is not None else None
        state, detail = self._state(stats)
        worker = self._worker_log
        problem = next(reversed(self._problems.values()), "")
        if stats is None:
            return HostStatus(state, detail, self._config.engine, self._size(), problem=problem)
        newest = worker.newest
        return HostStatus(
            state=state,
            detail=detail,
            engine=self._config.engine,
            size=self._size(),
            fps=stats.fps,
            # The last chunk of a killed worker was shown but never reported.
            frames_in=max(worker.frames_in, stats.counts.fresh),
            frames_out=stats.counts.fresh,
            frames_repeated=stats.counts.repeated,
            dropped=worker.dropped + stats.counts.skipped,
            cadence_gaps=stats.cadence_gaps,
            latency_ms=stats.latency_ms,
            ttff_ms=stats.ttff_ms,
            spans_ms=worker.spans_ms,
            notes=newest.notes if newest else {},
            problem=problem,
            prompt=self._desk.live or "",
            encoding=self._desk.doing,
            queue_depth=newest.queue_depth if newest else 0,
            worker_restarts=self._supervisor.num_restarts,
            worker_pid=self._supervisor.worker_pid,
            worker_rss_bytes=newest.rss_bytes if newest else 0,
            params_version=self._version,
            port=self._osc.port if self._osc else 0,
            osc=self._osc.endpoint.counts if self._osc else OscCounts(),
        )

    def _state(self, stats: PresenterStats | None) -> tuple[HostState, str]:
        if self._failure:
            return HostState.FAILED, self._failure
        if self._worker_log.ready is None:
            state = HostState.RECOVERING if self.ready.is_set() else HostState.STARTING
            return state, self._detail
        doing = f"; {self._desk.doing}" if self._desk.doing else ""
        if self._params.freeze:
            return HostState.LIVE, f"frozen: the output holds its picture{doing}"
        if stats is not None and stats.fps > 0:
            return HostState.LIVE, f"fresh frames reach the output{doing}"
        busy = self._worker_log.busy()
        if busy is not None:
            state = HostState.LIVE if busy.is_usual else HostState.WAITING
            return state, f"{busy}{doing}"
        return HostState.WAITING, f"no frames come in on ring {self._config.input_stream}{doing}"

    def _size(self) -> Size | None:
        ready = self._worker_log.ready
        return Size(ready.width, ready.height) if ready is not None and ready.width else None
