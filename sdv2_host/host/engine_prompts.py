"""The prompt desk of whichever engine makes the pictures, or is about to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.host.prompt_desk import Decks, Desk, DeskListener, OpenDesk, PromptDesk, needs_bank
from sdv2_host.host.text_process import TextSetup


class EnginePrompts:
    """A `Desk` that follows the engine.

    While an engine that takes its prompts from the bank is prepared, and as long as one is in use,
    only prompts that are in the bank are live; else all are at once. So what is sent to two workers
    is there for both.

    Fields, per session: the desk in use; the one whose prompts are being encoded for an engine to
    come; the newest prompts asked for; the problem of the coming desk.
    """

    def __init__(
        self,
        config: Config,
        setup: TextSetup | None,
        listener: DeskListener,
        texts_on_air: Callable[[], tuple[str, ...]],
        is_banked: Callable[[str], bool] = needs_bank,
    ) -> None:
        """`setup` = a text encoder of one's own. `texts_on_air` are the prompts that the picture
        is made with now, of which some may be fading out. `is_banked` tells of an engine whether
        it takes its prompts from the bank."""
        self._setup = setup
        self._listener = listener
        self._texts_on_air = texts_on_air
        self._is_banked = is_banked
        self._coming: PromptDesk | None = None
        self._asked: Decks | None = None
        self._problem = ""
        self._told = asyncio.Event()
        self._changed = asyncio.Event()
        self._desk: Desk = self._open(config) if self._is_banked(config.engine) else OpenDesk()

    @property
    def live(self) -> Decks | None:
        return self._desk.live

    @property
    def doing(self) -> str:
        return self._coming.doing if self._coming is not None else self._desk.doing

    def ask(self, decks: Decks) -> None:
        self._asked = decks
        self._desk.ask(decks)
        self._told.set()

    def worker_died(self) -> None:
        self._desk.worker_died()

    async def first(self, decks: Decks) -> None:
        self._asked = decks
        await self._desk.first(decks)

    async def admit(self, config: Config) -> None:
        """What is live can be sent to a worker with this configuration.

        Raises:
            ModelError: a prompt cannot be encoded for it.
        """
        if isinstance(self._desk, PromptDesk) or not self._is_banked(config.engine):
            return
        self._coming = coming = self._open(config)
        self._changed.set()
        try:
            while (missing := self._missing(coming)) is not None:
                await self._bank(coming, missing)
            if self._asked is not None:
                coming.ask(self._asked)
            self._desk = coming
        finally:
            self._coming = None
            self._changed.set()

    def settle(self, config: Config) -> None:
        """Only workers with this configuration are left."""
        if self._is_banked(config.engine) or isinstance(self._desk, OpenDesk):
            return
        before, self._desk = self._desk.live, OpenDesk()
        self._changed.set()
        self._listener.on_problem("")
        if self._asked is not None:
            self._desk.ask(self._asked)
        if self._desk.live != before:
            self._listener.on_ready()

    async def run(self) -> None:
        serving: dict[Desk, asyncio.Task[None]] = {}
        try:
            while True:
                self._changed.clear()
                wanted = [desk for desk in (self._desk, self._coming) if desk is not None]
                for desk in wanted:
                    if desk not in serving:
                        serving[desk] = asyncio.create_task(desk.run(), name="prompt desk")
                _cancel(task for desk, task in serving.items() if desk not in wanted)
                changing = asyncio.create_task(self._changed.wait())
                try:
                    ends = {changing, *serving.values()}
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changing.cancel()
                for desk in [desk for desk, task in serving.items() if task.done()]:
                    task = serving.pop(desk)
                    if desk in wanted:
                        task.result()
        finally:
            _cancel(serving.values())
            if serving:
                await asyncio.wait(serving.values())

    def _open(self, config: Config) -> PromptDesk:
        desk: PromptDesk

        def on_ready() -> None:
            if desk is self._desk:
                self._listener.on_ready()
            self._told.set()

        def on_problem(text: str) -> None:
            if desk is self._desk:
                self._listener.on_problem(text)
            else:
                self._problem = text
            self._told.set()

        listener = DeskListener(on_ready, on_problem, self._listener.on_progress)
        desk = PromptDesk(config, self._setup or TextSetup(), listener)
        return desk

    def _missing(self, coming: PromptDesk) -> Decks | None:
        """Prompts that are on air or asked for and not in the bank yet."""
        wanted = [Decks(text) for text in self._texts_on_air()]
        if self._asked is not None:
            wanted.append(self._asked)
        return next((decks for decks in wanted if not coming.has(decks)), None)

    async def _bank(self, coming: PromptDesk, decks: Decks) -> None:
        """The decks are in the bank, or others are asked for meanwhile.

        Raises: ModelError, with the desk's problem.
        """
        self._problem = ""
        asked = self._asked
        coming.ask(decks)
        while not coming.has(decks) and self._asked == asked:
            if self._problem:
                raise ModelError(self._problem)
            self._told.clear()
            await self._told.wait()


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Each once: a second time would leave its process to itself."""
    for task in tasks:
        if not task.cancelling():
            task.cancel()
