"""Prompts while the engine changes: what is sent to a worker is there for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.host.engine_prompts import EnginePrompts
from sdv2_host.host.prompt_desk import Decks, DeskListener
from tests.host.fake_text import FakeLog, banked, fake_setup
from tests.host.live_host import is_alive


@dataclass
class Scene:
    """The prompts of a host with the tiny engine, `wan` what may take over."""

    prompts: EnginePrompts
    tiny: Config
    wan: Config
    text: FakeLog
    on_air: list[str]
    problems: list[str] = field(default_factory=list)
    num_ready: int = 0

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def scene(folder: Path, *prompts: str, command: tuple[str, ...] = ()) -> AsyncIterator[Scene]:
    """`command` = a text process that is none."""
    banked(folder, *prompts)
    tiny = Config(models_dir=str(folder))
    wan = tiny.model_copy(update={"engine": "wan-1.3b"})
    on_air: list[str] = []
    made: list[Scene] = []

    def ready() -> None:
        made[0].num_ready += 1

    def problem(text: str) -> None:
        made[0].problems.append(text)

    listener = DeskListener(ready, problem, lambda *_: None)
    setup = fake_setup(folder)
    setup = replace(setup, command=command or setup.command)
    desk = EnginePrompts(tiny, setup, listener, lambda: tuple(on_air))
    made.append(Scene(desk, tiny, wan, FakeLog(folder), on_air))
    running = asyncio.create_task(desk.run())
    try:
        yield made[0]
    finally:
        running.cancel()
        await asyncio.wait({running})


def test_before_another_engine_is_asked_for_every_prompt_is_live_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as s:
            s.prompts.ask(Decks("anything"))

            assert s.prompts.live == Decks("anything")

    asyncio.run(run())


def test_an_engine_with_a_bank_is_let_in_when_all_that_is_on_air_is_in_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "c") as s:
            s.prompts.ask(Decks("b", "c"))
            s.on_air[:] = ["a", "b"]  # fading from one to the other

            await s.prompts.admit(s.wan)

            assert s.text.encoded == ["a", "b"]
            assert s.prompts.live == Decks("b", "c")
            assert (s.problems, s.num_ready) == ([], 0)

    asyncio.run(run())


def test_prompts_asked_for_meanwhile_are_shown_at_once_and_waited_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as s:
            s.prompts.ask(Decks("slow one"))
            admitting = asyncio.create_task(s.prompts.admit(s.wan))
            await s.until(lambda: s.text.encoded == ["slow one"])
            s.prompts.ask(Decks("newer"))
            assert s.prompts.live == Decks("newer")
            assert not admitting.done()
            s.text.go()
            await admitting

            assert s.prompts.live == Decks("newer")
            assert s.text.encoded[-1] == "newer"

    asyncio.run(run())


def test_once_it_is_let_in_new_prompts_wait_until_they_are_in_the_bank(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as s:
            s.prompts.ask(Decks("a"))
            await s.prompts.admit(s.wan)
            s.prompts.ask(Decks("slow one"))
            assert s.prompts.live == Decks("a")
            s.text.go()
            await s.until(lambda: s.prompts.live == Decks("slow one"))

            assert s.num_ready == 1

    asyncio.run(run())


def test_a_prompt_that_cannot_be_encoded_is_why_it_is_not_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as s:
            s.prompts.ask(Decks("refuse me"))
            with pytest.raises(ModelError, match=r'prompt "refuse me": .*ran out of memory'):
                await s.prompts.admit(s.wan)

            assert s.prompts.live == Decks("refuse me")
            s.prompts.ask(Decks("anything"))
            assert s.prompts.live == Decks("anything")
            await s.until(lambda: not any(is_alive(pid) for pid in s.text.pids))

    asyncio.run(run())


def test_a_text_process_that_cannot_be_made_is_why_it_is_not_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, command=(str(tmp_path / "none"),)) as s:
            s.prompts.ask(Decks("a"))
            with pytest.raises(ModelError, match="the text process could not be started: "):
                await s.prompts.admit(s.wan)

            assert s.prompts.live == Decks("a")

    asyncio.run(run())


def test_when_only_an_engine_without_a_bank_is_left_what_waited_is_live(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as s:
            s.prompts.ask(Decks("a"))
            await s.prompts.admit(s.wan)
            s.prompts.ask(Decks("slow one"))
            assert s.prompts.live == Decks("a")

            s.prompts.settle(s.wan)
            assert s.prompts.live == Decks("a")
            s.prompts.settle(s.tiny)

            assert s.prompts.live == Decks("slow one")
            assert s.num_ready == 1
            await s.until(lambda: not any(is_alive(pid) for pid in s.text.pids))

    asyncio.run(run())


def test_an_admission_that_is_called_off_leaves_no_process(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as s:
            s.prompts.ask(Decks("slow one"))
            admitting = asyncio.create_task(s.prompts.admit(s.wan))
            await s.until(lambda: s.text.encoded == ["slow one"])
            admitting.cancel()
            await asyncio.wait({admitting})

            await s.until(lambda: not any(is_alive(pid) for pid in s.text.pids))
            assert s.prompts.live == Decks("slow one")

    asyncio.run(run())
