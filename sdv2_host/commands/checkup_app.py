"""The command line of `doctor`, `soundcheck` and `support`. Commands import what they need when
called."""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdv2_host.commands.options import (
    Attention,
    CameraDevice,
    Compile,
    ConfigFile,
    DataDir,
    Device,
    Dtype,
    Engine,
    FileRings,
    Graphs,
    Layout,
    Linears,
    Listen,
    Lora,
    MaxSteps,
    Mode,
    ModelsDir,
    Name,
    ObsPort,
    OscFrom,
    Overlap,
    Port,
    RecordingsDir,
    SizeText,
    Steps,
    Threads,
    Vae,
    VirtualCamera,
)

if TYPE_CHECKING:
    from sdv2_host.checkup.doctor import Wanted

PANEL = "Before the doors open"

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="Measure no speed, and tell models by name and size alone."),
]


def add_checkup_commands(app: typer.Typer) -> None:
    """doctor, soundcheck and support."""
    for command in (doctor,):
        app.command(rich_help_panel=PANEL)(command)


def _wanted(options: Mapping[str, Any], config_file: Path | None, *, is_quick: bool) -> Wanted:
    """The show that the options and the config file ask for, as `run` takes them."""
    from sdv2_host.checkup.doctor import Wanted
    from sdv2_host.commands.config_file import with_config_file
    from sdv2_host.commands.settings import make_config, make_params

    merged = with_config_file(options, config_file)
    return Wanted(make_config(merged), make_params(merged), is_quick)


def doctor(
    ctx: typer.Context,
    json: Json = False,
    quick: Quick = False,
    name: Name = None,
    engine: Engine = None,
    size: SizeText = None,
    steps: Steps = None,
    lora: Lora = None,
    threads: Threads = None,
    compile: Compile = None,
    device: Device = None,
    dtype: Dtype = None,
    vae: Vae = None,
    mode: Mode = None,
    layout: Layout = None,
    max_steps: MaxSteps = None,
    graphs: Graphs = None,
    attention: Attention = None,
    linears: Linears = None,
    overlap: Overlap = None,
    models_dir: ModelsDir = None,
    listen: Listen = None,
    port: Port = None,
    osc_from: OscFrom = None,
    data_dir: DataDir = None,
    recordings_dir: RecordingsDir = None,
    file_rings: FileRings = None,
    virtual_camera: VirtualCamera = None,
    camera_device: CameraDevice = None,
    obs_port: ObsPort = None,
    config_file: ConfigFile = None,
) -> int:
    """Look whether this computer is ready for the show, and say what to do where it is not.

    Takes the options of run. Changes nothing. Exit code 1 where something has to be put right.

    Examples:

      sdv2-host doctor

      sdv2-host doctor --engine wan-1.3b --size 512x512 --virtual-camera
    """
    from sdv2_host.commands.doctor import doctor as look

    return look(_wanted(ctx.params, config_file, is_quick=quick), as_json=json)
