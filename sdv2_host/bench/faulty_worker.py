"""The host's worker with an engine that fails when it is told to.

`python -m sdv2_host.bench.faulty_worker FOLDER`, in the place of `sdv2_host.host.worker`; orders
come through the folder. Loop, rings, pipes and engine are the product's: only the calls of the
embedded model are watched, or the step of engine passthrough.
"""
# ruff: noqa: PLC0415  (torch takes seconds, and passthrough runs without it)

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from sdv2_host.bench.fault_orders import Failure, Orders, end_or_hang
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError, DeviceMemoryError
from sdv2_host.host.child_side import Send, exit_child, run_child
from sdv2_host.host.engines import PassthroughEngine
from sdv2_host.host.worker import Inbox, run
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, Layout, ProgressFn, StyledChunk


class FaultyPassthrough(PassthroughEngine):
    """Fails in `step` when an order says so. It has no numbers that could be NaN."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        failure = self._orders.take("step")
        if failure is Failure.RAISE:
            raise ArithmeticError("told to fail in step")
        if failure is Failure.OUT_OF_MEMORY:
            raise DeviceMemoryError("out of memory (simulated, in step); use a smaller --size")
        end_or_hang(failure)
        return super().step(frames, params, layout)


def build_faulty_engine(orders: Orders, config: Config, progress: ProgressFn) -> Engine:
    """As `build_engine`. Raises: ConfigError, for an engine that is not watched."""
    if config.engine == "passthrough":
        return FaultyPassthrough(orders)
    if config.engine != "tiny":
        raise ConfigError(f"--engine {config.engine}: bench faults knows tiny and passthrough")
    progress("loading engine tiny", 0.0)
    from sdv2_host.bench.faulty_calls import build_faulty_tiny

    return build_faulty_tiny(config, orders)


def main(folder: Path, send: Send) -> None:
    """Run until stopped."""
    orders = Orders(folder)
    orders.follow_clock()
    run(Inbox(sys.stdin.buffer), send, partial(build_faulty_engine, orders))


if __name__ == "__main__":
    exit_child(run_child("worker", partial(main, Path(sys.argv[1]))))
