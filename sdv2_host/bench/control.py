"""A storm of OSC at a running host: does the last value land, how late, and what does it cost.

`python -m sdv2_host.bench.control PORT ADDRESS SECONDS RATE` is one sender of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.commands.client import Client
from sdv2_host.control.access import read_host_file
from sdv2_host.errors import WorkerError
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.osc_encode import encode_message
from sdv2_host.sources.process import SourceProcess
from sdv2_host.types import FrameFlags, ProgressFn, Size

ADDRESSES = ("/sdv2/noise/s_max", "/sdv2/noise/motion_gain")
LAST_VALUE = 0.625
"""Exact in 32 bits, and none of the others that are sent."""
SETTLE_S = 4.0
START_S = 120.0
CHUNK_FRAMES = 4


@dataclass(frozen=True, slots=True)
class StormReport:
    """What was seen. Frame rates are of fresh frames on the output."""

    engine: str
    size: str
    senders: int
    rate_hz: float
    """Of each sender, as measured."""
    sent: int
    received: int
    changes: int
    """Parameter snapshots that these made: what came together is one."""
    landed: bool
    """The last value of every sender is in force."""
    chunks_late: int
    """Chunks of frames captured after the last message that were made without it."""
    fps_calm: list[float]
    fps_elsewhere: list[float]
    """While the senders send to nobody: what they themselves cost on the same machine."""
    fps_storm: list[float]
    ratio: float
    """With the storm at the host over the same storm at nobody."""
    ratio_calm: float
    """With the storm over without any sender."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def format_table(report: dict[str, Any]) -> str:
    """The report for people."""
    landed = "landed" if report["landed"] else "WAS LOST"
    return (
        f"{report['engine']} {report['size']}, {report['senders']} senders of "
        f"{report['rate_hz']:.0f} Hz: {report['sent']} sent, {report['received']} received, "
        f"{report['changes']} changes made of them\n"
        f"last value {landed}, {report['chunks_late']} chunks late\n"
        f"fps without senders {report['fps_calm']}, with senders to nobody "
        f"{report['fps_elsewhere']}, to the host {report['fps_storm']}\n"
        f"ratio {report['ratio']:.3f} to the senders' own cost, {report['ratio_calm']:.3f} to none"
    )


async def measure_storm(
    engine: str, size: Size, seconds: float, rounds: int, rate_hz: float, progress: ProgressFn
) -> StormReport:
    """Calm, storm at nobody and storm at the host by turns, `rounds` times, `seconds` each.

    Raises:
        HostError: the host or the source cannot start.
    """
    async with running_host(engine, size) as client:
        nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        nobody.bind(("127.0.0.1", 0))
        calm, elsewhere, stormy = list[float](), list[float](), list[float]()
        sent = late = 0
        before = status_of(client)
        for number in range(rounds):
            progress("calm", number / rounds)
            calm.append(await _fps(client, seconds))
            progress("storm elsewhere", (number + 1 / 3) / rounds)
            fps, _, _ = await _storm(client, nobody.getsockname()[1], seconds, rate_hz)
            elsewhere.append(fps)
            progress("storm", (number + 2 / 3) / rounds)
            fps, count, last_ns = await _storm(client, client.host.port, seconds, rate_hz)
            stormy.append(fps)
            sent += count
            late = max(late, await _chunks_late(client, last_ns))
        nobody.close()
        after = status_of(client)
        values = client.get("/api/state")["values"]
        landed = all(
            abs(values[name] - LAST_VALUE) < 1e-6 for name in ("noise_s_max", "motion_gain")
        )
    received = after["osc"]["applied"] - before["osc"]["applied"]
    return StormReport(
        engine=engine,
        size=str(size),
        senders=len(ADDRESSES),
        rate_hz=round(sent / len(ADDRESSES) / (rounds * (seconds + 1)), 1),
        sent=sent,
        received=received,
        changes=after["params_version"] - before["params_version"],
        landed=landed,
        chunks_late=late,
        fps_calm=calm,
        fps_elsewhere=elsewhere,
        fps_storm=stormy,
        ratio=round(fmean(stormy) / fmean(elsewhere), 4),
        ratio_calm=round(fmean(stormy) / fmean(calm), 4),
    )


