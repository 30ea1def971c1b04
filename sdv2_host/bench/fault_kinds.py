"""What can go wrong in a show: how it is done, how it is undone, what is to be seen then."""

from __future__ import annotations

import mmap
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sdv2_host.bench.end_process import kill_at_once, suspend
from sdv2_host.bench.fault_orders import Failure, Order
from sdv2_host.bench.fault_stage import NAME, START_S, Stage
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.errors import WorkerError
from sdv2_host.ipc.frame_ring import FrameReader
from sdv2_host.ipc.ring_descriptor import descriptor_path
from sdv2_host.ipc.shm import LINUX_SEGMENT_DIR
from sdv2_host.types import Size

CALLS = {"tiny": ("encode", "predict", "decode"), "passthrough": ("step",)}
"""Where an engine can fail."""
NEWCOMER_S = 10.0
SAVED_S = 1.6
"""From a change to when it is kept: the product's second, and the disk's time."""
SCRIBBLE_S = 0.3
SCRIBBLE_BYTES = 64
DAY_S = 86400.0
NAN_REST_S = 2.5
"""16 chunks of 4 frames: until then another one counts as the same, which beginning anew did not
help against."""
REFILL_S = 1.0


class Place(Enum):
    """What a fault needs around it."""

    PLAIN = "plain"
    CRAMPED = "cramped"
    """Shared memory and the folder of recordings are small; Linux, as root."""


@dataclass(slots=True)
class Deed:
    """One fault that was done, and what is needed to undo it."""

    injected_ns: int
    undo: Callable[[], None] | None = None
    """None = nothing is to be undone."""
    newcomer: str = ""
    """The ring that somebody who comes now wants to read."""
    check: Callable[[], str] | None = None
    """Asked once the show is whole: what is not as it should be, '' = nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    what: str
    """For the table."""
    do: Callable[[Stage, random.Random], Deed]
    hold_s: tuple[float, float] = (0.0, 0.0)
    """How long it lasts until it is undone."""
    rest_s: float = 0.0
    """After it, until the next one is the first for a long time."""
    place: Place = Place.PLAIN
    is_host_gone: bool = False
    """The output ring ends with it: its cadence is no question."""
    is_forged: bool = False
    """What readers are told until it is undone may be anybody's: the show is judged after that."""
    is_told_as: str = ""
    """Words that a person has to find in the log; '' = nobody has to learn of it."""


def _calm(stage: Stage, rng: random.Random) -> Deed:
    return Deed(now_ns())


def _kill(stage: Stage, rng: random.Random) -> Deed:
    pid = stage.worker_pid()
    injected_ns = now_ns()
    kill_at_once(pid)
    return Deed(injected_ns)


def _stop(stage: Stage, rng: random.Random) -> Deed:
    pid = stage.worker_pid()
    injected_ns = now_ns()
    suspend(pid)
    return Deed(injected_ns)


def _ordered(failure: Failure) -> Callable[[Stage, random.Random], Deed]:
    def do(stage: Stage, rng: random.Random) -> Deed:
        injected_ns = now_ns()
        stage.orders.give(Order(failure, rng.choice(CALLS[stage.plan.engine])))
        return Deed(injected_ns)

    return do


def _full_memory(stage: Stage, rng: random.Random) -> Deed:
    """And the worker dies: the next one finds no room for its ring."""
    pid = stage.worker_pid()
    filler = LINUX_SEGMENT_DIR / "filler"
    _fill(filler)
    injected_ns = now_ns()
    kill_at_once(pid)
    # What the dead one had is given back at some time in this.
    stage.until(lambda: _fill(filler), REFILL_S)
    return Deed(injected_ns, filler.unlink)


def _full_disk(stage: Stage, rng: random.Random) -> Deed:
    """And a recording is begun, a snapshot taken and a parameter changed."""
    injected_ns = now_ns()
    filler = stage.data_dir / "filler"
    _fill(filler)
    client = stage.client
    client.post("/api/set", {"values": {"seed": rng.randrange(10**6), "record": True}})
    client.call("snapshot")

    def undo() -> None:
        client.post("/api/set", {"values": {"record": False}})
        filler.unlink()

    return Deed(injected_ns, undo)


def _clock_jump(stage: Stage, rng: random.Random) -> Deed:
    injected_ns = now_ns()
    stage.orders.set_clock(rng.uniform(-DAY_S, DAY_S))
    return Deed(injected_ns)


def _unplugged(stage: Stage, rng: random.Random) -> Deed:
    sizes = [stage.plan.size, Size(96, 64), Size(64, 128), Size(320, 192)]
    injected_ns = now_ns()
    stage.kill_source()
    return Deed(injected_ns, lambda: stage.start_source(rng.choice(sizes)))


def _deleted(ring: Callable[[Stage], str]) -> Callable[[Stage, random.Random], Deed]:
    def do(stage: Stage, rng: random.Random) -> Deed:
        stream = ring(stage)
        injected_ns = now_ns()
        (LINUX_SEGMENT_DIR / stage.segment(stream)).unlink()
        descriptor_path(stage.run_dir, stream).unlink()
        return Deed(injected_ns, newcomer=stream)

    return do


def _input(stage: Stage) -> str:
    return stage.config.input_stream


def _output(stage: Stage) -> str:
    return stage.config.output_stream


