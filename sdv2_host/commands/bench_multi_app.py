"""The command line of `sdv2-host bench multi`: several devices, simulated or measured."""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdv2_host.commands.options import JsonFile

bench_multi_app = typer.Typer()

SIMULATED, MEASURED = "Simulated", "Measured, of this computer's devices"


def _only(help_text: str, panel: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        help=help_text, show_default=False, rich_help_panel=panel
    )
    return option


@bench_multi_app.command("multi")
def bench_multi(
    ctx: typer.Context,
    devices: Annotated[
        str,
        typer.Option(
            help="Simulated: h100, h200, 4090 or 3090, also with counts: 4090,3090 or h100*4. "
            "Measured: devices of this computer such as cpu,cpu or cuda:0,cuda:1."
        ),
    ] = "h100*4",
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 2,
    lanes: Annotated[
        int, typer.Option(help="Messages under way in a ring; 0 = one per device.")
    ] = 0,
    json_file: JsonFile = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for multi.png and multi.json; and times.json, where measured."),
    ] = None,
    model: Annotated[str | None, _only("1.3b or 14b, at 512x512. Default 1.3b.", SIMULATED)] = None,
    times: Annotated[
        Path | None, _only("JSON with measured times in place of --devices.", SIMULATED)
    ] = None,
    source_fps: Annotated[
        float | None, _only("Of the source; 0 = always a frame, the default.", SIMULATED)
    ] = None,
    hop_ms: Annotated[
        float | None, _only("From one device to the next. Default 1.", SIMULATED)
    ] = None,
    jitter: Annotated[float | None, _only("Of every time, relative. Default 0.", SIMULATED)] = None,
    engine: Annotated[
        str | None, _only("tiny, wan-1.3b or wan-14b. Default tiny.", MEASURED)
    ] = None,
    size: Annotated[
        str | None,
        _only("WxH, multiples of 16 px. Default 256x256, Wan engines 512x512.", MEASURED),
    ] = None,
    threads: Annotated[
        int | None,
        _only("Of each process on a CPU. Default: the cores divided by devices.", MEASURED),
    ] = None,
    route: Annotated[str | None, _only("ring, chain or both. Default both.", MEASURED)] = None,
    seconds: Annotated[
        float | None, _only("Of each turn of each setup. Default 3.", MEASURED)
    ] = None,
    rounds: Annotated[int | None, _only("Turns of each setup. Default 3.", MEASURED)] = None,
    kill: Annotated[
        int | None,
        _only(
            "Also kill, and then hang, each device's process in turn so many times under the "
            "stream: how long until there is a new picture. Default 0.",
            MEASURED,
        ),
    ] = None,
) -> None:
    """Several devices together, ring and chain. Without a device of this computer simulated:
    graphics cards, who runs what, moving blocks when a card gets hot, and the paper's figures;
    seconds. With cpu,cpu or cuda:0,cuda:1 measured: 1, 2... of them beside a stream on one;
    minutes.

    Examples:

      sdv2-host bench multi --devices 4090,3090 --steps 2

      sdv2-host bench multi --devices cpu,cpu --size 96x64 --kill 4 --out d

      sdv2-host bench multi --times d/times.json --hop-ms 10 --lanes 8
    """
    from sdv2_host.commands.bench_multi import Choices, measure, simulate

    choices = Choices(devices, steps, lanes, json_file, out)
    if choices.are_real:
        choices.refuse(
            ("--model", model),
            ("--times", times),
            ("--source-fps", source_fps),
            ("--hop-ms", hop_ms),
            ("--jitter", jitter),
        )
        measure(choices, ctx.params)
    else:
        choices.refuse(
            ("--engine", engine),
            ("--size", size),
            ("--threads", threads),
            ("--route", route),
            ("--seconds", seconds),
            ("--rounds", rounds),
            ("--kill", kill),
        )
        simulate(choices, ctx.params)
