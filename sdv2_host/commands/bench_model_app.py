"""The command line of `sdv2-host bench model`."""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdv2_host.commands.options import (
    Attention,
    Compile,
    Device,
    Dtype,
    Graphs,
    JsonFile,
    Linears,
    Overlap,
    Threads,
)

bench_model_app = typer.Typer()


def _list(help_text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        metavar="LIST", help=help_text, show_default=False
    )
    return option


@bench_model_app.command("model")
def bench_model(
    engine: Annotated[
        str | None,
        _list("Of tiny, wan-1.3b, wan-14b. Default: on a GPU both Wan models, else tiny."),
    ] = None,
    size: Annotated[
        str | None,
        _list("WxH each. Default 512x512,832x480; of the embedded model 256x256."),
    ] = None,
    steps: Annotated[str | None, _list("Of 1 to 4. Default 1,2,4.")] = None,
    vae: Annotated[
        str | None, _list("Of wan, hybrid, taehv, for the Wan models. Default: all three.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    graphs: Graphs = None,
    attention: Attention = None,
    compile: Compile = None,
    linears: Linears = None,
    overlap: Overlap = None,
    threads: Threads = None,
    seconds: Annotated[float, typer.Option(help="Of each cell's run at full speed.")] = 3.0,
    chunks: Annotated[
        int | None,
        typer.Option(help="Of that run, in place of seconds: 10000 show that memory stays."),
    ] = None,
    input_fps: Annotated[
        float, typer.Option(help="Of the frames whose latency is measured.")
    ] = 30.0,
    against: Annotated[
        str | None,
        _list("Of streamdiffusionv2, diffusers: set beside each cell, pictures and speed."),
    ] = None,
    json_file: JsonFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder for model.png and model.json.")] = None,
) -> None:
    """How fast each model is here, in each setup: frames a second, time to the first picture,
    latency, time and share of the roofline of each stage, what the host adds, memory. Weights are
    random, which take as long as trained ones: nothing has to be installed.

    Examples:

      sdv2-host bench model --out d

      sdv2-host bench model --engine wan-1.3b --size 512x512 --steps 2 --vae wan,taehv --out d

      sdv2-host bench model --engine wan-1.3b --size 512x512 --steps 2 --vae wan --against
      streamdiffusionv2

      sdv2-host bench model --engine tiny --steps 2 --chunks 10000 --json long.json
    """
    from sdv2_host.bench.model_cell import RunLength
    from sdv2_host.commands.bench_model import Asked
    from sdv2_host.commands.bench_model import bench_model as measure
    from sdv2_host.commands.settings import check_range, make_config

    check_range("--seconds", seconds, 0.1, 3600)
    check_range("--input-fps", input_fps, 1, 1000)
    if chunks is not None:
        check_range("--chunks", chunks, 3, 10_000_000)
    settings = {
        "graphs": graphs,
        "attention": attention,
        "compile": compile,
        "linears": linears,
        "overlap": overlap,
    }
    asked = Asked(engine, size, steps, vae, device, dtype, settings, against)
    num_threads = make_config({"threads": threads}).threads
    measure(asked, RunLength(seconds, chunks, input_fps), num_threads, json_file, out)
