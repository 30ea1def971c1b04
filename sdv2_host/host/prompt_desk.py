"""The prompt desk: which prompts the worker may be sent, and the text process that makes more.

The worker reads prompts from the bank and never encodes, so it is only ever sent prompts that are
in the bank. Others stay at the desk until the text process has encoded them; meanwhile every
other parameter flows with the prompts before. Both decks are one order: they go live together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sdv2_host.blend import parse_blend
from sdv2_host.clock import now_ns
from sdv2_host.config import Config
from sdv2_host.errors import HostError, ModelError, WorkerError
from sdv2_host.host.limits import CrashLoop
from sdv2_host.host.text_process import TextDiedError, TextProcess, TextSetup
from sdv2_host.models.catalogue import CATALOGUE, Role
from sdv2_host.models.prompt_bank import PromptBank, shortened
from sdv2_host.models.store import models_dir, prompts_dir
from sdv2_host.types import ProgressFn

log = logging.getLogger(__name__)

MAX_TRIES = 3
"""Text processes that one prompt may kill."""


class Decks(NamedTuple):
    """What decks A and B ask for, each a text that `parse_blend` reads."""

    a: str
    b: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The single prompts in them, each once. An empty deck B asks for none."""
        decks = (self.a, self.b) if self.b else (self.a,)
        return tuple(dict.fromkeys(part.text for deck in decks for part in parse_blend(deck)))


@dataclass(frozen=True, slots=True)
class DeskListener:
    """Whom the desk tells; all are called in the loop."""

    on_ready: Callable[[], None]
    """Other prompts are live, some time after they were asked for."""
    on_problem: Callable[[str], None]
    """Why the newest prompts are not live; '' = they are, or will be."""
    on_progress: ProgressFn


class Desk(Protocol):
    """Used in one event loop; `run` once, beside everything else."""

    @property
    def live(self) -> Decks | None:
        """The prompts that the worker may be sent; None = none yet."""

    @property
    def doing(self) -> str:
        """What is being done for a prompt that is not live yet; '' = nothing."""

    def ask(self, decks: Decks) -> None:
        """The prompts are live now, or as soon as they can be; or a problem will be told.

        Ones whose problem was told are tried again, as what they lacked may be there by now.
        """

    def worker_died(self) -> None:
        """The next worker will read the live prompts again."""

    async def first(self, decks: Decks) -> None:
        """Prompts are live: these, unless others are asked for meanwhile.

        Raises:
            HostError: they cannot be encoded.
        """

    async def run(self) -> None:
        """Encodes what is asked for until cancelled; then no process is left."""


def open_desk(config: Config, setup: TextSetup | None, listener: DeskListener) -> Desk:
    """The desk for this engine; `setup` = a text encoder of one's own, for any engine."""
    if setup is None and not needs_bank(config.engine):
        return OpenDesk()
    return PromptDesk(config, setup or TextSetup(), listener)


def needs_bank(engine: str) -> bool:
    """Whether the engine takes its prompts from the bank."""
    entries = (entry for entry in CATALOGUE.entries if entry.name == engine)
    return any(part.role is Role.TEXT for entry in entries for part in entry.parts)


class OpenDesk:
    """For engines that read any prompt themselves: all pass at once."""

    doing = ""

    def __init__(self) -> None:
        self.live: Decks | None = None

    def ask(self, decks: Decks) -> None:
        self.live = decks

    def worker_died(self) -> None:
        """Nothing was kept for it."""

    async def first(self, decks: Decks) -> None:
        self.ask(decks)

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()


class _Order(NamedTuple):
    number: int
    decks: Decks


