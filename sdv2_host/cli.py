"""The command `sdv2-host`: reads the command line, calls `commands/`, and turns errors into lines.

Commands import what they need when they are called, so that `--help` is there at once: this is the
one place of lazy imports in the project.
"""
# ruff: noqa: PLC0415  (lazy imports, see above)

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from sdv2_host import __version__
from sdv2_host.commands.bench_app import bench_app
from sdv2_host.commands.checkup_app import add_checkup_commands
from sdv2_host.commands.models_app import models_app
from sdv2_host.commands.obs_app import obs_app
from sdv2_host.commands.options import (
    FOLDERS,
    MODEL,
    OUTSIDE,
    PICTURE,
    SEVERAL_DEVICES,
    TEXT,
    JsonFile,
    takes,
)
from sdv2_host.commands.play_app import add_play_commands
from sdv2_host.commands.prepare_app import add_prepare_commands
from sdv2_host.commands.prompts_app import prompts_app
from sdv2_host.commands.replay_app import add_replay_command
from sdv2_host.errors import ConfigError, HostError

app = typer.Typer(
    name="sdv2-host",
    epilog="Exit codes: 0 done; 1 not live (status), not ready (doctor, soundcheck); 2 refused, "
    "with the reason; 3 shared memory; 4 no such picture source; 5 model; 6 name in use; 7 worker; "
    "8 bytes of another program that are not the protocol; 9 device; 10 no host answers; 11 OBS; "
    "130 Ctrl-C; 143 ended by SIGTERM.",
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
OUT = Path("sdv2-demo")


def _say_version(is_asked: bool) -> None:
    if is_asked:
        print(f"sdv2-host {__version__}")
        raise typer.Exit


@app.callback()
def any_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_say_version, is_eager=True, help="Print it and exit."
        ),
    ] = False,
) -> None:
    """Live AI video as an instrument: restyles live video by prompt."""
    del version


@app.command()
@takes(
    *("name", "engine", "size", "threads", "compile"),
    *("listen", "port", "osc_from", "osc_to", "output_fps", "resume"),
    *(*FOLDERS, *PICTURE, *MODEL, *SEVERAL_DEVICES, *TEXT, "file_rings", *OUTSIDE, "config_file"),
)
def run(ctx: typer.Context) -> int:
    """Run the daemon: styles what a plug-in writes into ring NAME-in, shows it on ring NAME-out.

    Examples:

      sdv2-host run

      sdv2-host run --name stage1 --size 384x256 --style neon --port 9401

      sdv2-host run --obs --virtual-camera

      sdv2-host run --touch-shm show
    """
    import asyncio

    from sdv2_host.commands.config_file import with_config_file
    from sdv2_host.commands.run import run as run_daemon
    from sdv2_host.commands.settings import given_params, make_config, make_params

    options = with_config_file(ctx.params, ctx.params["config_file"])
    config, wanted = make_config(options), make_params(options)
    return asyncio.run(run_daemon(config, wanted, given_params(options)))


@app.command()
def agent(
    join: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The --join-listen of the host to lend devices to."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the token of that host.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="The token itself; others see it in the list of processes."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Device to lend: auto, cpu, cuda:N; again for each further one."),
    ] = None,
    interface: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address of this machine where other devices reach it; without it the one that "
            "reaches the host.",
        ),
    ] = "",
    models_dir: Annotated[
        str, typer.Option(metavar="DIR", help="Folder of imported models on this machine.")
    ] = "",
    make_token: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a new token to this file, and do nothing else."),
    ] = None,
) -> int:
    """Lend devices of this machine to a host on another one, which runs with --join-listen.

    Examples:

      sdv2-host agent --make-token ring.token

      sdv2-host agent --join 10.0.0.1:9600 --token-file ring.token --device cuda:0 --device cuda:1
    """
    from sdv2_host.commands.agent import AgentOptions, make_token_file, run_agent

    if make_token is not None:
        return make_token_file(make_token)
    devices = device or ["auto"]
    return run_agent(AgentOptions(join, token_file, token, devices, interface, models_dir))


