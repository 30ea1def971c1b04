"""What the parameters ask for, and what becomes of it when it cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.config import Config
from sdv2_host.control.console import Console
from sdv2_host.host.engine_desk import EngineDesk, carried_over, values_of, wanted_config
from sdv2_host.host.engine_prompts import EnginePrompts
from sdv2_host.host.prompt_desk import DeskListener
from sdv2_host.host.worker_life import WorkerLife
from sdv2_host.ipc.messages import Failed
from sdv2_host.param_values import apply
from sdv2_host.params import AS_STARTED, Params
from tests.control.fake_stage import FakeStage

TINY = Config(engine="tiny", width=256, height=256)
WAN = Config(engine="wan-1.3b", width=512, height=512)
WAN_NOISE = {"noise_s_min": 0.7, "noise_s_max": 0.8}

configs = st.builds(
    Config,
    engine=st.sampled_from(["tiny", "passthrough", "wan-1.3b", "wan-14b"]),
    width=st.sampled_from([128, 256, 512]),
    height=st.sampled_from([128, 256, 512]),
)
values = st.fixed_dictionaries(
    {
        "engine": st.sampled_from([AS_STARTED, "tiny", "passthrough", "wan-1.3b", "wan-14b"]),
        "vae": st.sampled_from([AS_STARTED, "wan", "hybrid", "taehv"]),
        "width": st.sampled_from([0, 128, 512]),
        "height": st.sampled_from([0, 64, 256]),
    }
)


def test_parameters_as_started_ask_for_what_was_started() -> None:
    assert wanted_config(WAN, Params()) == WAN


@given(started=configs, asked=values)
def test_the_values_of_a_configuration_ask_for_it(
    started: Config, asked: dict[str, str | int]
) -> None:
    config = wanted_config(started, apply(Params(), asked))

    again = wanted_config(started, apply(Params(), values_of(started, config)))

    assert again == config


@given(started=configs, asked=values)
def test_nothing_but_engine_autoencoder_and_size_is_another(
    started: Config, asked: dict[str, str | int]
) -> None:
    config = wanted_config(started, apply(Params(), asked))

    free = {"engine": "tiny", "vae": "wan", "width": 64, "height": 64}
    assert config.model_copy(update=free) == started.model_copy(update=free)


def test_what_is_as_one_engine_starts_becomes_as_the_other_starts() -> None:
    assert carried_over(Params(), TINY, WAN) == {**WAN_NOISE, "steps": 2}
    by_hand = Params(noise_s_min=0.6, noise_s_max=0.65, steps=3)
    assert carried_over(by_hand, TINY, WAN) == {"steps": 3}
    wan = Params(noise_s_min=0.7, noise_s_max=0.8)
    assert carried_over(wan, WAN, TINY) == {"noise_s_min": 0.35, "noise_s_max": 0.5, "steps": 2}


def test_no_more_steps_are_carried_over_than_the_engine_keeps_caches_for() -> None:
    large = WAN.model_copy(update={"engine": "wan-14b"})

    assert carried_over(Params(steps=4), WAN, large)["steps"] == 2
    assert carried_over(Params(), WAN, WAN.model_copy(update={"width": 256})) == {"steps": 2}


class WatchedPrompts(EnginePrompts):
    settled: Config | None = None

    def settle(self, config: Config) -> None:
        self.settled = config
        super().settle(config)


class Rig:
    """A desk at a console; what it has prepared is written down."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.stage = FollowedStage()
        self.console = Console(self.stage)
        self.problems: dict[str, str] = {}
        self.prepared: list[tuple[Config, bool]] = []
        config = config.model_copy(update={"models_dir": str(folder)})
        self.started = config
        listener = DeskListener(lambda: None, lambda _: None, lambda *_: None)
        self.prompts = WatchedPrompts(config, None, listener, tuple)
        self.desk = EngineDesk(config, self.console, self.prompts, self.problem)
        self.stage.follow = self.desk.follow

    def problem(self, origin: str, text: str) -> None:
        self.problems[origin] = text

    def prepare(self, config: Config, *, is_beside: bool = True) -> None:
        self.prepared.append((config, is_beside))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)


