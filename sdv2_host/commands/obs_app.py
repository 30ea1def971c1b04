"""The command line that sets up OBS. Commands import what they need when called."""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports: see cli.py; an option is an argument)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

obs_app = typer.Typer(help="OBS Studio: plug-in, ready scene, how they are connected.")

Name = Annotated[str | None, typer.Option(help="Name of the host, where several run.")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="OBS' WebSocket server. Default 127.0.0.1:4455, or the config's."
    ),
]
Password = Annotated[
    str | None,
    typer.Option(help="Of OBS' WebSocket server; others see it in the list of processes."),
]
PasswordFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="File with the password; without any it is asked for where needed."
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="As of sdv2-host run.")
]
ObsFolder = Annotated[
    Path | None,
    typer.Option(
        "--obs", metavar="FOLDER", help="OBS' config folder, where it is not found by itself."
    ),
]


@obs_app.command("setup")
def setup(
    name: Name = None,
    scene: Annotated[str, typer.Option(help="Name of the scene.")] = "StreamDiffusion",
    filter_on: Annotated[
        str, typer.Option(metavar="SOURCE", help="Input or scene of OBS that goes to the host.")
    ] = "",
    no_plugin: Annotated[
        bool, typer.Option("--no-plugin", help="Use OBS' own Media Source, install nothing.")
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Of the picture, without plug-in; default the host's."),
    ] = None,
    obs_port: Annotated[
        int, typer.Option(help="Of the host's feed, without plug-in; default the running host's.")
    ] = 0,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit to the canvas what you have placed yourself, too.")
    ] = False,
    address: Address = None,
    password: Password = None,
    password_file: PasswordFile = None,
    config_file: ConfigFile = None,
) -> None:
    """Make a ready scene in the running OBS; says what it did. Safe to run again.

    Examples:

      sdv2-host obs setup --filter-on "Video Capture Device"

      sdv2-host obs setup --no-plugin
    """
    from sdv2_host.commands.obs import Access, set_up_scene
    from sdv2_host.obs.scene import Wish

    access = Access(address, password, password_file, config_file)
    wish = Wish(name or "", scene, filter_on, feed_port=obs_port, has_plugin=not no_plugin, fit=fit)
    set_up_scene(access, wish, size)


@obs_app.command("status")
def status(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    address: Address = None,
    password: Password = None,
    password_file: PasswordFile = None,
    config_file: ConfigFile = None,
) -> None:
    """What OBS has of sdv2: plug-in, sources, filters, and what the hosts say."""
    from sdv2_host.commands.obs import Access, show_status

    show_status(Access(address, password, password_file, config_file), json)


@obs_app.command("install")
def install(
    plugin: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A plug-in that is built already, not from source."),
    ] = None,
    obs: ObsFolder = None,
) -> None:
    """Build the plug-in where needed and put it where OBS looks for it.

    Examples:

      sdv2-host obs install

      sdv2-host obs install --plugin sdv2.so
    """
    from sdv2_host.commands.obs import install as install_plugin

    install_plugin(plugin, obs)


@obs_app.command("uninstall")
def uninstall(obs: ObsFolder = None) -> None:
    """Remove what `sdv2-host obs install` put there, and nothing else."""
    from sdv2_host.commands.obs import uninstall as uninstall_plugin

    uninstall_plugin(obs)
