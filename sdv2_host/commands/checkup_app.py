"""The command line of `doctor`, `soundcheck` and `support`. Commands import what they need when
called."""
# ruff: noqa: PLC0415  (lazy imports: see cli.py)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdv2_host.commands.options import FOLDERS, MODEL, takes

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


def _wanted(options: Mapping[str, Any], *, is_quick: bool) -> Wanted:
    """The show that the options and the config file ask for, as `run` takes them."""
    from sdv2_host.checkup.doctor import Wanted
    from sdv2_host.commands.config_file import with_config_file
    from sdv2_host.commands.settings import make_config, make_params

    merged = with_config_file(options, options["config_file"])
    return Wanted(make_config(merged), make_params(merged), is_quick)


@takes(
    *("name", "engine", "size", "steps", "lora", "threads", "compile", *MODEL, "models_dir"),
    *("listen", "port", "osc_from", *FOLDERS, "file_rings"),
    *("virtual_camera", "camera_device", "obs_port", "config_file"),
)
def doctor(
    ctx: typer.Context,
    json: Json = False,
    quick: Quick = False,
) -> int:
    """Look whether this computer is ready for the show, and say what to do where it is not.

    Takes the options of run. Changes nothing. Exit code 1 where something has to be put right.

    Examples:

      sdv2-host doctor

      sdv2-host doctor --engine wan-1.3b --size 512x512 --virtual-camera
    """
    from sdv2_host.commands.doctor import doctor as look

    return look(_wanted(ctx.params, is_quick=quick), as_json=json)


@takes(
    *("engine", "size", "prompt", "steps", "seed", "lora", "threads", "compile", *MODEL),
    *("output_fps", "text_device", "models_dir", *FOLDERS, "file_rings"),
    *("virtual_camera", "camera_device", "config_file"),
)
def soundcheck(
    ctx: typer.Context,
    minutes: Annotated[float, typer.Option(help="Length of the show that is played.")] = 5.0,
    out: Annotated[Path, typer.Option(help="Folder for the page and the numbers.")] = OUT,
    source: Annotated[
        str, typer.Option("--input", metavar="FILE|test|camera", help="Where pictures come from.")
    ] = "test",
    camera: Annotated[int, typer.Option(help="Number of the camera, from 0.")] = 0,
    quick: Quick = False,
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
    wanted = _wanted(ctx.params, is_quick=quick)
    source_of = source_args(source, camera, wanted.config)
    return check(SoundcheckPlan(wanted, source_of, 60 * minutes, out, ctx.params["config_file"]))


@takes("engine", "size", "models_dir", "data_dir", "config_file")
def support(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.zip", help="Where to; else here, by the date.")
    ] = None,
    with_prompts: Annotated[bool, typer.Option(help="Leave prompts in it.")] = False,
) -> int:
    """Write a zip for whoever helps you: what the doctor sees, settings, logs, running hosts.

    Without tokens, passwords, stream keys, prompts, your name and your folders. Prints what is in
    it and what was taken out. Nothing is sent anywhere.

    Example: sdv2-host support --out stage1.zip
    """
    from sdv2_host.commands.support import SupportPlan, default_name
    from sdv2_host.commands.support import support as write

    wanted = _wanted(ctx.params, is_quick=True)
    return write(
        SupportPlan(wanted, ctx.params["config_file"], out or Path(default_name()), with_prompts)
    )
