"""What the frame ring costs: write and read against plain memcpy, many readers, a lapped reader.

The ring cannot be faster than one memcpy per side, so that is measured beside it, alternating with
it, between buffers as cold as the ring's: written from sources that rotate through more memory than
the caches hold into one of four targets, and read back from there, as the ring's slots are.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdv2_host.clock import NS_PER_MS, NS_PER_S, now_ns, sleep_until_ns
from sdv2_host.errors import WorkerError
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.types import Frame, FrameMeta, ProgressFn, Size

SIZES = (Size(512, 512), Size(832, 480), Size(1920, 1080))
SECONDS_PER_SIZE = 2.0
MIN_FRAMES = 50
COLD_BYTES = 64 << 20
SLOT_COUNT = 4
NUM_READERS = 2
READERS_FPS = 60
READERS_SECONDS = 2.0
READERS_SIZE = Size(832, 480)
LAPPED_SECONDS = 3.0
LAPPED_SIZE = Size(1920, 1080)
LAPPED_SLOTS = 2
PATTERN_PERIOD = 251
"""Frame f is all bytes f % 251: a byte of another frame is seen wherever it is."""
CHILD_START_S = 30.0
POLL_S = 0.0005


def run(progress: ProgressFn) -> dict[str, Any]:
    """All measurements, about 15 s; values are JSON.

    Raises:
        RingError: shared memory cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="sdv2-bench-") as directory:
        run_dir = Path(directory)
        parts = len(SIZES) + 2
        sizes = []
        for index, size in enumerate(SIZES):
            progress(f"write and read {size}", index / parts)
            sizes.append(measure_copies(size, SECONDS_PER_SIZE, run_dir))
        progress(f"{NUM_READERS} readers at {READERS_FPS} fps", len(SIZES) / parts)
        readers = measure_readers(READERS_SIZE, READERS_SECONDS, run_dir)
        progress("a reader that the writer laps", (len(SIZES) + 1) / parts)
        lapped = measure_lapped(LAPPED_SIZE, LAPPED_SECONDS, run_dir)
        progress("done", 1.0)
    return {"machine": machine(), "sizes": sizes, "readers": readers, "lapped": lapped}


def format_table(results: dict[str, Any]) -> str:
    """The results for a terminal."""
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
        f"numpy {machine['numpy']}, load {machine['load']}",
        "",
        f"{'':>10} {'':>6} | {'into the ring, ms':^35} | {'out of the ring, ms':^35}",
        f"{'RGBA8':>10} {'MB':>6} | {'memcpy':>8} {'write':>8} {'ratio':>6} {'p99':>8}  | "
        f"{'memcpy':>8} {'read':>8} {'ratio':>6} {'p99':>8}",
    ]
    for row in results["sizes"]:
        lines.append(
            f"{row['size']:>10} {row['bytes'] / 1e6:6.2f} | {_side(row, 'memcpy', 'write')}  | "
            f"{_side(row, 'memcpy_back', 'read')}"
        )
    readers, lapped = results["readers"], results["lapped"]
    lines += ["", f"{len(readers['readers'])} readers, {readers['size']} at {readers['fps']} fps:"]
    for index, reader in enumerate(readers["readers"], 1):
        lines.append(
            f"  reader {index}: {reader['frames']} of {readers['published']} frames, published "
            f"to copied p50 {reader['latency_ms']['p50']:.2f} ms, "
            f"p99 {reader['latency_ms']['p99']:.2f} ms, torn {reader['torn']}"
        )
    lines += [
        "",
        f"lapped reader, {lapped['size']}, {lapped['slots']} slots, writer unthrottled: "
        f"{lapped['published']} published, {lapped['frames']} read, {lapped['lost']} lost, "
        f"{lapped['retries']} overtaken copies thrown away, {lapped['torn']} torn frames seen",
    ]
    return "\n".join(lines)


def _side(row: dict[str, Any], plain: str, ring: str) -> str:
    p50, p99 = row[f"{ring}_ms"]["p50"], row[f"{ring}_ms"]["p99"]
    return f"{row[f'{plain}_ms']['p50']:8.3f} {p50:8.3f} {row[f'{ring}_ratio']:6.2f} {p99:8.3f}"


