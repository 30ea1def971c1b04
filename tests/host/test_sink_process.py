"""A sink's process is kept running, and nothing of it harms the host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from sdv2_host.control.console import Console
from sdv2_host.errors import ConfigError
from sdv2_host.host import sink_process
from sdv2_host.host.sink_process import SinkProcess
from tests.control.fake_stage import FakeStage


def sink(*words: str) -> tuple[SinkProcess, Console]:
    console = Console(FakeStage())
    return SinkProcess(console, "fake sink", "tests.host.fake_sink", words), console


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_what_it_says_is_its_state_and_a_problem_is_noted() -> None:
    one, console = sink("on", "print", "off")

    async def body() -> None:
        await one.start()
        await until(lambda: one.state.text == "off")
        await one.close()

    asyncio.run(body())

    assert [notice.text for notice in console.notices] == ["off"]


def test_one_that_dies_is_started_again_and_its_last_words_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sink_process, "RESTART_S", 0.05)
    one, console = sink("on", "shout", "die")

    async def body() -> None:
        await one.start()
        await until(lambda: one.num_restarts == 2)
        await one.close()

    asyncio.run(body())

    assert console.notices[0].text == "the last words; starting again"


def test_one_that_ends_before_it_says_a_word_stops_the_start() -> None:
    one, _ = sink("shout", "die")

    with pytest.raises(ConfigError, match="the last words"):
        asyncio.run(one.start())


def test_one_that_is_deaf_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_process, "CLOSE_S", 0.2)
    one, _ = sink("on", "deaf")

    async def body() -> float:
        await one.start()
        begin_s = time.monotonic()
        await one.close()
        return time.monotonic() - begin_s

    assert asyncio.run(body()) < 2
