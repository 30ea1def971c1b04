"""The command line of `sdv2-host bench`. Commands import what they need when they are called."""
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


@bench_app.command("video")
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


@bench_app.command("multi")
def bench_multi(
    devices: Annotated[
        str, typer.Option(help="h100, h200, 4090 or 3090, also with counts: 4090,3090 or h100*4.")
    ] = "h100*4",
    model: Annotated[str, typer.Option(help="1.3b or 14b, at 512x512.")] = "1.3b",
    times: Annotated[
        Path | None, typer.Option(help="JSON with measured times instead of --devices.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 2,
    source_fps: Annotated[float, typer.Option(help="Of the source; 0 = always a frame.")] = 0.0,
    hop_ms: Annotated[float, typer.Option(help="From one device to the next.")] = 1.0,
    lanes: Annotated[int, typer.Option(help="Messages under way; 0 = one per device.")] = 0,
    jitter: Annotated[float, typer.Option(help="Of every time, relative.")] = 0.0,
    json_file: JsonFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder for multi.png and multi.json.")] = None,
) -> None:
    """What several graphics cards would reach together, simulated: ring and chain, who runs what,
    moving blocks when a card gets hot, and the paper's figures. Seconds; needs no card.

    Examples:

      sdv2-host bench multi --devices 4090,3090 --steps 2

      sdv2-host bench multi --times measured.json --hop-ms 10 --lanes 8
    """
    from sdv2_host.bench.multi_devices import MODELS, named_devices, read_times
    from sdv2_host.bench.multi_simulation import Traffic
    from sdv2_host.commands.bench import bench_multi as measure
    from sdv2_host.commands.settings import check_choice, check_range

    check_choice("--model", model, tuple(MODELS))
    check_range("--steps", steps, 1, 4)
    check_range("--source-fps", source_fps, 0, 240)
    check_range("--hop-ms", hop_ms, 0, 1000)
    check_range("--lanes", lanes, 0, 64)
    check_range("--jitter", jitter, 0, 1)
    known = named_devices(devices, model) if times is None else read_times(times)
    traffic = Traffic(source_fps=source_fps, hop_ms=hop_ms, lanes=lanes, jitter=jitter)
    measure(known, steps, traffic, json_file, out)


@bench_app.command("hour")
def bench_hour(
    ctx: typer.Context,
    minutes: Annotated[int, typer.Option(help="Of stream, each of 451 chunks.")] = 60,
    chunks: Annotated[
        int, typer.Option(help="Of the stream with RoPE resets, if more than the minutes have.")
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
    the picture step where RoPE positions are reset, in 100,000 chunks? Takes an hour or less.

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
