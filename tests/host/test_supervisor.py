from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sdv2_host.clock import NS_PER_S
from sdv2_host.config import Config
from sdv2_host.host.limits import CrashLoop, Limits
from sdv2_host.host.stand_in import StandIn
from sdv2_host.host.supervisor import STARTED_ANEW, Supervisor
from sdv2_host.host.worker_life import WorkerLife
from sdv2_host.ipc.messages import FromWorker, Heartbeat, Progress, Ready, SetParams
from sdv2_host.params import Params


def test_delays_grow_and_the_fifth_death_within_a_minute_is_the_last() -> None:
    loop = CrashLoop(Limits())

    delays = [loop.delay_s(second * NS_PER_S) for second in range(5)]

    assert delays == [0.1, 0.4, pytest.approx(1.6), 5.0, None]


def test_rare_deaths_are_always_followed_by_a_quick_restart() -> None:
    loop = CrashLoop(Limits())

    assert [loop.delay_s(61 * minute * NS_PER_S) for minute in range(20)] == [0.1] * 20


class Witness:
    """Remembers what a supervisor reports; the output is handed over when `let_over` is called."""

    def __init__(self) -> None:
        self.messages: list[FromWorker] = []
        self.deaths: list[str] = []
        self.refused: list[str] = []
        self.took_over: list[Config] = []
        self.stood_in: list[tuple[StandIn, str]] = []
        self.given_up: list[str] = []
        self.gave_up = asyncio.Event()
        self.num_cuts = 0
        self.ready = asyncio.Event()
        self.next_ready = asyncio.Event()
        self.let_over: Callable[[], None] | None = None
        self.next_ended = asyncio.Event()

    def on_message(self, life: WorkerLife, message: FromWorker) -> None:
        self.messages.append(message)
        if isinstance(message, Ready):
            self.ready.set()

    def on_death(self, reason: str) -> None:
        self.deaths.append(reason)

    def on_next_message(self, life: WorkerLife, message: FromWorker) -> None:
        pass

    def on_next_dropped(self) -> None:
        self.next_ended.set()

    def hand_over(self, life: WorkerLife, on_done: Callable[[], None]) -> None:
        self.let_over = on_done
        self.next_ready.set()

    def cut(self) -> None:
        self.num_cuts += 1
        assert self.let_over is not None
        self.let_over()

    def withdraw(self) -> bool:
        self.let_over = None
        return True

    def on_handed_over(self, life: WorkerLife) -> None:
        self.took_over.append(life.config)

    def on_refused(self, life: WorkerLife, reason: str) -> None:
        self.refused.append(reason)
        self.next_ended.set()

    def on_stand_in(self, config: StandIn, reason: str) -> None:
        self.stood_in.append((config, reason))

    def on_given_up(self, reason: str) -> None:
        self.given_up.append(reason)
        self.gave_up.set()


def test_a_worker_tells_its_progress_before_it_is_ready(run_dir: Path, stream: str) -> None:
    async def run() -> list[type[FromWorker]]:
        witness = Witness()
        supervisor = make_supervisor(witness, run_dir, stream, Limits())
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(20):
            await witness.ready.wait()
        running.cancel()
        await asyncio.wait({running})
        return [type(message) for message in witness.messages if type(message) is not Heartbeat]

    kinds = asyncio.run(run())
    assert kinds[0] is Progress
    assert kinds[-1] is Ready


def test_silence_before_ready_ends_the_worker(run_dir: Path, stream: str) -> None:
    limits = Limits(start_silence_s=0.01, stop_s=0.3, max_deaths=1)

    reason = asyncio.run(reason_of_giving_up(run_dir, stream, limits))

    assert "the last time it gave no sign of life for 0.01 s" in reason


def test_a_process_that_cannot_be_made_is_a_death(run_dir: Path, stream: str) -> None:
    limits = Limits(max_deaths=1, worker=(str(run_dir / "none"),))

    reason = asyncio.run(reason_of_giving_up(run_dir, stream, limits))

    assert "the last time it could not be started: " in reason


