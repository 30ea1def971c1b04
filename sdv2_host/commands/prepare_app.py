"""The command line of what is made ready once: for TouchDesigner, as a service, compiled. Commands
import what they need when called."""
# ruff: noqa: PLC0415  (lazy imports: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from sdv2_host.commands.options import Engine, SizeText, Threads


def add_prepare_commands(app: typer.Typer) -> None:
    """To be called where they shall stand in the help."""
    app.command("touchdesigner", rich_help_panel="Prepare")(touchdesigner)
    takes_options_of_run = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command("service", rich_help_panel="Prepare", context_settings=takes_options_of_run)(
        service
    )
    app.command("compile", rich_help_panel="Prepare")(compile_)


def touchdesigner(
    folder: Annotated[Path, typer.Argument(help="Where to.")] = Path("sdv2-touchdesigner"),
) -> None:
    """Write the TouchDesigner component's installer, and say how to run it there.

    Example: sdv2-host touchdesigner ~/Documents/sdv2-touchdesigner
    """
    from sdv2_host.commands.touchdesigner import write_touchdesigner

    write_touchdesigner(folder)


def service(
    ctx: typer.Context,
    write: Annotated[
        bool, typer.Option(help="Write it to this user's units, and say how to start it.")
    ] = False,
) -> None:
    """Print the systemd unit (Linux) that runs a host from log-in on, and again after a crash.

    Takes the options of sdv2-host run, which the unit then has.

    Examples:

      sdv2-host service

      sdv2-host service --write --name stage1 --engine wan-1.3b --port 9401
    """
    from sdv2_host.commands.config_file import with_config_file
    from sdv2_host.commands.service import make_service
    from sdv2_host.commands.settings import make_config, make_params

    commands = ctx.find_root().command
    assert isinstance(commands, TyperGroup), "the program itself"
    command = commands.commands["run"]
    given = command.make_context("sdv2-host run", list(ctx.args)).params
    options = with_config_file(given, given["config_file"])
    config, _ = make_config(options), make_params(options)
    make_service(config.name, ctx.args, write=write)


def compile_(
    ctx: typer.Context,
    engine: Engine = None,
    size: SizeText = None,
    threads: Threads = None,
    seconds: Annotated[
        float, typer.Option(help="Length of the measurement of what it gained; 0 = none.")
    ] = 5.0,
) -> None:
    """Make engine tiny faster on this computer: compile its model for one size, once.

    Hosts of that size use it from their next start on. Takes a minute or two and needs a C++
    compiler. A new version of sdv2-host or torch needs it anew.

    Examples:

      sdv2-host compile

      sdv2-host compile --size 384x256
    """
    from sdv2_host.commands.compile import compile_for
    from sdv2_host.commands.settings import check_range, make_config

    check_range("--seconds", seconds, 0, 3600)
    compile_for(make_config(ctx.params), seconds)
