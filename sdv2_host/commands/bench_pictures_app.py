"""The part of `sdv2-host bench` that looks at pictures: how good, how steady, for how long."""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdv2_host.commands.options import (
    ClipFolder,
    Device,
    Engine,
    JsonFile,
    JudgeDevice,
    ModelsDir,
    NoiseHold,
    NoiseMax,
    NoiseMin,
    RaftFile,
    Seed,
    SizeText,
    Steps,
    Threads,
    Vae,
)

if TYPE_CHECKING:
    from sdv2_host.bench.paper_score import Judges

bench_pictures_app = typer.Typer()


@bench_pictures_app.command("quality")
def bench_quality(
    ctx: typer.Context,
    steps: Steps = None,
    noise_s_min: NoiseMin = None,
    noise_s_max: NoiseMax = None,
    noise_hold: NoiseHold = None,
    seed: Seed = None,
    threads: Threads = None,
    clips: Annotated[int, typer.Option(help="Held-out clips per style.")] = 2,
    ablation_clips: Annotated[int, typer.Option(help="Held-out clips of the ablation.")] = 20,
    part: Annotated[str, typer.Option(help="all, styles, ablation, change or trace.")] = "all",
    clip: ClipFolder = None,
    raft: RaftFile = None,
    device: JudgeDevice = "auto",
    json_file: JsonFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures and charts.")] = None,
) -> None:
    """Style recognition, warp error, PSNR, flicker; the ablation of sinks and motion-aware noise
    with confidence intervals; how soon a new prompt is there; a trace of motion and noise. On
    held-out clips. Minutes.

    With --clip and --raft the paper's own metrics of the styles beside them.

    Examples:

      sdv2-host bench quality --json quality.json --out d

      sdv2-host bench quality --part ablation --ablation-clips 40

      sdv2-host bench quality --part ablation --noise-s-min 0.8 --noise-s-max 0.9

      sdv2-host bench quality --part styles --clip clip-vit-base-patch32 --raft raft_large.pth
    """
    from sdv2_host.bench.ablation import AblationPlan
    from sdv2_host.bench.quality import PARTS, QualityPlan
    from sdv2_host.commands.bench import bench_quality as measure
    from sdv2_host.commands.settings import check_choice, check_range, make_config, make_params

    check_range("--clips", clips, 1, 1000)
    check_range("--ablation-clips", ablation_clips, 2, 1000)
    check_choice("--part", part, ("all", *PARTS))
    plan = QualityPlan(
        judges=_judges(clip, raft, device),
        clips=clips,
        params=make_params(ctx.params),
        ablation=AblationPlan(clips=ablation_clips),
        parts=PARTS if part == "all" else (part,),
    )
    measure(plan, make_config(ctx.params).threads, json_file, out)


@bench_pictures_app.command("video")
def bench_video(
    source: Annotated[Path, typer.Argument(help="The video.")],
    styled: Annotated[Path, typer.Argument(help="The same, styled, frame by frame.")],
    prompt: Annotated[str, typer.Option(help="What was asked for, for CLIP.")] = "",
    clip: ClipFolder = None,
    raft: RaftFile = None,
    device: JudgeDevice = "auto",
    frames: Annotated[int | None, typer.Option(help="Only so many, from the beginning.")] = None,
    json_file: JsonFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder for video.png and video.json.")] = None,
) -> None:
    """Your own footage and its styled copy: flicker and drift; with --clip and --raft the paper's
    CLIP score and warp error.

    Examples:

      sdv2-host bench video clip.mp4 styled.mp4

      sdv2-host bench video clip.mp4 styled.mp4 --prompt "neon city" --raft raft_large.pth --out d
    """
    from sdv2_host.bench.video import VideoPair
    from sdv2_host.commands.bench import bench_video as measure
    from sdv2_host.commands.settings import check_range

    if frames is not None:
        check_range("--frames", frames, 1, 10_000_000)
    pair = VideoPair(source, styled, prompt, frames)
    measure(pair, _judges(clip, raft, device), json_file, out)


def _judges(clip: Path | None, raft: Path | None, device: str) -> Judges:
    """The networks whose weights are named; without any, transformers is not even imported."""
    from sdv2_host.bench.paper_score import Judges

    if clip is None and raft is None:
        return Judges()
    from sdv2_host.commands.judges import load_judges

    return load_judges(clip, raft, device)


@bench_pictures_app.command("precision")
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
    """What bfloat16 costs in each stage, and --linears fp8: decoded frames against float32.

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


@bench_pictures_app.command("looks")
def bench_looks(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of presets; without it those that come with sdv2-host."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The picture to write, one file: .jpg, .jpeg or .png.")
    ] = Path("looks.jpg"),
    size: SizeText = None,
) -> None:
    """Look at presets: every one of the embedded model on one sheet.

    Examples:

      sdv2-host bench looks

      sdv2-host bench looks my-presets --out looks.png
    """
    from sdv2_host.bench.looks import looks_sheet
    from sdv2_host.commands.narrator import Narrator
    from sdv2_host.config_checks import parse_size
    from sdv2_host.host.folders import shipped

    narrator = Narrator()
    presets = folder or shipped("presets")
    names = looks_sheet(presets, out, parse_size(size or "256x256"), narrator.progress)
    narrator.say(f"wrote {out}: {len(names)} presets")


@bench_pictures_app.command("hour")
def bench_hour(
    ctx: typer.Context,
    minutes: Annotated[int, typer.Option(help="Of stream, each of 451 chunks.")] = 60,
    chunks: Annotated[
        int, typer.Option(help="Of the show, with RoPE resets and without, if more than that.")
    ] = 100_000,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Of the picture, multiples of 16 px.")
    ] = "64x64",
    steps: Steps = None,
    seed: Seed = None,
    from_folder: Annotated[
        Path | None, typer.Option("--from", help="Judge the traces there; stream nothing.")
    ] = None,
    json_file: JsonFile = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for pictures, traces and hour.json.")
    ] = None,
) -> None:
    """Does the picture drift in an hour, does memory grow, how soon is a new look there, and does
    the picture step where RoPE positions are reset, in 100,000 chunks? Takes some 100 minutes on
    two cores.

    Examples:

      sdv2-host bench hour --out d

      sdv2-host bench hour --minutes 15 --chunks 0
    """
    from sdv2_host.bench.hour import FEWEST_MINUTES, HourPlan
    from sdv2_host.commands.bench import bench_hour as measure
    from sdv2_host.commands.settings import check_range, make_config, make_params

    check_range("--minutes", minutes, FEWEST_MINUTES, 6000)
    check_range("--chunks", chunks, 0, 10_000_000)
    plan = HourPlan(minutes, chunks, make_config({"size": size}).size, make_params(ctx.params))
    measure(plan, from_folder, json_file, out)
