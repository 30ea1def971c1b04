"""The daemon: one loop that owns sockets, parameters, the presenter and the worker's supervisor.

Never imports torch, and never dies with a worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sdv2_host.clock import now_ns
from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.control.fader import AT_ONCE, Duration
from sdv2_host.control.state_file import State
from sdv2_host.errors import HostError, WorkerError
from sdv2_host.host.control_room import ControlRoom
from sdv2_host.host.engine_desk import EngineDesk
from sdv2_host.host.engine_prompts import EnginePrompts
from sdv2_host.host.limits import Limits
from sdv2_host.host.look_desk import LookDesk
from sdv2_host.host.on_air import Moment, OnAir
from sdv2_host.host.output_ring import OutputRing, open_output_ring
from sdv2_host.host.presenter import Presenter
from sdv2_host.host.prompt_desk import Decks, DeskListener, needs_bank
from sdv2_host.host.rate_keeper import RateKeeper
from sdv2_host.host.show_desk import ShowDesk
from sdv2_host.host.situation import Situation
from sdv2_host.host.stand_in import is_safe_engine
from sdv2_host.host.supervisor import Supervisor
from sdv2_host.host.text_process import TextSetup
from sdv2_host.host.worker_watch import WatchCalls, WorkerDesks, WorkerWatch
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter, remove_all_stale
from sdv2_host.ipc.messages import Report, SetParams
from sdv2_host.look_orders import with_order
from sdv2_host.param_table import Patch
from sdv2_host.param_values import apply
from sdv2_host.params import Params, prompts_of
from sdv2_host.status import HostStatus
from sdv2_host.types import ProgressFn, Size

log = logging.getLogger(__name__)

FADE_PERIOD_S = 1 / 60
"""Between two looks at what a fade has come to: no output shows more frames than that."""


class Daemon:
    """One host: rings NAME-in and NAME-out, a console with its surfaces, and a worker that makes
    the pictures. Where the engine takes its prompts from the bank, a prompt desk and its text
    process too.

    A `Stage`. Used from one event loop. `run` once; `apply` and `snapshot` at any time.
    """

    def __init__(
        self,
        config: Config,
        params: Params,
        *,
        run_dir: Path | None = None,
        limits: Limits | None = None,
        text: TextSetup | None = None,
        styles: Callable[[], Mapping[str, str]] = dict,
        kept: State | None = None,
        stand_in: str = "",
    ) -> None:
        """`run_dir` holds the rings' descriptors, None = the default; `text` is an encoder in
        place of the engine's own; these and `limits` are for tests. `styles` are the buttons
        beside the page's prompt; `kept` the state of the last run, whose parameters are in
        `params` already; `stand_in` why the safe engine shall begin, '' = the one configured.
        """
        self.ready = asyncio.Event()
        """Set once the first worker is warm: input frames are styled from here on."""
        self.opened = asyncio.Event()
        """Set once the surfaces are there, before anything heavy is loaded."""
        self.on_progress: list[ProgressFn] = []
        """Called while a worker starts."""
        self.console = Console(self)
        self._config = config
        self._run_dir = run_dir
        self._on_air = OnAir.begin(params)
        self._sent = params
        self._version = 0
        self._num_chunks = 0
        self._num_looks = 0
        self._situation = Situation(config)
        self._limits = limits
        self._supervisor: Supervisor | None = None
        on_problem = partial(self._set_problem, "prompt")
        listener = DeskListener(self._on_prompt, on_problem, self._on_progress)
        is_banked = needs_bank if text is None else lambda _: True
        self._desk = EnginePrompts(config, text, listener, self._texts_on_air, is_banked)
        self._engine_desk = EngineDesk(config, self.console, self._desk, self._set_problem)
        self._rate_keeper = RateKeeper(self._engine_desk, self.console)
        self._presenter: Presenter | None = None
        self._room = ControlRoom(self.console, config, run_dir, styles)
        self._shows = ShowDesk(self.console, config)
        self._look_desk = LookDesk(self.console, self._order_look)
        self.console.register(self._look_desk.handlers() | self._engine_desk.handlers())
        self._kept = kept
        self._stand_in = stand_in
        self._fading: asyncio.Task[None] | None = None
        self._output_failure: asyncio.Future[HostError] | None = None

    @property
    def config(self) -> Config:
        """As started."""
        return self._config

    @property
    def config_in_use(self) -> Config:
        """What the pictures are made with: the parameters may have changed it since the start."""
        return self._engine_desk.in_use

    @property
    def next_pid(self) -> int | None:
        """Of the worker that is prepared."""
        return self._supervisor.next_pid if self._supervisor is not None else None

    @property
    def params(self) -> Params:
        """The newest snapshot: what was asked for."""
        return self._on_air.asked

    @property
    def port(self) -> int:
        """Of OSC, page and OSCQuery; 0 = not open yet."""
        return self._room.port

    @property
    def url(self) -> str:
        """Of the page, with the token where one is needed."""
        return self._room.page_url

    def apply(self, patch: Patch, origin: str, fade: Duration | None = None) -> Params:
        """The parameters with the patch in them; the worker has them at its next chunk.

        A prompt that has to be encoded first follows when it is, what fades over time. Nothing
        happens where no value changes. `origin` says who asked, for the log. Surfaces do not call
        this but the console, which tells the others.
        """
        before = self.params
        changed = self._shows.named(apply(before, self._engine_desk.allowed(patch)))
        decks = Decks(changed.prompt, changed.prompt_b)
        if changed == before:
            if "engine" in patch:  # which may have been given up
                self._engine_desk.retry()
            if "prompt" in patch or "prompt_b" in patch:
                self._ask_again(decks)
            return changed
        log.debug("%s sets %s", origin, dict(patch))
        self._desk.ask(decks)
        self._on_air.ask(changed, fade, self._desk.live, self._now())
        self._send()
        self._room.follow(changed)
        self._engine_desk.follow(changed)
        return changed

    def _order_look(self, verb: str, name: str, patch: Patch) -> None:
        """The worker's next chunk comes after this, with the patch, which holds at once."""
        no_engine = self._situation.worker.ready is None or self._situation.stand_in
        if verb == "save" and no_engine:
            # The next worker begins with these parameters and takes their orders for done.
            raise WorkerError(f"/sdv2/look/save {name!r}: no engine is ready to save it")
        before = self.params
        self._num_looks += 1
        looks = with_order(before.looks, self._num_looks, verb, name)
        allowed = self._engine_desk.allowed(patch)
        changed = apply(before, allowed).model_copy(update={"looks": looks})
        self._desk.ask(Decks(changed.prompt, changed.prompt_b))
        self._on_air.ask(changed, AT_ONCE, self._desk.live, self._now())
        self._send()

    def _ask_again(self, decks: Decks) -> None:
        """For a prompt that failed: what it lacked may be there by now."""
        live = self._desk.live
        self._desk.ask(decks)
        if self._desk.live != live:
            self._on_prompt()

    def _now(self) -> Moment:
        return Moment(now_ns(), self._num_chunks)

    def _send(self) -> None:
        """Presenter and worker have what is on air: the one now, the other from its next chunk."""
        on_air = self._on_air.at(self._now())
        if self._presenter is not None:
            self._presenter.play(on_air)
        if self._desk.live is not None and on_air != self._sent:
            self._sent = on_air
            self._version += 1
            if self._supervisor is not None:
                self._supervisor.set_params(self._version, on_air)
        if self._on_air.is_moving and (self._fading is None or self._fading.done()):
            self._fading = asyncio.get_running_loop().create_task(self._fade(), name="fade")

    async def _fade(self) -> None:
        while self._on_air.is_moving:
            await asyncio.sleep(FADE_PERIOD_S)
            self._send()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then no process, socket or segment of ours is left.

        When workers keep dying the safe engine stands in; should that one, too, the host stays up
        in state FAILED with the safe picture on the output.

        Raises:
            AlreadyRunningError: a host of this name is running.
            ConfigError: the port cannot be used.
            HostError: the first worker cannot start, or shared memory is full.
        """
        async with AsyncExitStack() as stack:
            # The output ring first: its writer lock is what makes a name unique.
            writer = open_output_ring(self._config, self._run_dir)
            stack.callback(writer.close)
            # A host that was killed cannot free its memory, and may never start again by its name.
            if removed := remove_all_stale(self._run_dir):
                log.info("freed what killed programs left of the rings %s", ", ".join(removed))
            await self._open(stack, writer)
            await self._serve(stop)

    async def _open(self, stack: AsyncExitStack, writer: FrameWriter) -> None:
        """Presenter and surfaces run, and will be closed by `stack`."""
        loop = asyncio.get_running_loop()
        output_failure: asyncio.Future[HostError] = loop.create_future()
        self._output_failure = output_failure

        def fail(error: HostError) -> None:
            loop.call_soon_threadsafe(output_failure.set_result, error)

        def tell(problem: str) -> None:
            loop.call_soon_threadsafe(self._set_problem, "output", problem)

        reader = FrameReader(self._config.work_streams[0], run_dir=self._run_dir)
        dry = FrameReader(self._config.input_stream, run_dir=self._run_dir)
        ring = OutputRing(writer, tell)
        fps, size = self._config.output_fps, self._config.size
        presenter = Presenter(reader, ring, fps, fail, dry, size)
        stack.callback(presenter.close)
        self._presenter = presenter
        presenter.play(self.params)
        stack.push_async_callback(self._room.close)
        await self._room.open(presenter.newest, self._kept)
        self.opened.set()

    async def _serve(self, stop: asyncio.Event) -> None:
        assert self._output_failure is not None, "opened before"
        supervised = asyncio.create_task(self._supervise())
        encoding = asyncio.create_task(self._desk.run())
        stopped = asyncio.create_task(stop.wait())
        try:
            first = asyncio.FIRST_COMPLETED
            ends: set[asyncio.Future[Any]] = {supervised, encoding, stopped, self._output_failure}
            await asyncio.wait(ends, return_when=first)
            if supervised.done() and not stopped.done():
                supervised.result()
            if encoding.done():
                encoding.result()
            if self._output_failure.done():
                raise self._output_failure.result()
        finally:
            tasks = [stopped, supervised, encoding]
            tasks += [self._fading] if self._fading else []
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _supervise(self) -> None:
        """The worker's life, from when its first prompt is ready. See `Supervisor.run`."""
        await self._desk.first(Decks(self.params.prompt, self.params.prompt_b))
        self._on_prompt()
        assert self._presenter is not None, "opened before"
        watch = WorkerWatch(
            situation=self._situation,
            console=self.console,
            presenter=self._presenter,
            desks=WorkerDesks(self._engine_desk, self._look_desk, self._desk, self._rate_keeper),
            run_dir=self._run_dir,
            calls=WatchCalls(
                *(self._on_chunk, self._on_progress, self._set_problem),
                *(self.ready.set, self._shows.told),
            ),
        )
        newest = SetParams(version=self._version, params=self._sent)
        self._supervisor = supervisor = Supervisor(
            self._config, newest, watch, run_dir=self._run_dir, limits=self._limits
        )
        if self._stand_in and not is_safe_engine(self._config):
            supervisor.stand_in(self._stand_in)
        supervised = asyncio.create_task(supervisor.run())
        swapping = asyncio.create_task(self._engine_desk.run(supervisor.prepare))
        try:
            ends: set[asyncio.Task[Any]] = {supervised, swapping}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if swapping.done():
                swapping.result()
            await supervised
        finally:
            for task in (supervised, swapping):
                task.cancel()
            await asyncio.wait({supervised, swapping})

    def _on_chunk(self, report: Report) -> None:
        """The worker in use has styled another one."""
        self._num_chunks += 1
        if report.look_serial == self._num_looks:  # else one is under way
            self._look_desk.keep(report.looks)
        if self._on_air.is_moving:
            self._send()

    def _on_progress(self, text: str, fraction: float) -> None:
        self._situation.detail = text
        for callback in self.on_progress:
            callback(text, fraction)

    def _on_prompt(self) -> None:
        """A prompt that was asked for some time ago is live."""
        self._on_air.ready(self._desk.live, self._now())
        self._send()

    def _texts_on_air(self) -> tuple[str, ...]:
        return tuple(part.text for part in prompts_of(self._on_air.at(self._now())))

    def _set_problem(self, origin: str, text: str) -> None:
        if self._situation.set_problem(origin, text):
            self.console.note("warning", origin, text)

    def snapshot(self) -> HostStatus:
        """The state of now."""
        stats = self._presenter.stats() if self._presenter is not None else None
        status = self._situation.status(self.params, stats, self._desk)
        newest = self._presenter.newest() if self._presenter is not None else None
        supervisor = self._supervisor
        shown = Size(newest.meta.width, newest.meta.height) if newest is not None else None
        return replace(
            self._room.told_in(status),
            size=status.size or shown,
            schedule="; ".join(filter(None, (self._rate_keeper.says, status.schedule))),
            worker_restarts=supervisor.num_restarts if supervisor is not None else 0,
            worker_pid=supervisor.worker_pid if supervisor is not None else None,
            params_version=self._version,
        )
