"""A host on one machine and an agent on another, as users start them, and the cable between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import SIGTERM
from threading import Event, Thread

import numpy as np

from sdv2_host.bench.two_machines import ADDRESSES
from sdv2_host.clock import now_ns
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.stages.join_token import make_token
from sdv2_host.types import FrameFlags, FrameMeta
from tests.hosts import RunningHost, unique_name
from tests.stages.machines import machines_or_skip

SIDE_PX = 64
FRAME_S = 1 / 10
WAIT_S = 90.0
JOIN = f"{ADDRESSES[0]}:9600"


class Show:
    """A source that never stops, and who looks at the output: numbers of the source's frames that
    fresh pictures were made of, in the order in which they came."""

    def __init__(self, name: str) -> None:
        self.numbers: list[int] = []
        self._name = name
        self._is_over = Event()
        self._threads = [Thread(target=body, daemon=True) for body in (self._publish, self._view)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _publish(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 4), dtype=np.uint8)
        with FrameWriter(f"{self._name}-in") as writer:
            while not self._is_over.wait(FRAME_S):
                meta = FrameMeta(width=SIDE_PX, height=SIDE_PX, capture_ts_ns=now_ns())
                writer.publish(pixels, meta)

    def _view(self) -> None:
        reader = FrameReader(f"{self._name}-out")
        while not self._is_over.wait(0.005):
            while (frame := reader.read_next()) is not None:
                if FrameFlags.REPEATED not in frame.meta.flags:
                    self.numbers.append(frame.meta.source_frame)
        reader.close()

    def until_more(self, count: int) -> None:
        wanted = len(self.numbers) + count
        until(lambda: len(self.numbers) >= wanted, f"{wanted} pictures")


@contextmanager
def shown(name: str) -> Iterator[Show]:
    show = Show(name)
    try:
        yield show
    finally:
        show.close()


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.02)


def test_the_show_goes_on_when_the_cable_to_an_agent_is_cut_and_takes_it_back(
    tmp_path: Path,
) -> None:
    name, token = unique_name(), tmp_path / "token"
    make_token(token)
    run = (
        *("run", "--name", name, "--port", "0", "--data-dir", str(tmp_path / "data")),
        *("--size", f"{SIDE_PX}x{SIDE_PX}", "--threads", "1", "--devices", "cpu,cpu"),
        *("--join-listen", JOIN, "--join-token-file", str(token), "--join-count", "1"),
    )
    agent = ("agent", "--join", JOIN, "--token-file", str(token), "--device", "cpu")

    with (
        machines_or_skip(one_way_ms=2) as machines,
        machines.first.on(partial(RunningHost, *run)) as host,
        machines.second.on(partial(RunningHost, *agent)),
        shown(name) as show,
    ):
        host.wait_for("joins")
        show.until_more(12)

        machines.cable.cut()
        host.wait_for("is lost, it gave no sign of life for 1 s")
        show.until_more(12)

        machines.cable.mend()
        host.wait_for("joins")
        show.until_more(12)
        code, _ = machines.first.on(partial(host.stop, SIGTERM))

    assert code == 143
    assert show.numbers == sorted(set(show.numbers))