def test_the_reason_of_a_death_names_the_signal(run_dir: Path, stream: str) -> None:
    async def run() -> list[str]:
        witness = Witness()
        supervisor = make_supervisor(witness, run_dir, stream, Limits())
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(20):
            await witness.ready.wait()
            assert supervisor.worker_pid is not None
            os.kill(supervisor.worker_pid, signal.SIGKILL)
            while not witness.deaths:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})
        return witness.deaths

    assert asyncio.run(run()) == ["was killed by signal 9"]
    assert list(run_dir.glob("*.json")) == []


def test_the_death_after_which_it_gives_up_is_told_too(run_dir: Path, stream: str) -> None:
    async def run() -> list[str]:
        witness = Witness()
        supervisor = make_supervisor(witness, run_dir, stream, Limits(max_deaths=1))
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(20):
            await witness.ready.wait()
            assert supervisor.worker_pid is not None
            os.kill(supervisor.worker_pid, signal.SIGKILL)
            await witness.gave_up.wait()
        running.cancel()
        await asyncio.wait({running})
        assert "passthrough at 256x256 died 1 times within 60 s" in witness.given_up[0]
        return witness.deaths

    assert asyncio.run(run()) == ["was killed by signal 9"]


def test_a_wish_made_during_a_handing_over_outlives_the_death_of_the_next_worker(
    run_dir: Path, stream: str
) -> None:
    async def run() -> Witness:
        witness = Witness()
        supervisor = make_supervisor(witness, run_dir, stream, Limits())
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(30):
            await witness.ready.wait()
            supervisor.prepare(Config(name=stream, engine="passthrough", width=128))
            await witness.next_ready.wait()
            witness.next_ready.clear()
            supervisor.prepare(Config(name=stream, engine="passthrough", width=192))
            assert supervisor.next_pid is not None
            os.kill(supervisor.next_pid, signal.SIGKILL)
            await witness.next_ready.wait()
            assert witness.let_over is not None
            witness.let_over()
            while not witness.took_over:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})
        return witness

    witness = asyncio.run(run())
    assert witness.refused == ["was killed by signal 9"]
    assert [config.width for config in witness.took_over] == [192]


def test_a_replacement_that_cannot_start_is_no_crash(run_dir: Path, stream: str) -> None:
    async def run() -> Witness:
        witness = Witness()
        supervisor = make_supervisor(witness, run_dir, stream, Limits(max_deaths=1))
        running = asyncio.create_task(supervisor.run())
        async with asyncio.timeout(30):
            await witness.ready.wait()
            witness.ready.clear()
            before = supervisor.worker_pid
            wanted = Config(name=stream, engine="passthrough", width=128)
            supervisor.prepare(wanted, is_beside=False)
            while supervisor.worker_pid in (before, None):
                await asyncio.sleep(0.001)
            assert supervisor.worker_pid is not None
            os.kill(supervisor.worker_pid, signal.SIGKILL)
            await witness.ready.wait()
        running.cancel()
        await asyncio.wait({running})
        return witness

    witness = asyncio.run(run())
    assert witness.refused == ["was killed by signal 9"]
    assert witness.deaths == [STARTED_ANEW, "was killed by signal 9"]


def test_who_withdraws_a_wish_is_told_that_nothing_is_prepared(run_dir: Path, stream: str) -> None:
    async def run() -> None:
        witness = Witness()
        supervisor = make_supervisor(witness, run_dir, stream, Limits())
        supervisor.prepare(Config(name=stream, engine="passthrough", width=128))
        assert not witness.next_ended.is_set()

        supervisor.prepare(Config(name=stream, engine="passthrough"))

        assert witness.next_ended.is_set()

    asyncio.run(run())


def make_supervisor(witness: Witness, run_dir: Path, stream: str, limits: Limits) -> Supervisor:
    return Supervisor(
        Config(name=stream, engine="passthrough"),
        SetParams(version=0, params=Params()),
        witness,
        run_dir=run_dir,
        limits=limits,
    )


async def reason_of_giving_up(run_dir: Path, stream: str, limits: Limits) -> str:
    witness = Witness()
    running = asyncio.create_task(make_supervisor(witness, run_dir, stream, limits).run())
    async with asyncio.timeout(20):
        await witness.gave_up.wait()
    running.cancel()
    await asyncio.wait({running})
    return witness.given_up[0]
