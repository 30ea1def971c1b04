"""Which engine the parameters ask for, and how it comes: checked, prepared, taken over or refused.

What a start sets and a stream can change: engine, autoencoder, size. Another engine is prepared
beside the one in use, so nothing here stops the stream, unless `swap_mode` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from sdv2_host.config import ENGINES, Config
from sdv2_host.control.console import Console, Handler
from sdv2_host.errors import HostError
from sdv2_host.host.engine_prompts import EnginePrompts
from sdv2_host.host.prompt_desk import needs_bank
from sdv2_host.host.stand_in import StandIn
from sdv2_host.host.worker_life import WorkerLife
from sdv2_host.models.store import locate, models_dir, needed_parts
from sdv2_host.param_table import ParamValue, Patch
from sdv2_host.params import AS_STARTED, Params

ORIGIN = "swap"
MEMORY_ADVICE = (
    "; both engines are in memory until one has taken over from the other: /sdv2/swap/mode replace "
    "stops the one in use first, and the output holds its picture meanwhile"
)

OWN_VAE = "engine {engine} has an autoencoder of its own, the choice is for wan-1.3b and wan-14b"


def wanted_config(started: Config, params: Params) -> Config:
    """What the parameters ask for, on a host that was started with `started`."""
    engine = started.engine if params.engine == AS_STARTED else params.engine
    vae = started.vae if params.vae == AS_STARTED or not needs_bank(engine) else params.vae
    width, height = params.width or started.width, params.height or started.height
    wanted = {"engine": engine, "vae": vae, "width": width, "height": height}
    return started.model_copy(update=wanted)


def values_of(started: Config, config: Config) -> dict[str, ParamValue]:
    """Parameters that ask for `config`."""
    as_started = Params()
    values: dict[str, ParamValue] = {}
    for name in ("engine", "vae", "width", "height"):
        is_same = getattr(config, name) == getattr(started, name)
        values[name] = getattr(as_started if is_same else config, name)
    return values


def carried_over(params: Params, before: Config, after: Config) -> dict[str, ParamValue]:
    """What becomes of the parameters as one engine takes over from another.

    What still is as the one starts is as the other starts from now on: noise and steps mean
    something else there. What a person has set stays, as far as it can be followed.
    """
    old, new = _start_values(before), _start_values(after)
    changed = {
        name: value
        for name, value in new.items()
        if before.engine != after.engine and getattr(params, name) == old[name] != value
    }
    steps = changed.get("steps", params.steps)
    return {**changed, "steps": min(int(steps), after.num_step_rows)}


def _start_values(config: Config) -> dict[str, int | float]:
    names = {name for engine in ENGINES.values() for name in engine.params}
    defaults = {name: getattr(Params(), name) for name in sorted(names)}
    return {**defaults, **ENGINES[config.engine].params}


class PrepareFn(Protocol):
    """As `Supervisor.prepare`."""

    def __call__(self, config: Config, *, is_beside: bool = True) -> None: ...


class EngineDesk:
    """Fields, per process: `started` with what; `in_use` what the pictures are made with; `asked`
    what the parameters ask for, `_kept` the last of that which came into use; `_wanted` the newest
    wish, `_substitute` the newest that is not the parameters', and who is told that it cannot be
    had; `_stand_in` the safe engine's while it makes the pictures in place of `in_use`;
    `_is_given_up` whether nothing makes what is asked for."""

    def __init__(
        self,
        config: Config,
        console: Console,
        prompts: EnginePrompts,
        on_problem: Callable[[str, str], None],
    ) -> None:
        """`on_problem` is told (origin, what of the parameters is not followed; '' = all is)."""
        self.started = self.in_use = self.asked = config
        self._console = console
        self._prompts = prompts
        self._on_problem = on_problem
        self._kept = self._wanted = config
        self._substitute: Config | None = None
        self._stand_in: StandIn | None = None
        self._is_given_up = False
        self._on_refused: Callable[[str], None] | None = None
        self._is_due = asyncio.Event()

    def allowed(self, patch: Patch) -> Patch:
        """The patch with no more steps than the engine in use keeps caches for."""
        most = self.in_use.num_step_rows
        steps = patch.get("steps")
        if steps is None:
            return patch
        if int(steps) <= most:
            self._on_problem("steps", "")
            return patch
        self._on_problem(
            "steps",
            f"{steps} steps: this host keeps caches for {most}, which it uses; start it with "
            f"--max-steps {steps}",
        )
        return {**patch, "steps": most}

    def follow(self, params: Params) -> None:
        """What the parameters ask for will take over, if it is not in use."""
        wanted = wanted_config(self.started, params)
        is_followed = params.vae == AS_STARTED or needs_bank(wanted.engine)
        text = "" if is_followed else f"/sdv2/vae {params.vae}: {OWN_VAE}"
        self._on_problem("vae", text.format(engine=wanted.engine))
        if wanted == self.asked:
            return
        self._on_problem(ORIGIN, "")
        self.asked = wanted
        if wanted == self.in_use:
            self._kept = wanted
        self._want(wanted, None)

    def substitute(self, config: Config, on_refused: Callable[[str], None]) -> None:
        """An engine with this configuration will take over, though the parameters ask for
        `asked`: for who keeps a rate. Holds until the parameters change or the next call.

        `on_refused` is told why it cannot be had; the engine in use goes on then.
        """
        self._substitute = config
        self._want(config, on_refused)

    def give_up(self, stand_in: StandIn | None) -> None:
        """The engine in use is not started any more; this makes the pictures, None = nothing."""
        self._is_given_up = True
        self._stand_in = stand_in or self._stand_in

    def handlers(self) -> dict[str, Handler]:
        return {"engine_retry": lambda _args, _origin: self.retry()}

    def retry(self) -> str:
        """An engine that was given up is started once more; says what was done."""
        if not self._is_given_up:
            if self.asked == self.in_use:
                self._on_problem(ORIGIN, "")  # that another one cannot be had is no news any more
            return f"{told(self.in_use)} is in use: there is nothing to try again"
        self._on_problem(ORIGIN, "")
        self._want(self.asked, None)
        return f"{told(self.asked)} is started again"

    @property
    def is_changing(self) -> bool:
        """Another engine than the one in use is wanted, and on its way."""
        return self._wanted != self.in_use

    def _want(self, config: Config, on_refused: Callable[[str], None] | None) -> None:
        self._wanted, self._on_refused = config, on_refused
        self._is_due.set()

    async def run(self, prepare: PrepareFn) -> None:
        """Sees to it that what is wanted can start, and has it prepared; until cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            wanted = self._wanted
            admitting = asyncio.create_task(self._admit(wanted))
            newer = asyncio.create_task(self._is_due.wait())
            try:
                await asyncio.wait({admitting, newer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                newer.cancel()
                admitting.cancel()
                await asyncio.wait({admitting})
            if self._wanted is not wanted or admitting.cancelled():
                continue
            try:
                admitting.result()
            except HostError as error:
                self._refuse(wanted, str(error))
                prepare(self._at_work)  # an earlier wish may be being prepared
            else:
                is_beside = self._console.params.swap_mode == "beside"
                prepare(wanted, is_beside=is_beside)

    async def _admit(self, config: Config) -> None:
        """Its files are there, and so are the prompts for it. Raises: HostError."""
        if needs_bank(config.engine):
            folder = models_dir(config.models_dir)
            locate(config.engine, folder, needs=needed_parts(config))
        await self._prompts.admit(config)

    def took_over(self, config: Config) -> None:
        """The pictures are made with this from now on.

        The parameters stay those of the engine that another one only stands in for.
        """
        if isinstance(config, StandIn):
            return
        self._stand_in, self._is_given_up = None, False
        before, self.in_use = self.in_use, config
        self._prompts.settle(config)
        if config != self._substitute or config == self.asked:
            self._kept = config
        changed = carried_over(self._console.params, before, config)
        if config.engine != before.engine:
            self._console.set(changed, "host")

    def dropped(self) -> None:
        """Nothing is prepared any more of what was wanted before."""
        if self._wanted == self.in_use:
            self._prompts.settle(self.in_use)

    def refused(self, life: WorkerLife, reason: str) -> None:
        """The worker that was prepared has ended before it took over."""
        reason = life.failure.message if life.failure is not None else f"the worker {reason}"
        is_beside = self._console.params.swap_mode == "beside"
        is_memory = is_beside and life.ran_out_of_memory
        self._refuse(life.config, reason + (MEMORY_ADVICE if is_memory else ""))

    def _refuse(self, config: Config, reason: str) -> None:
        if config != self._wanted:
            return  # something newer is wanted
        self._prompts.settle(self.in_use)
        on_refused, self._wanted = self._on_refused, self.in_use
        if on_refused is not None:
            on_refused(reason)
            return
        self.asked = self._kept
        self._console.set(values_of(self.started, self._kept), "host")
        self._on_problem(ORIGIN, f"{told(config)}: {reason}; {told(self._at_work)} goes on")

    @property
    def _at_work(self) -> Config:
        """What makes the pictures, or did last."""
        return self._stand_in or self.in_use


def told(config: Config) -> str:
    """An engine in a few words."""
    vae = f", VAE {config.vae}" if needs_bank(config.engine) else ""
    return f"{config.engine} at {config.size}{vae}"
