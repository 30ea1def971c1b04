"""`sdv2-host run`: the daemon, for plug-ins that bring and take the pictures."""

from __future__ import annotations

import asyncio
import os

from sdv2_host.commands.interrupt import Interrupt
from sdv2_host.commands.narrator import Narrator, describe, summary
from sdv2_host.commands.preflight import check_installed
from sdv2_host.commands.service_link import service_link
from sdv2_host.commands.styles import prompt_buttons
from sdv2_host.config import Config
from sdv2_host.control.access import read_host_file
from sdv2_host.control.state_file import initial_params, load_state
from sdv2_host.errors import AlreadyRunningError
from sdv2_host.host.control_room import starts_path, state_path
from sdv2_host.host.daemon import Daemon
from sdv2_host.host.heap import keep_heap_small
from sdv2_host.host.start_book import noted_start
from sdv2_host.ipc.run_dir import default_run_dir, keep_files_private, sandbox_run_dir
from sdv2_host.log_stream import log_without_waiting
from sdv2_host.params import Params


async def run(config: Config, params: Params, given: frozenset[str]) -> int:
    """Serves until interrupted; the exit code. Parameters `given` win over the last run's.

    Raises:
        HostError: the daemon cannot start, or shared memory was lost.
    """
    keep_files_private()
    log_without_waiting()
    keep_heap_small()
    kept = load_state(state_path(config)) if config.resume == "last" else None
    params = initial_params(kept, params, given, config.engine)
    params = params.model_copy(update={"steps": min(params.steps, config.num_step_rows)})
    check_installed(config, params)
    run_dir = sandbox_run_dir() if config.file_rings else default_run_dir()
    running = read_host_file(config.name)
    if running is not None:  # in either directory: programs would not know which one is meant
        raise AlreadyRunningError(
            f"host {config.name} is running already, as process {running.pid}; stop that one or "
            "choose another --name"
        )
    interrupt = Interrupt()
    narrator = Narrator()

    def styles() -> dict[str, str]:
        return prompt_buttons(daemon.config_in_use)

    with noted_start(starts_path(config)) as unsafe:
        daemon = Daemon(config, params, run_dir=run_dir, styles=styles, kept=kept, stand_in=unsafe)
        daemon.on_progress.append(narrator.progress)
        narrator.say(f"starting engine {config.engine}; {rings(config)}")
        await _run(daemon, narrator, interrupt.stopped)
    narrator.say(f"stopped; {summary(daemon.snapshot())}")
    return interrupt.exit_code


async def _run(daemon: Daemon, narrator: Narrator, stopped: asyncio.Event) -> None:
    """Until `stopped`, telling the terminal and whoever has started us."""
    telling = [narrator.follow(daemon), _tell_ready(daemon, narrator)]
    service = service_link(os.environ, os.getpid())
    if service is not None:
        telling.append(service.follow(daemon.opened, lambda: describe(daemon.snapshot())))
        telling.append(service.tell_stopping(stopped))
    tasks = [asyncio.create_task(one) for one in telling]
    try:
        await daemon.run(stopped)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if service is not None:
            service.close()


async def _tell_ready(daemon: Daemon, narrator: Narrator) -> None:
    await daemon.ready.wait()
    tell_surfaces(daemon, narrator)


def tell_surfaces(daemon: Daemon, narrator: Narrator) -> None:
    """Where the host is played from."""
    narrator.say(f"ready; control page {daemon.url}")
    narrator.say(f"OSC on {osc_address(daemon)} (UDP and TCP), for example /sdv2/prompt")


def rings(config: Config) -> str:
    """The names a plug-in needs."""
    return f"input ring {config.input_stream}, output ring {config.output_stream}"


def osc_address(daemon: Daemon) -> str:
    """host:port that the daemon listens on for OSC."""
    return f"{daemon.config.listen}:{daemon.snapshot().port}"
