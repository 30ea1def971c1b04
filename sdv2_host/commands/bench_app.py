"""The command line of `sdv2-host bench`. Commands import what they need when they are called."""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdv2_host.commands.options import (
    Device,
    Engine,
    JsonFile,
    ModelsDir,
    NoiseMax,
    NoiseMin,
    Seed,
    SizeText,
    Steps,
    Threads,
    Vae,
)

bench_app = typer.Typer(help="Measure this computer and this build.")


@bench_app.command("ring")
def bench_ring(json_file: JsonFile = None) -> None:
    """Frame rings: cost of write and read beside memcpy, two readers, torn frames. About 15 s.

    Example: sdv2-host bench ring --json ring.json
    """
    from sdv2_host.commands.bench import bench_ring as measure

    measure(json_file)


@bench_app.command("pipeline")
def bench_pipeline(
    ctx: typer.Context,
    size: SizeText = None,
    steps: Steps = None,
    threads: Threads = None,
    seconds: Annotated[int, typer.Option(help="Length of each of the two phases.")] = 10,
    json_file: JsonFile = None,
) -> None:
    """The tiny engine's speed, time per stage, and overhead over the bare models.

    Example: sdv2-host bench pipeline --steps 2 --json pipeline.json
    """
    from sdv2_host.commands.bench import bench_pipeline as measure
    from sdv2_host.commands.settings import check_range, make_config, make_params

    check_range("--seconds", seconds, 1, 3600)
    measure(make_config(ctx.params), make_params(ctx.params), seconds, json_file)


@bench_app.command("quality")
def bench_quality(
    ctx: typer.Context,
    steps: Steps = None,
    noise_s_min: NoiseMin = None,
    noise_s_max: NoiseMax = None,
    seed: Seed = None,
    threads: Threads = None,
    clips: Annotated[int, typer.Option(help="Held-out clips per style.")] = 2,
    ablation_clips: Annotated[int, typer.Option(help="Held-out clips of the ablation.")] = 20,
    part: Annotated[str, typer.Option(help="all, styles, ablation or trace.")] = "all",
    json_file: JsonFile = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for quality.png, ablation.png, motion.png.")
    ] = None,
) -> None:
    """Style recognition, warp error, PSNR; the ablation of sinks and motion-aware noise with
    confidence intervals; a trace of motion and noise. On held-out clips. Minutes.

    Examples:

      sdv2-host bench quality --json quality.json --out d

      sdv2-host bench quality --part ablation --ablation-clips 40
    """
    from sdv2_host.bench.ablation import AblationPlan
    from sdv2_host.bench.quality import PARTS, QualityPlan
    from sdv2_host.commands.bench import bench_quality as measure
    from sdv2_host.commands.settings import check_choice, check_range, make_config, make_params

    check_range("--clips", clips, 1, 1000)
    check_range("--ablation-clips", ablation_clips, 2, 1000)
    check_choice("--part", part, ("all", *PARTS))
    plan = QualityPlan(
        clips=clips,
        params=make_params(ctx.params),
        ablation=AblationPlan(clips=ablation_clips),
        parts=PARTS if part == "all" else (part,),
    )
    measure(plan, make_config(ctx.params).threads, json_file, out)


@bench_app.command("precision")
def bench_precision(
    ctx: typer.Context,
    engine: Engine = None,
    size: SizeText = None,
    steps: Steps = None,
    frames: Annotated[int, typer.Option(help="Length of the clip, 1 + 4k.")] = 17,
    weights: Annotated[str, typer.Option(help="installed or random (Wan engines).")] = "installed",
    device: Device = None,
    vae: Vae = None,
    threads: Threads = None,
    models_dir: ModelsDir = None,
    json_file: JsonFile = None,
) -> None:
    """What bfloat16 costs in each stage: decoded frames against float32.

    Examples:

      sdv2-host bench precision

      sdv2-host bench precision --engine wan-1.3b --size 256x256 --frames 9
    """
    from sdv2_host.commands.bench import bench_precision as measure
    from sdv2_host.commands.settings import check_choice, check_range, make_config, make_params

    check_range("--frames", frames, 5, 1001)
    check_choice("--weights", weights, ("installed", "random"))
    whole = 1 + (frames - 1) // 4 * 4
    measure(make_config(ctx.params), make_params(ctx.params), whole, weights, json_file)