def measure_copies(size: Size, seconds: float, run_dir: Path) -> dict[str, Any]:
    """Cost of one write and one read, each beside the memcpy it contains."""
    shape = (size.height, size.width, 4)
    meta = FrameMeta(size.width, size.height)
    num_bytes = size.width * size.height * 4
    sources = np.ones((max(2, -(-COLD_BYTES // num_bytes)), *shape), np.uint8)
    targets = np.ones((SLOT_COUNT, *shape), np.uint8)
    private = np.ones(shape, np.uint8)
    spans: dict[str, list[int]] = {"memcpy": [], "memcpy_back": [], "write": [], "read": []}
    with (
        FrameWriter(
            "copies", slot_count=SLOT_COUNT, capacity_bytes=num_bytes, run_dir=run_dir
        ) as writer,
        FrameReader("copies", run_dir=run_dir) as reader,
    ):
        # The first passes pay for page faults and attaching; they are not counted.
        warm_up, stop_ns, turn = 3 * SLOT_COUNT, now_ns() + int(seconds * NS_PER_S), 0
        while turn < warm_up + MIN_FRAMES or now_ns() < stop_ns:
            source, other = sources[turn % len(sources)], sources[(turn * 7 + 3) % len(sources)]
            target = targets[turn % SLOT_COUNT]
            steps: dict[str, Callable[[], object]] = {
                "memcpy": lambda a=target, b=other: np.copyto(a, b),  # type: ignore[misc]
                "memcpy_back": lambda a=target: np.copyto(private, a),  # type: ignore[misc]
                "write": lambda a=source: writer.publish(a, meta),  # type: ignore[misc]
                "read": reader.read_newest,
            }
            for name, step in steps.items():
                begin_ns = now_ns()
                kept = step()
                spans[name].append(now_ns() - begin_ns)
                assert name != "read" or kept is not None, "nobody else writes"
                del kept  # here, so that no step pays for the memory of the one before
            turn += 1
    times = {f"{name}_ms": _percentiles(values[warm_up:]) for name, values in spans.items()}
    return {
        "size": str(size),
        "bytes": num_bytes,
        "frames": turn - warm_up,
        **times,
        "write_ratio": times["write_ms"]["p50"] / times["memcpy_ms"]["p50"],
        "read_ratio": times["read_ms"]["p50"] / times["memcpy_back_ms"]["p50"],
    }


def measure_readers(size: Size, seconds: float, run_dir: Path) -> dict[str, Any]:
    """Two processes read what this one writes at a steady rate."""
    meta = FrameMeta(size.width, size.height)
    interval_ns = NS_PER_S // READERS_FPS
    with FrameWriter(
        "readers", capacity_bytes=size.width * size.height * 4, run_dir=run_dir
    ) as writer:
        children = [_Child(_read_for, run_dir, seconds) for _ in range(NUM_READERS)]
        for child in children:
            child.expect("ready")
        for child in children:
            child.say("go")
        due_ns, stop_ns = now_ns(), now_ns() + int(seconds * NS_PER_S)
        while due_ns < stop_ns:
            _publish_pattern(writer, meta)
            due_ns += interval_ns
            sleep_until_ns(due_ns)
        readers = [child.result() for child in children]
        published = writer.frame
    return {"size": str(size), "fps": READERS_FPS, "published": published, "readers": readers}


def measure_lapped(size: Size, seconds: float, run_dir: Path) -> dict[str, Any]:
    """A process writes as fast as it can into a ring too small for this one to keep up."""
    child = _Child(_write_for, run_dir, seconds, size)
    child.expect("ready")
    frames = torn = 0
    with FrameReader("lapped", run_dir=run_dir) as reader:
        while not child.has_result():
            # Turn by turn the newest (written last) and the oldest (overwritten next).
            frame = reader.read_newest() if frames % 2 else reader.read_next()
            if frame is not None:
                frames += 1
                torn += not is_whole(frame)
        lost, retries = reader.lost, reader.retries
    return {
        "size": str(size),
        "slots": LAPPED_SLOTS,
        "seconds": seconds,
        "published": child.result()["published"],
        "frames": frames,
        "lost": lost,
        "retries": retries,
        "torn": torn,
    }


def _read_for(connection: Connection, run_dir: Path, seconds: float) -> None:
    """A reader process: polls like a plug-in that draws faster than the ring delivers."""
    frames = torn = 0
    latencies_ns: list[int] = []
    with FrameReader("readers", run_dir=run_dir) as reader:
        reader.read_newest()
        connection.send("ready")
        connection.recv()  # "go": the others are ready too
        stop_ns = now_ns() + int((seconds + 0.3) * NS_PER_S)
        while now_ns() < stop_ns:
            frame = reader.read_newest()
            if frame is None:
                time.sleep(POLL_S)
                continue
            latencies_ns.append(now_ns() - frame.meta.publish_ts_ns)
            frames += 1
            torn += not is_whole(frame)
        retries = reader.retries
    connection.send(
        {"frames": frames, "torn": torn, "retries": retries,
         "latency_ms": _percentiles(latencies_ns)}
    )  # fmt: skip


def _write_for(connection: Connection, run_dir: Path, seconds: float, size: Size) -> None:
    """A writer process without mercy."""
    meta = FrameMeta(size.width, size.height)
    with FrameWriter(
        "lapped",
        slot_count=LAPPED_SLOTS,
        capacity_bytes=size.width * size.height * 4,
        run_dir=run_dir,
    ) as writer:
        connection.send("ready")
        stop_ns = now_ns() + int(seconds * NS_PER_S)
        while now_ns() < stop_ns:
            _publish_pattern(writer, meta)
        connection.send({"published": writer.frame})


def _publish_pattern(writer: FrameWriter, meta: FrameMeta) -> None:
    writer.begin(meta, meta.width * meta.height * 4).fill((writer.frame + 1) % PATTERN_PERIOD)
    writer.commit()


def pattern_frame(number: int, size: Size) -> Frame:
    """What `_publish_pattern` writes as frame `number`."""
    shape = (size.height, size.width, 4)
    pixels = np.full(shape, number % PATTERN_PERIOD, np.uint8)
    return Frame(FrameMeta(size.width, size.height, frame=number), pixels)


def is_whole(frame: Frame) -> bool:
    """Every byte of the frame is of this frame."""
    flat: NDArray[np.uint8] = frame.pixels.reshape(-1)
    return bool((flat == frame.meta.frame % PATTERN_PERIOD).all())


class _Child:
    """A process of the benchmark. Spawned: a fork would share the writer's lock."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=target, args=(other, *arguments), daemon=True)
        self._process.start()
        other.close()

    def expect(self, word: str) -> None:
        """Returns when the child has said the word."""
        if self._receive() != word:
            raise WorkerError(f"ring benchmark: its process did not say {word!r}")

    def say(self, word: str) -> None:
        """The child's `recv` returns the word."""
        self._connection.send(word)

    def has_result(self) -> bool:
        return self._connection.poll()

    def result(self) -> dict[str, Any]:
        """What the child sent last; the process is gone."""
        received = self._receive()
        assert isinstance(received, dict)
        self._process.join()
        return received

    def _receive(self) -> object:
        try:
            if self._connection.poll(CHILD_START_S):
                return self._connection.recv()
        except EOFError:
            pass
        self._process.kill()
        raise WorkerError(
            "ring benchmark: a process of its own ended or hangs; see the message above, try again"
        )


def _percentiles(spans_ns: list[int]) -> dict[str, float]:
    if not spans_ns:
        return {"p50": 0.0, "p99": 0.0}  # "frames": 0 beside it says that nothing was measured
    p50, p99 = np.percentile(np.asarray(spans_ns) / NS_PER_MS, [50, 99])
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load": [round(value, 2) for value in os.getloadavg()]
        if hasattr(os, "getloadavg")
        else "not known",
    }


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
