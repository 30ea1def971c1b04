"""What an engine cannot follow reaches the status and the log, and the stream goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sdv2_host.commands.render import render
from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.host.daemon import Daemon
from sdv2_host.params import Params
from tests.host.live_host import streaming_host
from tests.sources.clips import write_clip

TEXT = "engine passthrough takes no LoRAs"


def test_a_problem_is_shown_and_told_once_and_cleared_when_it_is_gone(
    run_dir: Path, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            daemon = stage.daemon
            assert daemon.snapshot().problem == ""

            stage.send_osc("/sdv2/lora", "ghibli:0.8,", "ink")
            await stage.until(lambda: daemon.snapshot().problem == TEXT)
            seen = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) >= seen + 12)
            assert daemon.params.lora == "ghibli:0.8, ink"
            assert daemon.snapshot().to_json()["problem"] == TEXT
            assert daemon.snapshot().worker_restarts == 0

            stage.send_osc("/sdv2/lora", "")
            await stage.until(lambda: daemon.snapshot().problem == "")

    asyncio.run(run())
    assert [record.message for record in caplog.records].count(TEXT) == 1


def test_a_path_sent_over_the_network_is_refused(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        async with streaming_host(run_dir, stream) as stage:
            stage.send_osc("/sdv2/lora", "../../secret")
            await stage.until(lambda: stage.daemon.snapshot().osc.rejected == 1)

            assert stage.daemon.params.lora == ""

    asyncio.run(run())


def test_a_file_is_not_rendered_without_what_was_asked_for(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    target = tmp_path / "out.mp4"

    with pytest.raises(ModelError, match=TEXT):
        render(clip, target, Config(engine="passthrough"), Params(lora="ghibli"))

    assert not target.exists()


def test_more_steps_than_the_host_has_caches_for_are_cut_and_told(
    run_dir: Path, stream: str
) -> None:
    async def run() -> None:
        config = Config(name=stream, engine="passthrough", port=0, max_steps=2)
        daemon = Daemon(config, Params(steps=1), run_dir=run_dir)

        assert daemon.apply({"steps": 4}, "test").steps == 2
        assert "keeps caches for 2" in daemon.snapshot().problem
        assert daemon.apply({"steps": 1}, "test").steps == 1
        assert daemon.snapshot().problem == ""

    asyncio.run(run())
