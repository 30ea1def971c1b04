"""A host as `sdv2-host run` is one, with a worker that fails when it is told to.

`python -m sdv2_host.bench.faulty_host FILE`, which is a `Setup` as JSON. Ends as the other does.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sdv2_host.bench.fault_orders import Orders
from sdv2_host.commands.interrupt import Interrupt
from sdv2_host.config import Config
from sdv2_host.control.state_file import initial_params, load_state
from sdv2_host.errors import HostError
from sdv2_host.host.child_process import module_command
from sdv2_host.host.control_room import state_path
from sdv2_host.host.daemon import Daemon
from sdv2_host.host.limits import Limits
from sdv2_host.params import Params


class Setup(BaseModel):
    """What such a host is started with."""

    model_config = ConfigDict(frozen=True)

    config: Config
    run_dir: Path
    orders: Path
    """Folder of the `Orders`."""
    silence_s: float
    """See `Limits`."""


def faulty_worker(orders: Path) -> tuple[str, ...]:
    """The command of a worker that follows these."""
    return (*module_command("sdv2_host.bench.faulty_worker"), str(orders))


def lone_faults(setup: Setup) -> Limits:
    """Every fault is met as the first for a long time: a bench has more of them than a year."""
    worker = faulty_worker(setup.orders)
    return Limits(silence_s=setup.silence_s, death_window_s=1.0, worker=worker)


async def serve(setup: Setup) -> int:
    """The exit code, once it is asked to end.

    Raises:
        HostError: as `Daemon.run`.
    """
    Orders(setup.orders).follow_clock()
    interrupt = Interrupt()
    kept = load_state(state_path(setup.config))
    daemon = Daemon(
        setup.config,
        initial_params(kept, Params(), (), setup.config.engine),
        run_dir=setup.run_dir,
        limits=lone_faults(setup),
        kept=kept,
    )
    await daemon.run(interrupt.stopped)
    return interrupt.exit_code


def main(path: Path) -> int:
    """The exit code, as of `sdv2-host run`."""
    logging.basicConfig(stream=sys.stderr, level="INFO", format="%(levelname)s %(message)s")
    try:
        return asyncio.run(serve(Setup.model_validate_json(path.read_text())))
    except HostError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
