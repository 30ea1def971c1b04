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
    OutputFps,
    Overlap,
    Port,
    Prompt,
    RecordingsDir,
    Seed,
    SizeText,
    Steps,
    TextDevice,
    Threads,
    Vae,
    VirtualCamera,
)

if TYPE_CHECKING:
    from sdv2_host.checkup.doctor import Wanted

PANEL = "Before the doors open"
OUT = Path("sdv2-soundcheck")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="Measure no speed, and tell models by name and size alone."),
]


def add_checkup_commands(app: typer.Typer) -> None:
    """doctor, soundcheck and support."""
    for command in (doctor, soundcheck, support):
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


def soundcheck(
    ctx: typer.Context,
    minutes: Annotated[float, typer.Option(help="Length of the show that is played.")] = 5.0,
    out: Annotated[Path, typer.Option(help="Folder for the page and the numbers.")] = OUT,
    source: Annotated[
        str, typer.Option("--input", metavar="FILE|test|camera", help="Where pictures come from.")
    ] = "test",
    camera: Annotated[int, typer.Option(help="Number of the camera, from 0.")] = 0,
    quick: Quick = False,
    engine: Engine = None,
    size: SizeText = None,
    prompt: Prompt = None,
    steps: Steps = None,
    seed: Seed = None,
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
    output_fps: OutputFps = None,
    text_device: TextDevice = None,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
    recordings_dir: RecordingsDir = None,
    file_rings: FileRings = None,
    virtual_camera: VirtualCamera = None,
    camera_device: CameraDevice = None,
    config_file: ConfigFile = None,
) -> int:
    """Play a show to nobody, and write a page that says whether it is ready: verdict.html.

    The doctor, then a host of its own with the test pattern, a file or the camera: prompts, faders,
    presets, panic and resume, an engine that stands still for a second. Takes the options of run.
    Exit code 1 where it is not ready.

    Examples:

      sdv2-host soundcheck

      sdv2-host soundcheck --minutes 30 --engine wan-1.3b --input camera --out friday
    """
    from sdv2_host.commands.demo import source_args
    from sdv2_host.commands.settings import check_range
    from sdv2_host.commands.soundcheck import SoundcheckPlan
    from sdv2_host.commands.soundcheck import soundcheck as check

    check_range("--minutes", minutes, 0.1, 1440)
    wanted = _wanted(ctx.params, config_file, is_quick=quick)
    source_of = source_args(source, camera, wanted.config)
    return check(SoundcheckPlan(wanted, source_of, 60 * minutes, out, config_file))


def support(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.zip", help="Where to; else here, by the date.")
    ] = None,
    with_prompts: Annotated[bool, typer.Option(help="Leave prompts in it.")] = False,
    engine: Engine = None,
    size: SizeText = None,
    models_dir: ModelsDir = None,
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> int:
    """Write a zip for whoever helps you: what the doctor sees, settings, logs, running hosts.

    Without tokens, passwords, stream keys, prompts, your name and your folders. Prints what is in
    it and what was taken out. Nothing is sent anywhere.

    Example: sdv2-host support --out stage1.zip
    """
    from sdv2_host.commands.support import SupportPlan, default_name
    from sdv2_host.commands.support import support as write

    wanted = _wanted(ctx.params, config_file, is_quick=True)
    return write(SupportPlan(wanted, config_file, out or Path(default_name()), with_prompts))