@contextlib.asynccontextmanager
async def running_host(engine: str, size: Size, *more: str) -> AsyncIterator[Client]:
    """A host that is live, fed by the test pattern; `more` are options of its source."""
    name = f"bench-{now_ns() % 10**9}"
    args = ("run", "--name", name, "--engine", engine, "--size", str(size), "--port", "0")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sdv2_host", *args, "--resume", "default"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        source = await SourceProcess.start(f"{name}-in", ["--pattern", str(size), *more])
        source.begin()
        try:
            yield await _live(name, child)
        finally:
            await source.stop()
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def _live(name: str, child: asyncio.subprocess.Process) -> Client:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and child.returncode is None:
        found = read_host_file(name)
        if found is not None:
            client = Client(found)
            if status_of(client)["fps"] > 0:
                await asyncio.sleep(SETTLE_S)
                return client
        await asyncio.sleep(0.1)
    raise WorkerError(f"the host was not live within {START_S:.0f} s; see sdv2-host run")


def status_of(client: Client) -> Any:
    return client.get("/api/status")


async def _fps(client: Client, seconds: float) -> float:
    first, begin = status_of(client)["frames_out"], time.monotonic()
    await asyncio.sleep(seconds)
    last = status_of(client)["frames_out"]
    return round(float(last - first) / (time.monotonic() - begin), 2)


async def _storm(
    client: Client, port: int, seconds: float, rate_hz: float
) -> tuple[float, int, int]:
    """Frames per second meanwhile; messages sent; when the last one was."""
    senders = [
        asyncio.create_task(_sender(port, address, seconds + 1, rate_hz)) for address in ADDRESSES
    ]
    await asyncio.sleep(0.5)
    fps = await _fps(client, seconds)
    results = [await sender for sender in senders]
    return fps, sum(count for count, _ in results), max(at_ns for _, at_ns in results)


async def _sender(port: int, address: str, seconds: float, rate_hz: float) -> tuple[int, int]:
    """Messages sent, and when the last one was."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sdv2_host.bench.control"),
        *(str(port), address, str(seconds), str(rate_hz)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    count, at_ns = out.split()
    return int(count), int(at_ns)


async def _chunks_late(client: Client, last_ns: int) -> int:
    """Of the frames captured after `last_ns`, chunks made with older parameters than the newest."""
    with FrameReader(f"{client.host.name}-out") as reader:
        await asyncio.sleep(0.1)
        newest = status_of(client)["params_version"]
        old = 0
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            frame = reader.read_next()
            if frame is None:
                await asyncio.sleep(0.005)
                continue
            is_fresh = FrameFlags.REPEATED not in frame.meta.flags
            if is_fresh and frame.meta.source_capture_ts_ns > last_ns:
                if frame.meta.user_tag >= newest:
                    break
                old += 1
    return -(-old // CHUNK_FRAMES)


def send_storm(port: int, address: str, seconds: float, rate_hz: float) -> tuple[int, int]:
    """Sends a moving value at the rate, then LAST_VALUE; messages sent, and the end in ns."""
    count = 0
    period_ns = NS_PER_S / rate_hz
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        begin = now_ns()
        while now_ns() - begin < seconds * NS_PER_S:
            out.sendto(encode_message(address, 0.3 + count % 100 / 500), ("127.0.0.1", port))
            count += 1
            wait_s = (begin + count * period_ns - now_ns()) / NS_PER_S
            if wait_s > 0:
                time.sleep(wait_s)
        out.sendto(encode_message(address, LAST_VALUE), ("127.0.0.1", port))
    return count + 1, now_ns()


if __name__ == "__main__":
    print(*send_storm(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