class PromptDesk:
    """Owns the text process, which runs from the first prompt it is needed for until it is idle.

    Fields, per session: `_live` what the worker may be sent, `_wanted` the newest order, and
    whether that one failed; an older one that is done late is shown unless a newer one is live, so
    that a stream of prompts faster than the encoder moves the picture on, and never back.
    """

    def __init__(self, config: Config, setup: TextSetup, listener: DeskListener) -> None:
        self._config = config
        self._setup = setup
        self._listener = listener
        folder = prompts_dir(models_dir(config.models_dir))
        self._bank = PromptBank(folder, dim=setup.text_dim)
        self._live: _Order | None = None
        self._wanted: _Order | None = None
        self._has_failed = False
        self._is_due = asyncio.Event()
        self._first: asyncio.Future[None] | None = None
        self._process: TextProcess | None = None
        self._crash_loop = CrashLoop(setup.limits)
        self._tries = (0, 0)
        self.doing = ""

    @property
    def live(self) -> Decks | None:
        return self._live.decks if self._live else None

    @property
    def process_pid(self) -> int | None:
        """Of the text process; None = not loaded."""
        return self._process.pid if self._process else None

    def ask(self, decks: Decks) -> None:
        is_newest = self._wanted is not None and self._wanted.decks == decks
        if is_newest and not self._has_failed:
            return
        self._has_failed = False
        self._wanted = _Order(self._wanted.number + 1 if self._wanted else 1, decks)
        if not is_newest:
            self._listener.on_problem("")
        if self._missing(decks):
            self._is_due.set()
        else:
            self._settle(self._wanted)

    def has(self, decks: Decks) -> bool:
        """They would be live as soon as they are asked for. Reads their files."""
        return not self._missing(decks)

    def _missing(self, decks: Decks) -> list[str]:
        """The prompts that are not in the bank."""
        return [text for text in decks.texts if not self._bank.has(text)]

    def worker_died(self) -> None:
        if self._live and self._live == self._wanted and self._missing(self._live.decks):
            log.warning("the prompt bank lost the prompt in use; encoding it again")
            self._wanted = _Order(self._wanted.number + 1, self._live.decks)
            self._is_due.set()

    async def first(self, decks: Decks) -> None:
        self.ask(decks)
        if self._live is None:
            self._first = asyncio.get_running_loop().create_future()
            await self._first

    async def run(self) -> None:
        try:
            while True:
                order = await self._next_order()
                await self._serve(order)
        finally:
            await self._unload()

    async def _next_order(self) -> _Order:
        """Waits for one; an encoder that waits too long is unloaded."""
        while True:
            idle_s = self._config.text_idle_s if self._process else 0.0
            try:
                async with asyncio.timeout(idle_s or None):
                    await self._is_due.wait()
            except TimeoutError:
                log.info("no new prompt for %g s: the text encoder is unloaded", idle_s)
                await self._unload()
                continue
            self._is_due.clear()
            if self._wanted and self._wanted != self._live:
                return self._wanted

    async def _serve(self, order: _Order) -> None:
        """The order is settled, or its problem told, or it is due again."""
        missing = self._missing(order.decks)
        try:
            for text in missing:
                await self._encode(text)
                is_stale = self._wanted != order and self._live is not None
                if is_stale and text != missing[-1]:
                    return  # what is wanted now comes first; what was done is in the bank
        except TextDiedError as death:
            await self._unload()
            log.warning("the text process %s", death)
            number, count = self._tries
            self._tries = (order.number, count + 1 if number == order.number else 1)
            if self._tries[1] < MAX_TRIES:
                self._is_due.set()
            else:
                dead = WorkerError(f"the text process {death}, {MAX_TRIES} times")
                self._fail(order, self._missing(order.decks), dead)
            await self._pause()
        except HostError as error:
            await self._unload()
            self._fail(order, self._missing(order.decks), error)
            await self._pause()
        else:
            self._settle_late(order)

    async def _encode(self, prompt: str) -> None:
        """The prompt is in the bank. Raises: TextDiedError, HostError."""
        if self._process is None:
            self._process = await TextProcess.start(self._config, self._setup)
        await self._process.encode(prompt, self._progress)
        if not self._bank.has(prompt):
            raise ModelError(
                f"it was encoded, but the prompt bank {self._bank.folder} does not give it back"
            )

    def _progress(self, text: str, fraction: float) -> None:
        self.doing = f"{text} {fraction:.0%}"
        self._listener.on_progress(text, fraction)

    async def _pause(self) -> None:
        """Before the next process is started: longer, the more died lately."""
        delay_s = self._crash_loop.delay_s(now_ns())
        await asyncio.sleep(self._setup.limits.max_delay_s if delay_s is None else delay_s)

    def _settle(self, order: _Order) -> None:
        self._live = order
        if order == self._wanted:
            self._listener.on_problem("")
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def _settle_late(self, order: _Order) -> None:
        self.doing = ""
        if self._live is None:
            self._settle(order)  # `first` waits for this one
        elif order.number > self._live.number:
            self._settle(order)
            self._listener.on_ready()

    def _fail(self, order: _Order, missing: list[str], error: HostError) -> None:
        """The first of the missing prompts could not be encoded."""
        if order != self._wanted:
            return  # nobody waits for it any more
        self._has_failed = True
        prompt = missing[0] if missing else order.decks.a
        text = f'prompt "{shortened(prompt)}": {error}'
        if isinstance(error, ModelError):
            text += (
                "; or add the prompt with sdv2-host prompts add on another machine and copy "
                f"{self._bank.folder}"
            )
        if self._first is not None and not self._first.done():
            self._first.set_exception(type(error)(text))
        else:
            self._listener.on_problem(text)

    async def _unload(self) -> None:
        self.doing = ""
        if self._process is not None:
            await self._process.end()
            self._process = None  # only now: a cancellation on the way must find it here
