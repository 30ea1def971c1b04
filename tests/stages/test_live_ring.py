"""A whole host over several devices: pictures on its output, told troubles, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from sdv2_host.params import Params
from sdv2_host.stages.join_token import make_token
from sdv2_host.types import FrameMeta
from tests.host.live_host import Stage, linux_only, live_host
from tests.host.lockstep_client import LockstepClient, numbered
from tests.hosts import RunningHost, children, is_running, unique_name
from tests.stages.toy_ring import wait_for

RING = {"engine": "tiny", "width": 64, "height": 48, "devices": "cpu,cpu", "threads": 1}
START_S = 100.0
"""For a machine that is busy with other tests: torch is imported in three processes."""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"  # the host makes it, for its user alone


def ranks_of(stage: Stage) -> list[int]:
    """Processes of the worker that hold its end of a connection."""
    pid = stage.daemon.snapshot().worker_pid
    assert pid is not None
    return [one for one in children(pid) if b"run_rank" in _command(one) or _is_forked(one)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_forked(pid: int) -> bool:
    """By multiprocessing's fork server, which is its parent."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return False
    return b"forkserver" in _command(parent)


def render(stage: Stage) -> None:
    """Lock-step: every picture comes once, in order, no later than the host says."""
    daemon = stage.daemon
    delay = daemon.snapshot().delay_frames
    with LockstepClient(daemon.config.name, stage.run_dir, delay) as client:
        client.render(numbered(delay + 30), FrameMeta(24, 16))

        assert len(client.pictures) >= 30
        assert client.numbers == client.expected


@linux_only
def test_a_host_over_two_devices_goes_on_when_one_is_killed_renders_and_leaves_nothing(
    run_dir: Path,
) -> None:
    async def show() -> list[int]:
        params = Params(steps=2, drift="off")
        async with live_host(run_dir, unique_name(), params, changes=RING) as stage:
            await stage.until(stage.daemon.ready.is_set, START_S)
            peers = [asyncio.create_task(stage.view()), asyncio.create_task(stage.publish_frames())]
            await stage.until(lambda: len(stage.fresh) > 20, START_S)
            ranks = ranks_of(stage)
            assert len(ranks) == 2

            os.kill(ranks[0], signal.SIGKILL)
            await stage.until(lambda: "is lost" in stage.daemon.snapshot().problem, START_S)
            num_seen = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) > num_seen + 20, START_S)
            await stage.until(lambda: not stage.daemon.snapshot().problem, START_S)

            numbers = [frame.meta.source_frame for frame in stage.fresh]
            assert numbers == sorted(set(numbers))
            assert stage.daemon.snapshot().worker_restarts == 0
            for peer in peers:
                peer.cancel()
            await asyncio.wait(peers)
            await asyncio.to_thread(render, stage)
            return ranks_of(stage)

    left = asyncio.run(show())

    assert len(left) == 2
    wait_for(lambda: not any(is_running(pid) for pid in left), f"{left} have ended")


def test_an_agent_lends_a_device_to_a_host_and_waits_for_the_next_when_that_has_ended(
    run_dir: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    make_token(token)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    ring = {
        **RING,
        "devices": "",
        "join_listen": address,
        "join_token_file": str(token),
        "join_count": 1,
    }
    command = ["agent", "--join", address, "--token-file", str(token), "--device", "cpu"]

    async def show() -> None:
        async with live_host(run_dir, unique_name(), Params(steps=2), changes=ring) as stage:
            await stage.until(stage.daemon.ready.is_set, START_S)
            peers = [asyncio.create_task(stage.view()), asyncio.create_task(stage.publish_frames())]
            await stage.until(
                lambda: (
                    len(stage.fresh) > 8
                    and stage.daemon.snapshot().notes.get("ring_devices") == 2.0
                ),
                START_S,
            )
            for peer in peers:
                peer.cancel()
            await asyncio.wait(peers)

    with RunningHost(*command) as agent:
        agent.wait_for(f"cpu joins {address}")

        asyncio.run(show())

        agent.wait_for("cpu is in no stream")
        assert agent.process.poll() is None