@app.command()
@takes(
    *(*PICTURE, "engine", "size", "threads", "compile"),
    *("name", "listen", "port", "osc_from", "osc_to", *FOLDERS, *MODEL, *TEXT),
)
def demo(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Option("--input", metavar="FILE|test|camera", help="Where pictures come from.")
    ] = "test",
    camera: Annotated[int, typer.Option(help="Number of the camera, from 0.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    headless: Annotated[bool, typer.Option(help="Record instead of showing a page.")] = False,
    frames: Annotated[int, typer.Option(help="Headless: number of frames to record.")] = 240,
    out: Annotated[Path, typer.Option(help="Headless: folder for out.mp4 and sheet.png.")] = OUT,
    json_file: JsonFile = None,
) -> int:
    """Show it: a source, the daemon, and a page with input beside output.

    Examples:

      sdv2-host demo

      sdv2-host demo --input holiday.mp4 --style comic

      sdv2-host demo --input camera --prompt "neon lights at night"

      sdv2-host demo --headless --frames 240 --input holiday.mp4 --out d --json r.json
    """
    import asyncio

    from sdv2_host.commands.demo import HeadlessDemo, LiveDemo, source_args
    from sdv2_host.commands.demo import demo as run_demo
    from sdv2_host.commands.settings import check_range, make_config, make_params

    config = make_config({**ctx.params, "resume": "default"})
    wanted = make_params(ctx.params)
    check_range("--frames", frames, 1, 1_000_000)
    shown = HeadlessDemo(frames, out, json_file) if headless else LiveDemo(browser)
    return asyncio.run(run_demo(config, wanted, source_args(source, camera, config), shown))


@app.command()
@takes(*PICTURE, "engine", "size", "threads", *MODEL, *TEXT)
def render(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="IN", help="A video that FFmpeg can read.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The MP4 to write.")],
) -> None:
    """Restyle a file: every frame, same pipeline, the same bytes for the same settings.

    Examples:

      sdv2-host render in.mp4 out.mp4 --prompt "watercolor painting"

      sdv2-host render in.mp4 out.mp4 --style gold --steps 4 --seed 7 --size 384x256
    """
    from sdv2_host.commands.render import render as render_file
    from sdv2_host.commands.settings import make_config, make_params

    # As written: compiled or not makes a difference in the last bit.
    config = make_config({**ctx.params, "compile": "off"})
    count = render_file(source, target, config, make_params(ctx.params))
    print(f"wrote {target}, {count} frames")


@app.command()
def params(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the live parameters: OSC address, type, default, range."""
    from sdv2_host.commands.tables import show_params

    show_params(json)


@app.command()
def styles(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the named styles of the embedded model and a prompt for each."""
    from sdv2_host.commands.tables import show_styles

    show_styles(json)


# Here, not above: --help lists commands in the order in which they were added.
add_replay_command(app)
add_play_commands(app)
add_checkup_commands(app)
app.add_typer(obs_app, name="obs", rich_help_panel="Prepare")
add_prepare_commands(app)
app.add_typer(models_app, name="models", rich_help_panel="Prepare")
app.add_typer(prompts_app, name="prompts", rich_help_panel="Prepare")
app.add_typer(bench_app, name="bench", rich_help_panel="Prepare")


def _terminate(number: int, frame: FrameType | None) -> None:
    """For commands without a loop: unwinds, so that unfinished files are removed."""
    raise SystemExit(128 + number)


def _usage_line(error: typer.TyperException) -> str:
    """What was wrong with the command line, in one line."""
    return " ".join(error.format_message().split()) + " (see --help)"


def main() -> int:
    """Runs the command line; the exit code. Errors of the user are one line on stderr."""
    argv = sys.argv[1:]
    signal.signal(signal.SIGTERM, _terminate)
    logging.basicConfig(
        level=os.environ.get("SDV2_LOG", "WARNING").upper(), format="sdv2-host: %(message)s"
    )
    try:
        code = app(argv or ["--help"], prog_name="sdv2-host", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except HostError as error:
        print(f"sdv2-host: {error}", file=sys.stderr)
        return error.exit_code
    except typer.TyperException as error:
        print(f"sdv2-host: {_usage_line(error)}", file=sys.stderr)
        return ConfigError.exit_code
