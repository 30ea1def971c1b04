"""A worker's process is gone when its life is, whatever it does and whenever that is asked for."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from sdv2_host.config import Config
from sdv2_host.host.limits import Limits
from sdv2_host.host.worker_life import Place, WorkerLife
from sdv2_host.ipc.messages import FromWorker, Ready, Report, SetParams, encode
from sdv2_host.params import Params

READY = Ready(
    engine="x",
    warmup_ms=1.0,
    ready_ns=1,
    width=2,
    height=2,
    first_chunk_frames=1,
    chunk_frames=4,
    delay_frames=3,
    step_ms={"chunks of 4, serial, 1 step": 100.0, "chunks of 4, serial, 4 steps": 300.0},
)
REPORT = Report(
    version=0,
    spans_ms={"denoise": 50.0},
    notes={},
    frames_in=4,
    frames_out=4,
    dropped=0,
    queue_depth=0,
    rss_bytes=1,
)
STUCK = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdin.readline()
print({ready!r}, end="", flush=True)
time.sleep(60)
"""
"""As one whose driver hangs."""
SLOW = """
import sys, time
sys.stdin.readline()
print({ready!r}, end="", flush=True)
for _ in range(2):
    time.sleep(0.6)
    print({report!r}, end="", flush=True)
"""


def begin(run_dir: Path, stream: str, code: str, limits: Limits) -> WorkerLife:
    script = code.format(ready=encode(READY).decode(), report=encode(REPORT).decode())
    worker = Limits(
        worker=(sys.executable, "-c", script),
        silence_s=limits.silence_s,
        silence_chunks=limits.silence_chunks,
        stop_s=0.4,
        terminate_s=0.4,
    )

    def on_message(_life: WorkerLife, _message: FromWorker) -> None:
        pass

    params = SetParams(version=0, params=Params())
    return WorkerLife(Config(), Place(stream, run_dir), params, on_message, worker)


@pytest.mark.parametrize("after_s", [0.1, 0.5, 0.9])
def test_a_hung_worker_is_gone_also_when_it_was_being_ended_already(
    run_dir: Path, stream: str, after_s: float
) -> None:
    """It gives no sign for 0.3 s, has 0.4 s to stop and 0.4 s to terminate."""

    async def run() -> psutil.Process:
        life = begin(run_dir, stream, STUCK, Limits(silence_s=0.3, silence_chunks=0.0))
        while life.ready is None:
            await asyncio.sleep(0.01)
        assert life.pid is not None
        process = psutil.Process(life.pid)
        await asyncio.sleep(after_s)
        life.end()
        await asyncio.wait({life.ended}, timeout=10)
        assert life.ended.done()
        return process

    assert not asyncio.run(run()).is_running()


@pytest.mark.parametrize(
    ("silence_chunks", "reason"),
    [(1.0, "gave no sign of life for 0.3 s"), (5.0, "exited with code 0")],
)
def test_the_first_chunk_may_take_as_long_as_the_worker_says_that_chunks_do(
    run_dir: Path, stream: str, silence_chunks: float, reason: str
) -> None:
    """Longest 0.3 s each; and one with more steps than the newest as well."""
    limits = Limits(silence_s=0.2, silence_chunks=silence_chunks)

    async def run() -> str:
        return await begin(run_dir, stream, SLOW, limits).ended

    assert asyncio.run(run()) == reason