@bench_app.command("looks")
def bench_looks(
    folder: Annotated[Path, typer.Argument(help="Folder of presets.")] = Path("presets"),
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("looks.jpg"),
    size: SizeText = None,
) -> None:
    """Look at presets: every one of the embedded model on one sheet.

    Example: sdv2-host bench looks presets --out looks.jpg
    """
    from sdv2_host.bench.looks import looks_sheet
    from sdv2_host.commands.narrator import Narrator
    from sdv2_host.config import parse_size

    narrator = Narrator()
    names = looks_sheet(folder, out, parse_size(size or "256x256"), narrator.progress)
    narrator.say(f"wrote {out}: {len(names)} presets")


@bench_app.command("control")
def bench_control(
    engine: Engine = None,
    size: SizeText = None,
    seconds: Annotated[float, typer.Option(help="Of each turn.")] = 5.0,
    rounds: Annotated[int, typer.Option(help="Turns of calm and storm.")] = 3,
    rate: Annotated[float, typer.Option(help="Messages a second, of each of two senders.")] = 1000,
    json_file: JsonFile = None,
) -> None:
    """Control: 1 kHz of OSC from two senders while pictures are made. About 70 s.

    Example: sdv2-host bench control --json control.json
    """
    from sdv2_host.commands.bench import bench_control as measure
    from sdv2_host.commands.settings import make_config

    config = make_config({"engine": engine, "size": size})
    measure(config, seconds, rounds, rate, json_file)


@bench_app.command("swap")
def bench_swap(
    engine: Engine = None,
    size: SizeText = None,
    to: Annotated[str, typer.Option(help="The other size.")] = "192x192",
    fps: Annotated[float, typer.Option(help="Of the source.")] = 15.0,
    fade: Annotated[float, typer.Option(help="Seconds of the cross-fade.")] = 0.5,
    json_file: JsonFile = None,
) -> None:
    """Live changes: a running host goes to another size and back, beside and by replacement.

    Example: sdv2-host bench swap --size 256x256 --to 192x192 --fps 12
    """
    from sdv2_host.bench.swap import SwapPlan
    from sdv2_host.commands.bench import bench_swap as measure
    from sdv2_host.commands.settings import make_config
    from sdv2_host.config import parse_size

    config = make_config({"engine": engine, "size": size})
    measure(SwapPlan(config.engine, config.size, parse_size(to), fps, fade), json_file)


@bench_app.command("slo")
def bench_slo(
    seconds: Annotated[
        int | None,
        typer.Option(help="Simulated, of each load: 20, or 120 with --mode vae and size."),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="What may change: off, chunks, steps, vae or size.")
    ] = "chunks",
    json_file: JsonFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder for slo.png and slo.json.")] = None,
) -> None:
    """Scheduling: models of GPUs under spikes, stalls and heat, beside an oracle. Minutes.

    Examples:

      sdv2-host bench slo --out d

      sdv2-host bench slo --mode size --out d
    """
    from typing import cast, get_args

    from sdv2_host.bench.slo import seconds_of
    from sdv2_host.commands.bench import bench_slo as measure
    from sdv2_host.commands.settings import check_choice, check_range
    from sdv2_host.params import SloMode

    check_choice("--mode", mode, get_args(SloMode))
    allowed = cast(SloMode, mode)
    length_s = seconds_of(allowed) if seconds is None else seconds
    check_range("--seconds", length_s, 4, 600)
    measure(length_s, allowed, json_file, out)
