"""Prompts on their way to the worker: real text processes with canned embeddings."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sdv2_host.config import Config
from sdv2_host.errors import DeviceError, ModelError, WorkerError
from sdv2_host.host.limits import Limits
from sdv2_host.host.prompt_desk import (
    Decks,
    DeskListener,
    OpenDesk,
    PromptDesk,
    needs_bank,
    open_desk,
)
from sdv2_host.models.prompt_bank import PromptBank
from tests.host.fake_text import QUICK, FakeLog, banked, fake_setup
from tests.host.live_host import is_alive


@dataclass
class Witness:
    """Remembers what a desk tells."""

    problems: list[str] = field(default_factory=list)
    num_ready: int = 0
    progress: list[str] = field(default_factory=list)

    def ready(self) -> None:
        self.num_ready += 1

    def tell(self, text: str, fraction: float) -> None:
        self.progress.append(text)

    @property
    def problem(self) -> str:
        return self.problems[-1] if self.problems else ""


@dataclass
class Scene:
    """A desk at work, its listener, and what its text processes did."""

    desk: PromptDesk
    witness: Witness
    bank: PromptBank
    text: FakeLog

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def scene(
    folder: Path, *prompts: str, idle_s: float = 0.0, limits: Limits = QUICK
) -> AsyncIterator[Scene]:
    """A desk with these prompts in its bank, the first one live."""
    config = Config(engine="wan-1.3b", models_dir=str(folder), text_idle_s=idle_s)
    witness = Witness()
    listener = DeskListener(witness.ready, witness.problems.append, witness.tell)
    bank = banked(folder, *prompts)
    desk = PromptDesk(config, fake_setup(folder, limits), listener)
    running = asyncio.create_task(desk.run())
    try:
        await desk.first(Decks(prompts[0]))
        yield Scene(desk, witness, bank, FakeLog(folder))
    finally:
        running.cancel()
        await asyncio.wait({running})
        assert desk.process_pid is None


def test_banked_prompts_are_live_at_once_and_start_no_process(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a", "b") as at:
            at.desk.ask(Decks("b"))
            assert at.desk.live == Decks("b")
            at.desk.ask(Decks("a"))
            assert at.desk.live == Decks("a")
            await asyncio.sleep(0.05)

            assert len(at.text.pids) == 0
            assert at.desk.process_pid is None
            assert at.witness.num_ready == 0

    asyncio.run(run())


def test_a_new_prompt_is_live_when_it_is_in_the_bank_and_not_before(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("slow neon"))
            await at.until(lambda: at.text.encoded == ["slow neon"])
            assert at.desk.live == Decks("a")
            await at.until(lambda: at.desk.doing == "encoding 50%")

            at.text.go()
            await at.until(lambda: at.desk.live == Decks("slow neon"))
            assert at.witness.num_ready == 1
            assert at.bank.has("slow neon")
            assert at.desk.doing == ""
            assert at.witness.progress == ["loading", "encoding"]
            assert at.witness.problem == ""

    asyncio.run(run())


def test_of_many_prompts_only_the_newest_is_encoded_next(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("slow one"))
            await at.until(lambda: at.text.encoded == ["slow one"])
            for number in range(50):
                at.desk.ask(Decks(f"passing {number}"))
            at.text.go()
            await at.until(lambda: at.desk.live == Decks("passing 49"))

            assert at.text.encoded == ["slow one", "passing 49"]
            assert len(at.text.pids) == 1

    asyncio.run(run())


def test_the_picture_never_goes_back_to_a_prompt_that_was_done_late(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a", "b") as at:
            at.desk.ask(Decks("slow one"))
            await at.until(lambda: at.text.encoded == ["slow one"])
            at.desk.ask(Decks("b"))
            assert at.desk.live == Decks("b")
            at.text.go()
            await at.until(lambda: at.bank.has("slow one"))
            await at.until(lambda: at.desk.doing == "")

            assert at.desk.live == Decks("b")
            assert at.witness.num_ready == 0
            at.desk.ask(Decks("slow one"))
            assert at.desk.live == Decks("slow one")

    asyncio.run(run())


def test_a_stream_of_prompts_moves_the_picture_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("slow one"))
            await at.until(lambda: at.text.encoded == ["slow one"])
            at.desk.ask(Decks("slow two"))
            at.text.go()
            await at.until(lambda: at.desk.live == Decks("slow two"))

            assert at.text.encoded == ["slow one", "slow two"]
            assert at.witness.num_ready == 2

    asyncio.run(run())


def test_a_process_that_died_is_replaced_and_the_prompt_arrives(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("once please"))
            await at.until(lambda: at.desk.live == Decks("once please"))

            assert len(at.text.pids) == 2
            assert at.witness.problem == ""

    asyncio.run(run())


def test_a_prompt_that_kills_every_process_is_given_up_and_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("crash now"))
            await at.until(lambda: at.witness.problem != "")

            assert len(at.text.pids) == 3
            assert at.desk.live == Decks("a")
            assert at.witness.problem == (
                'prompt "crash now": the text process was killed by signal 9, 3 times'
            )
            at.desk.ask(Decks("fine"))
            assert at.witness.problem == ""
            await at.until(lambda: at.desk.live == Decks("fine"))

    asyncio.run(run())


def test_a_failure_that_was_told_is_tried_again_only_when_asked_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("refuse this"))
            await at.until(lambda: at.witness.problem != "")

            assert len(at.text.pids) == 1
            assert at.witness.problem == (
                'prompt "refuse this": the text encoder ran out of memory'
            )
            assert at.desk.live == Decks("a")
            at.desk.ask(Decks("refuse this"))
            await at.until(lambda: len(at.text.pids) == 2 and at.desk.process_pid is None)
            assert at.witness.problem.startswith('prompt "refuse this"')
            at.desk.ask(Decks("a"))
            assert at.witness.problem == ""

    asyncio.run(run())


def test_a_prompt_that_failed_is_live_when_asked_for_after_it_was_banked(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("refuse this"))
            await at.until(lambda: at.witness.problem != "")
            banked(tmp_path, "refuse this")
            at.desk.ask(Decks("refuse this"))

            assert at.desk.live == Decks("refuse this")
            assert at.witness.problem == ""

    asyncio.run(run())


def test_a_failure_nobody_waits_for_is_not_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a", "b") as at:
            at.desk.ask(Decks("slow refuse"))
            await at.until(lambda: at.text.encoded == ["slow refuse"])
            at.desk.ask(Decks("b"))
            at.text.go()
            await at.until(lambda: at.desk.process_pid is None)

            assert at.witness.problem == ""
            assert at.desk.live == Decks("b")

    asyncio.run(run())


def test_a_process_that_says_it_is_done_is_not_believed(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("mute"))
            await at.until(lambda: at.witness.problem != "")

            assert "does not give it back" in at.witness.problem
            assert "prompts add on another machine" in at.witness.problem
            assert at.desk.live == Decks("a")

    asyncio.run(run())


def test_silence_ends_the_process(tmp_path: Path) -> None:
    limits = Limits(start_silence_s=0.5, first_delay_s=0.01, max_delay_s=0.02, stop_s=0.1)

    async def run() -> None:
        async with scene(tmp_path, "a", limits=limits) as at:
            at.desk.ask(Decks("slow"))
            await at.until(lambda: at.witness.problem != "")

            assert "gave no sign of life for 0.5 s, 3 times" in at.witness.problem

    asyncio.run(run())


def test_an_idle_encoder_is_unloaded_and_loaded_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a", idle_s=0.05) as at:
            at.desk.ask(Decks("one"))
            await at.until(lambda: at.desk.live == Decks("one"))
            pid = at.desk.process_pid
            assert pid is not None
            await at.until(lambda: at.desk.process_pid is None)
            assert not is_alive(pid)

            at.desk.ask(Decks("two"))
            await at.until(lambda: at.desk.live == Decks("two"))
            assert len(at.text.pids) == 2

    asyncio.run(run())


def test_an_encoder_stays_loaded_between_prompts(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            for prompt in ("one", "two", "three"):
                at.desk.ask(Decks(prompt))
                await at.until(lambda prompt=prompt: at.desk.live == Decks(prompt))  # type: ignore[misc]

            assert len(at.text.pids) == 1

    asyncio.run(run())


def test_a_process_that_died_while_idle_is_replaced(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("one"))
            await at.until(lambda: at.desk.live == Decks("one"))
            pid = at.desk.process_pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

            at.desk.ask(Decks("two"))
            await at.until(lambda: at.desk.live == Decks("two"))
            assert at.witness.problem == ""

    asyncio.run(run())


def test_the_bank_survives_restarts(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("one"))
            await at.until(lambda: at.desk.live == Decks("one"))
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("one"))
            assert at.desk.live == Decks("one")
            assert len(at.text.pids) == 1

    asyncio.run(run())


def test_a_damaged_entry_is_encoded_anew(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a", "b") as at:
            at.bank.path("b").write_bytes(b"rubbish")
            at.desk.ask(Decks("b"))
            assert at.desk.live == Decks("a")
            await at.until(lambda: at.desk.live == Decks("b"))

            assert at.text.encoded == ["b"]

    asyncio.run(run())


def test_a_prompt_the_bank_lost_is_there_again_for_the_next_worker(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a") as at:
            at.desk.worker_died()
            at.bank.remove_all()
            at.desk.worker_died()
            await at.until(lambda: at.bank.has("a"))
            await at.until(lambda: at.witness.num_ready == 1)

            assert at.desk.live == Decks("a")
            assert at.text.encoded == ["a"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("prompt", "kind", "text"),
    [
        ("refuse", DeviceError, 'prompt "refuse": the text encoder ran out of memory'),
        ("crash", WorkerError, "killed by signal 9, 3 times"),
        ("mute", ModelError, "does not give it back"),
    ],
)
def test_the_first_prompt_must_succeed(
    tmp_path: Path, prompt: str, kind: type[Exception], text: str
) -> None:
    async def run() -> None:
        with pytest.raises(kind, match=text):
            async with scene_without_prompt(tmp_path) as desk:
                await desk.first(Decks(prompt))

    asyncio.run(run())


def test_another_first_prompt_may_be_asked_for_meanwhile(tmp_path: Path) -> None:
    banked(tmp_path, "b")

    async def run() -> None:
        async with scene_without_prompt(tmp_path) as desk:
            first = asyncio.create_task(desk.first(Decks("slow one")))
            await asyncio.sleep(0)
            desk.ask(Decks("b"))
            await first
            assert desk.live == Decks("b")

    asyncio.run(run())


@asynccontextmanager
async def scene_without_prompt(folder: Path) -> AsyncIterator[PromptDesk]:
    witness = Witness()
    listener = DeskListener(witness.ready, witness.problems.append, witness.tell)
    config = Config(engine="wan-1.3b", models_dir=str(folder))
    desk = PromptDesk(config, fake_setup(folder), listener)
    running = asyncio.create_task(desk.run())
    try:
        yield desk
    finally:
        running.cancel()
        await asyncio.wait({running})


def test_stopping_leaves_no_process_even_while_it_encodes(tmp_path: Path) -> None:
    async def run() -> int:
        async with scene(tmp_path, "a") as at:
            at.desk.ask(Decks("slow"))
            await at.until(lambda: at.text.encoded == ["slow"])
            pid = at.desk.process_pid
            assert pid is not None
            return pid

    assert not is_alive(asyncio.run(run()))


def test_only_engines_with_a_text_encoder_need_the_bank() -> None:
    names = ("tiny", "passthrough", "wan-1.3b", "wan-14b")
    assert [needs_bank(name) for name in names] == [False, False, True, True]
    witness = Witness()
    listener = DeskListener(witness.ready, witness.problems.append, witness.tell)

    assert isinstance(open_desk(Config(engine="tiny"), None, listener), OpenDesk)
    assert isinstance(open_desk(Config(engine="wan-14b"), None, listener), PromptDesk)


def test_without_a_text_encoder_every_prompt_passes() -> None:
    desk = OpenDesk()

    asyncio.run(desk.first(Decks("a")))
    assert desk.live == Decks("a")
    desk.ask(Decks("b"))
    assert desk.live == Decks("b")


def test_both_decks_go_live_together_when_every_text_in_them_is_banked(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path, "a", "b") as at:
            wanted = Decks("a:2 | new one", "b | another one:3")
            at.desk.ask(wanted)
            assert at.desk.live == Decks("a")

            await at.until(lambda: at.desk.live == wanted)

            assert all(at.bank.has(text) for text in ("new one", "another one"))
            at.desk.ask(Decks("b", "new one"))
            assert at.desk.live == Decks("b", "new one")

    asyncio.run(run())


def test_an_empty_deck_b_asks_for_no_prompt() -> None:
    assert Decks("a | b:2 | a").texts == ("a", "b")
    assert Decks("", "").texts == ("",)
    assert Decks("a", "c | a").texts == ("a", "c")