def _work(stage: Stage) -> str:
    return next(
        stream
        for stream in stage.config.work_streams
        if descriptor_path(stage.run_dir, stream).exists()
    )


def _second_writer(stage: Stage, rng: random.Random) -> Deed:
    injected_ns = now_ns()
    second = stage.source_again(Size(96, 64))
    return Deed(injected_ns, check=lambda: refused(second, "a second source"))


def _second_host(stage: Stage, rng: random.Random) -> Deed:
    injected_ns = now_ns()
    second = stage.host_again()
    return Deed(injected_ns, check=lambda: refused(second, f"a second host {NAME}"))


def refused(process: subprocess.Popen[bytes], who: str) -> str:
    """'' = it was; ended in any case."""
    try:
        _, err = process.communicate(timeout=START_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"{who} was not refused"
    if process.returncode == 0 or b"already" not in err:
        return f"{who} ended with code {process.returncode}, not refused"
    return ""


def _scribble(stage: Stage, rng: random.Random) -> Deed:
    """Random bytes at random places of the output's segment, header and all."""
    path = LINUX_SEGMENT_DIR / stage.segment(stage.config.output_stream)
    injected_ns = now_ns()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as segment:
        end_ns = injected_ns + round(SCRIBBLE_S * NS_PER_S)
        while now_ns() < end_ns:
            for _ in range(20):
                offset = rng.randrange(len(segment) - SCRIBBLE_BYTES)
                segment[offset : offset + SCRIBBLE_BYTES] = rng.randbytes(SCRIBBLE_BYTES)
            # The header is a small part of the whole, and what everybody trusts.
            offset = rng.randrange(512)
            segment[offset : offset + 8] = rng.randbytes(8)
            time.sleep(0.005)
    return Deed(injected_ns, lambda: None, newcomer=stage.config.output_stream)


def _daemon(stage: Stage, rng: random.Random) -> Deed:
    """Killed once a change is kept, and started again by the application that had started it."""
    seed = rng.randrange(10**6)
    worker, host = stage.worker_pid(), stage.host.status.pid
    stage.client.post("/api/set", {"values": {"seed": seed}})
    time.sleep(SAVED_S + rng.uniform(0, 0.3))
    injected_ns = now_ns()
    kill_at_once(host)
    if not stage.until(lambda: not stage.host.status.is_running, START_S):
        raise WorkerError("the host was killed and still runs")
    stage.start_host()

    def check() -> str:
        found = stage.client.get("/api/state")["values"]["seed"]
        told = f"seed {found} came back, not {seed}" if found != seed else ""
        return told or ("" if stage.worker_pid() != worker else "the old worker is still there")

    return Deed(injected_ns, check=check)


FAULTS = (
    Fault("calm", "nothing goes wrong", _calm),
    Fault("kill", "the worker is killed (kill -9)", _kill),
    Fault("stop", "the worker stands still (SIGSTOP)", _stop),
    Fault("exception", "the engine raises", _ordered(Failure.RAISE)),
    Fault("hang", "the engine never returns", _ordered(Failure.HANG)),
    Fault("exit", "the engine ends its process", _ordered(Failure.EXIT)),
    Fault("nan", "the engine's numbers become NaN", _ordered(Failure.NAN), rest_s=NAN_REST_S),
    Fault("oom", "the device runs out of memory", _ordered(Failure.OUT_OF_MEMORY)),
    Fault(
        "shm-full",
        "shared memory is full, and the worker dies",
        _full_memory,
        hold_s=(2.5, 3.5),
        place=Place.CRAMPED,
        is_told_as="shared memory is full",
    ),
    Fault(
        "disk-full",
        "the disk is full, and a recording begins",
        _full_disk,
        hold_s=(2.0, 3.0),
        place=Place.CRAMPED,
        is_told_as="No space left on device",
    ),
    Fault("clock", "the wall clock jumps by up to a day", _clock_jump, hold_s=(0.3, 0.6)),
    Fault("source", "the source dies; one of another size comes", _unplugged, hold_s=(0.2, 1.0)),
    Fault("ring-in", "the input ring's files are deleted", _deleted(_input)),
    Fault("ring-out", "the output ring's files are deleted", _deleted(_output)),
    Fault("ring-work", "the work ring's files are deleted", _deleted(_work)),
    Fault("two-writers", "a second source wants the input ring", _second_writer),
    Fault("two-hosts", "a second host of the same name", _second_host),
    Fault("scribbler", "a stranger writes into the output ring", _scribble, is_forged=True),
    Fault(
        "daemon",
        "the host itself is killed, and started again",
        _daemon,
        is_host_gone=True,
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}


def newcomer_ms(stage: Stage, stream: str, since_ns: int) -> float | None:
    """When somebody who did not know the ring before has a frame of it that was published since;
    None = not in `NEWCOMER_S`."""

    def reads() -> bool:
        with FrameReader(stream, run_dir=stage.run_dir) as reader:
            frame = reader.read_newest()
            return frame is not None and since_ns < frame.meta.publish_ts_ns <= now_ns()

    if not stage.until(reads, NEWCOMER_S):
        return None
    return (now_ns() - since_ns) / 1e6


def _fill(path: Path) -> bool:
    """No room is left where this file is. False: it may be filled again."""
    block = bytes(mmap.PAGESIZE)
    with path.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(block)
        except OSError:
            return False
