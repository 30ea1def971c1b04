"""A daemon whose prompts come from the bank: the picture never waits for a text encoder."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from sdv2_host.config import Config
from sdv2_host.errors import DeviceError, ModelError
from sdv2_host.host.daemon import Daemon
from sdv2_host.params import Params
from sdv2_host.status import HostState
from tests.host.fake_text import FakeLog, banked, fake_setup
from tests.host.live_host import BankedText, Stage, is_alive, live_host, streaming_host

FIRST = Params(prompt="a")


def text_of(folder: Path, *prompts: str, idle_s: float = 0.0) -> BankedText:
    banked(folder, *prompts)
    return BankedText(folder, fake_setup(folder), idle_s)


def shown_prompt(stage: Stage) -> str:
    return stage.daemon.snapshot().prompt


def newest_tag(stage: Stage) -> int:
    return stage.fresh[-1].meta.user_tag


def test_other_parameters_flow_while_a_prompt_is_being_encoded(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        log = FakeLog(tmp_path)
        async with streaming_host(run_dir, stream, FIRST, text=text_of(tmp_path, "a")) as stage:
            stage.send_osc("/sdv2/prompt", "slow neon")
            await stage.until(lambda: log.encoded == ["slow neon"])
            for seed in (5, 6):
                stage.send_osc("/sdv2/seed", seed)
                await stage.until(lambda seed=seed: stage.daemon.params.seed == seed)  # type: ignore[misc]
                version = stage.daemon.snapshot().params_version
                await stage.until(lambda v=version: newest_tag(stage) == v)  # type: ignore[misc]
            status = stage.daemon.snapshot()
            assert (status.prompt, status.params_version) == ("a", 2)
            assert "encoding 50%" in status.detail
            assert stage.daemon.params.prompt == "slow neon"

            log.go()
            await stage.until(lambda: shown_prompt(stage) == "slow neon")
            await stage.until(lambda: newest_tag(stage) == 3)
            numbers = [frame.meta.source_frame for frame in stage.fresh]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert stage.daemon.snapshot().problem == ""
            assert "encoding" not in stage.daemon.snapshot().detail

    asyncio.run(run())


def test_a_banked_prompt_is_one_change_and_starts_no_process(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        text = text_of(tmp_path, "a", "neon")
        async with streaming_host(run_dir, stream, FIRST, text=text) as stage:
            stage.send_osc("/sdv2/prompt", "neon")
            await stage.until(lambda: newest_tag(stage) == 1)

            assert shown_prompt(stage) == "neon"
            assert stage.daemon.snapshot().params_version == 1
        assert FakeLog(tmp_path).pids == []

    asyncio.run(run())


def test_a_dying_text_process_keeps_the_stream_with_the_old_prompt(
    run_dir: Path, stream: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream, FIRST, text=text_of(tmp_path, "a")) as stage:
            stage.send_osc("/sdv2/prompt", "crash now")
            await stage.until(lambda: stage.daemon.snapshot().problem != "")
            seen = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) > seen + 8)

            status = stage.daemon.snapshot()
            assert status.problem.startswith('prompt "crash now": the text process was killed')
            assert (status.prompt, status.state) == ("a", HostState.LIVE)
            assert status.worker_restarts == 0
            numbers = [frame.meta.source_frame for frame in stage.fresh]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

            stage.send_osc("/sdv2/prompt", "neon")
            await stage.until(lambda: shown_prompt(stage) == "neon")
            assert stage.daemon.snapshot().problem == ""

    asyncio.run(run())
    assert 'prompt "crash now": the text process was killed' in caplog.text


def test_a_new_worker_gets_the_prompt_in_use_and_not_the_one_that_is_not_ready(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        log = FakeLog(tmp_path)
        async with streaming_host(run_dir, stream, FIRST, text=text_of(tmp_path, "a")) as stage:
            stage.send_osc("/sdv2/prompt", "slow neon")
            await stage.until(lambda: log.encoded == ["slow neon"])
            pid = stage.daemon.snapshot().worker_pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await stage.until(lambda: stage.daemon.snapshot().worker_restarts == 1)
            await stage.until(lambda: stage.daemon.snapshot().state == "live")
            assert shown_prompt(stage) == "a"

            log.go()
            await stage.until(lambda: shown_prompt(stage) == "slow neon")
            await stage.until(lambda: newest_tag(stage) == 1)

    asyncio.run(run())


def test_the_worker_starts_when_the_first_prompt_is_ready_and_tells_progress(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        log, told = FakeLog(tmp_path), []
        first = Params(prompt="slow start")
        async with live_host(run_dir, stream, first, text=text_of(tmp_path)) as stage:
            stage.daemon.on_progress.append(lambda text, fraction: told.append(text))
            await stage.until(lambda: log.encoded == ["slow start"])
            await stage.until(lambda: stage.daemon.snapshot().detail == "encoding")
            status = stage.daemon.snapshot()
            assert (status.state, status.worker_pid) == (HostState.STARTING, None)

            log.go()
            await stage.until(stage.daemon.ready.is_set)
            assert shown_prompt(stage) == "slow start"
            assert told[:2] == ["loading", "encoding"]
            assert stage.daemon.snapshot().params_version == 0

    asyncio.run(run())


def test_a_first_prompt_that_cannot_be_encoded_ends_the_host(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        first = Params(prompt="refuse this")
        with pytest.raises(DeviceError, match='prompt "refuse this": the text encoder ran out'):
            async with live_host(run_dir, stream, first, text=text_of(tmp_path)) as stage:
                await stage.running
        assert list(run_dir.glob("*.json")) == []

    asyncio.run(run())


def test_without_a_text_encoder_a_wan_engine_says_so_before_a_worker_starts(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    config = Config(name=stream, engine="wan-1.3b", port=0, models_dir=str(tmp_path))

    async def run() -> None:
        daemon = Daemon(config, Params(prompt="neon"), run_dir=run_dir)
        with pytest.raises(ModelError) as caught:
            await daemon.run(asyncio.Event())
        text = str(caught.value)
        assert text.startswith('prompt "neon": wan-1.3b: the text encoder and the tokenizer are')
        assert "run sdv2-host models pull wan-1.3b" in text
        assert "sdv2-host prompts add on another machine" in text

    asyncio.run(run())


def test_stopping_while_a_prompt_is_being_encoded_leaves_no_process(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        log = FakeLog(tmp_path)
        async with streaming_host(run_dir, stream, FIRST, text=text_of(tmp_path, "a")) as stage:
            stage.send_osc("/sdv2/prompt", "slow neon")
            await stage.until(lambda: log.encoded == ["slow neon"])
        (pid,) = log.pids
        assert not is_alive(pid)

    asyncio.run(run())


def test_stopping_before_the_first_prompt_is_ready_is_clean(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        log = FakeLog(tmp_path)
        first = Params(prompt="slow start")
        async with live_host(run_dir, stream, first, text=text_of(tmp_path)) as stage:
            await stage.until(lambda: log.encoded == ["slow start"])
        (pid,) = log.pids
        assert not is_alive(pid)
        assert stage.running.exception() is None
        assert list(run_dir.glob("*.json")) == []

    asyncio.run(run())


def test_an_idle_encoder_is_unloaded_while_the_stream_goes_on(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    async def run() -> None:
        log = FakeLog(tmp_path)
        text = text_of(tmp_path, "a", idle_s=0.05)
        async with streaming_host(run_dir, stream, FIRST, text=text) as stage:
            for number, prompt in enumerate(("neon", "rain")):
                stage.send_osc("/sdv2/prompt", prompt)
                await stage.until(lambda p=prompt: shown_prompt(stage) == p)  # type: ignore[misc]
                assert len(log.pids) == number + 1
                await stage.until(lambda: not is_alive(log.pids[-1]))
            seen = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) > seen + 8)

    asyncio.run(run())