class FollowedStage(FakeStage):
    """Tells what the parameters ask for, as the daemon does."""

    follow: Callable[[Params], None] = staticmethod(lambda _: None)

    def apply(self, patch: object, origin: str, fade: object = None) -> Params:  # type: ignore[override]
        params = super().apply(patch, origin)  # type: ignore[arg-type]
        self.follow(params)
        return params


@asynccontextmanager
async def at_work(config: Config, folder: Path) -> AsyncIterator[Rig]:
    rig = Rig(config, folder)
    running = asyncio.create_task(rig.desk.run(rig.prepare))
    try:
        yield rig
    finally:
        running.cancel()
        await asyncio.wait({running})


def failed(config: Config, error: str) -> WorkerLife:
    """A worker that has ended with an error of this class."""
    failure = Failed(error=error, message="it needs 9.0 GiB, 4.0 GiB are free")
    is_memory = error == "DeviceMemoryError"
    life = SimpleNamespace(config=config, failure=failure, ran_out_of_memory=is_memory)
    return cast(WorkerLife, life)


def test_the_newest_of_several_wishes_is_prepared(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            for width in (64, 128, 192):
                rig.console.set({"width": width}, "t")
            await rig.until(lambda: rig.prepared)

            assert [(config.width, beside) for config, beside in rig.prepared] == [(192, True)]

    asyncio.run(run())


def test_what_is_in_use_is_not_prepared_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.console.set({"width": 256, "seed": 4, "engine": "tiny"}, "t")
            rig.console.set({"height": 128}, "t")
            await rig.until(lambda: rig.prepared)

            assert len(rig.prepared) == 1

    asyncio.run(run())


def test_a_refused_engine_gives_the_values_back_and_says_what_replace_would_do(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.console.set({"width": 512, "height": 512}, "t")
            await rig.until(lambda: rig.prepared)
            first = rig.prepared[0][0]
            rig.desk.took_over(first)
            rig.console.set({"width": 2048}, "t")
            await rig.until(lambda: len(rig.prepared) == 2)

            rig.desk.refused(failed(rig.prepared[1][0], "DeviceMemoryError"), "")

            text = rig.problems["swap"]
            assert text.startswith("tiny at 2048x512: it needs 9.0 GiB")
            assert "/sdv2/swap/mode replace" in text
            assert text.endswith("; tiny at 512x512 goes on")
            assert (rig.console.params.width, rig.console.params.height) == (512, 512)
            rig.console.set({"width": 1024}, "t")
            assert rig.problems["swap"] == ""

    asyncio.run(run())


def test_only_memory_is_a_reason_for_the_advice(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.console.set({"width": 512}, "t")
            await rig.until(lambda: rig.prepared)
            rig.desk.refused(failed(rig.prepared[0][0], "DeviceError"), "")

            assert "/sdv2/swap/mode" not in rig.problems["swap"]

    asyncio.run(run())


def test_an_engine_that_is_not_installed_is_refused_before_a_worker_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.console.set({"engine": "wan-14b", "vae": "taehv"}, "t")
            await rig.until(lambda: rig.problems.get("swap"))

            assert "sdv2-host models pull wan-14b" in rig.problems["swap"]
            assert (rig.console.params.engine, rig.console.params.vae) == (AS_STARTED, AS_STARTED)
            assert all(config == rig.started for config, _ in rig.prepared)

            rig.desk.retry()  # as asking for the engine in use does
            assert rig.problems["swap"] == ""

    asyncio.run(run())


def test_a_refused_wish_calls_off_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.console.set({"width": 512}, "t")
            await rig.until(lambda: rig.prepared)
            rig.console.set({"engine": "wan-14b"}, "t")
            await rig.until(lambda: rig.problems.get("swap"))
            await rig.until(lambda: len(rig.prepared) == 2)

            assert rig.prepared[1][0] == rig.desk.in_use == rig.started
            assert rig.console.params.width == 0

    asyncio.run(run())


def test_only_who_withdraws_a_wish_gives_the_prompts_back_to_the_engine_in_use(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.console.set({"width": 128}, "t")
            await rig.until(lambda: rig.prepared)
            rig.desk.dropped()
            assert rig.prompts.settled is None

            rig.console.set({"width": 0}, "t")
            await rig.until(lambda: len(rig.prepared) == 2)
            rig.desk.dropped()

            assert rig.prompts.settled == rig.started

    asyncio.run(run())


def test_a_size_that_was_a_substitute_is_kept_once_it_is_asked_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            smaller = rig.started.model_copy(update={"width": 128, "height": 128})
            rig.desk.substitute(smaller, lambda _: None)
            await rig.until(lambda: rig.prepared)
            rig.desk.took_over(smaller)
            rig.console.set({"width": 128, "height": 128}, "t")
            rig.console.set({"width": 2048}, "t")
            await rig.until(lambda: len(rig.prepared) == 2)
            rig.desk.refused(failed(rig.prepared[1][0], "WorkerError"), "")
            assert (rig.console.params.width, rig.console.params.height) == (128, 128)

            rig.console.set({"width": 512}, "t")
            await rig.until(lambda: len(rig.prepared) == 3)
            rig.desk.took_over(rig.prepared[2][0])
            rig.console.set({"width": 128}, "t")
            await rig.until(lambda: len(rig.prepared) == 4)
            rig.desk.took_over(rig.prepared[3][0])
            rig.console.set({"width": 1024}, "t")
            await rig.until(lambda: len(rig.prepared) == 5)
            rig.desk.refused(failed(rig.prepared[4][0], "WorkerError"), "")

            assert (rig.console.params.width, rig.console.params.height) == (128, 128)

    asyncio.run(run())


def test_replace_is_passed_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.console.set({"swap_mode": "replace", "width": 128}, "t")
            await rig.until(lambda: rig.prepared)

            assert rig.prepared[0][1] is False

    asyncio.run(run())


def test_an_autoencoder_that_the_engine_does_not_choose_is_told_and_prepares_nothing(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.console.set({"vae": "taehv"}, "t")

            assert "engine tiny has an autoencoder of its own" in rig.problems["vae"]
            assert rig.desk.asked == rig.started
            rig.console.set({"vae": AS_STARTED}, "t")
            assert rig.problems["vae"] == ""

    asyncio.run(run())


def test_a_substitute_leaves_the_parameters_alone_until_they_change(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            refusals: list[str] = []
            smaller = rig.started.model_copy(update={"width": 128, "height": 128})
            rig.desk.substitute(smaller, refusals.append)
            await rig.until(lambda: rig.prepared)
            rig.desk.took_over(smaller)
            rig.console.set({"seed": 5}, "t")

            assert (rig.desk.in_use, rig.desk.asked) == (smaller, rig.started)
            assert rig.console.params.width == 0
            smallest = rig.started.model_copy(update={"width": 64, "height": 64})
            rig.desk.substitute(smallest, refusals.append)
            await rig.until(lambda: len(rig.prepared) == 2)
            rig.desk.refused(failed(smallest, "WorkerError"), "")
            assert refusals == ["it needs 9.0 GiB, 4.0 GiB are free"]
            assert "swap" not in rig.problems
            rig.console.set({"width": 512}, "t")
            await rig.until(lambda: len(rig.prepared) == 3)
            rig.desk.refused(failed(rig.prepared[2][0], "WorkerError"), "")
            assert rig.console.params.width == 0

    asyncio.run(run())


def test_an_engine_taking_over_brings_its_noise(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(TINY, tmp_path) as rig:
            rig.desk.took_over(rig.started.model_copy(update={"engine": "wan-14b"}))

            params = rig.console.params
            assert (params.noise_s_min, params.noise_s_max, params.steps) == (0.7, 0.8, 1)
            assert rig.desk.allowed({"steps": 4}) == {"steps": 2}

    asyncio.run(run())
