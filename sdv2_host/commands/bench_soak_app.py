"""The command line of `sdv2-host bench soak`."""
# ruff: noqa: PLC0415  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdv2_host.commands.options import JsonFile

bench_soak_app = typer.Typer()
NOT_FLAT = 1
"""The exit code where something grew."""


@bench_soak_app.command("soak")
def bench_soak(
    hours: Annotated[float, typer.Option(help="Of the show: 108,000 frames each.")] = 2.0,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Of the picture, multiples of 16 px.")
    ] = "64x64",
    seed: Annotated[int, typer.Option(help="Chooses the show; equal seeds, equal shows.")] = 0,
    json_file: JsonFile = None,
    png: Annotated[Path | None, typer.Option(help="Picture of it all over time.")] = None,
) -> None:
    """Does anything grow in hours of a show? As fast as this computer can: two hours take 15
    minutes or more.

    A host of the embedded model is played by faders, pages, scripts and presets; sources, viewers
    and workers come, stall and are killed. Memory, descriptors, threads, shared memory and the
    latency of the last tenth must be as of the first. Exit code 1 where one is not.

    Examples:

      sdv2-host bench soak --json soak.json --png soak.png

      sdv2-host bench soak --hours 0.2 --seed 7
    """
    from sdv2_host.bench.soak import SoakPlan
    from sdv2_host.commands.bench_soak import bench_soak as measure
    from sdv2_host.commands.settings import check_range, make_config

    check_range("--hours", hours, 0.1, 1000)
    config = make_config({"size": size})
    if not measure(SoakPlan(hours, config.size, seed), json_file, png):
        raise typer.Exit(NOT_FLAT)
