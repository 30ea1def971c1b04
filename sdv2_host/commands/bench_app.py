"""The command line of `sdv2-host bench`. Commands import what they need when they are called."""
# ruff: noqa: PLC0415  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdv2_host.commands.bench_fuzz_app import bench_fuzz_app
from sdv2_host.commands.bench_model_app import bench_model_app
from sdv2_host.commands.bench_multi_app import bench_multi_app
from sdv2_host.commands.bench_pictures_app import bench_pictures_app
from sdv2_host.commands.bench_soak_app import bench_soak_app
from sdv2_host.commands.options import (
    Compile,
    Engine,
    JsonFile,
    Overlap,
    SizeText,
    Steps,
    Threads,
)

bench_app = typer.Typer(help="Measure this computer and this build.")
bench_app.add_typer(bench_pictures_app)
bench_app.add_typer(bench_multi_app)
bench_app.add_typer(bench_model_app)
bench_app.add_typer(bench_soak_app)
bench_app.add_typer(bench_fuzz_app)


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
    compile: Compile = None,
    overlap: Overlap = None,
    seconds: Annotated[int, typer.Option(help="Length of each of the two phases.")] = 10,
    json_file: JsonFile = None,
) -> None:
    """The tiny engine's speed, time per stage, and overhead over the bare models.

    With compiled models also as written, in turn. With --overlap on also what it gives that stages
    of neighbouring chunks run at once.

    Examples:

      sdv2-host bench pipeline --steps 2 --json pipeline.json

      sdv2-host bench pipeline --compile on --overlap on
    """
    from sdv2_host.commands.bench import bench_pipeline as measure
    from sdv2_host.commands.settings import check_range, make_config, make_params

    check_range("--seconds", seconds, 1, 3600)
    measure(make_config(ctx.params), make_params(ctx.params), seconds, json_file)


@bench_app.command("cores")
def bench_cores(
    ctx: typer.Context,
    size: SizeText = None,
    steps: Steps = None,
    seconds: Annotated[int, typer.Option(help="Of each of 15 measurements.")] = 3,
    json_file: JsonFile = None,
) -> None:
    """The tiny engine on the CPU while another program takes a part of a core, or all of one.

    With all threads, with one, and as the host has it: as many as have a core to themselves. Close
    what else is at work. Takes about 70 s.

    Example: sdv2-host bench cores --json cores.json
    """
    from sdv2_host.cores import spin_briefly

    spin_briefly()  # before torch is there
    from sdv2_host.commands.bench import bench_cores as measure
    from sdv2_host.commands.settings import check_range, make_config, make_params

    check_range("--seconds", seconds, 1, 600)
    measure(make_config(ctx.params), make_params(ctx.params), seconds, json_file)


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
    from sdv2_host.commands.settings import check_range, make_config

    check_range("--seconds", seconds, 0.5, 3600)
    check_range("--rounds", rounds, 1, 1000)
    check_range("--rate", rate, 1, 100_000)
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
    from sdv2_host.commands.settings import check_range, make_config
    from sdv2_host.config_checks import parse_size
    from sdv2_host.errors import ConfigError

    check_range("--fps", fps, 1, 240)
    check_range("--fade", fade, 0, 10)
    config, other = make_config({"engine": engine, "size": size}), parse_size(to, "--to")
    if other == config.size:
        raise ConfigError(f"--to {other}: the size it begins with; choose another one")
    measure(SwapPlan(config.engine, config.size, other, fps, fade), json_file)


@bench_app.command("replay")
def bench_replay(
    minutes: Annotated[float, typer.Option(help="Length of the session.")] = 10.0,
    changes: Annotated[int, typer.Option(help="How often parameters change in it.")] = 200,
    size: SizeText = "64x64",
    fps: Annotated[float, typer.Option(help="Of the source.")] = 30.0,
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Chooses the changes.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Shows: one with everything changed at random is recorded and replayed. As fast as it goes.

    Example: sdv2-host bench replay --minutes 10 --changes 200
    """
    from sdv2_host.bench.replay import ReplayPlan
    from sdv2_host.commands.bench import bench_replay as measure
    from sdv2_host.commands.settings import check_range
    from sdv2_host.config_checks import parse_size

    check_range("--minutes", minutes, 0.01, 600)
    check_range("--changes", changes, 0, 100_000)
    check_range("--fps", fps, 1, 240)
    wanted = parse_size(size or "64x64")
    measure(ReplayPlan(minutes, changes, wanted, fps, seed, threads or 0), json_file)


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


@bench_app.command("two-hosts")
def bench_two_hosts(
    delay_ms: Annotated[float, typer.Option(help="From one machine to the other.")] = 10.0,
    stage_ms: Annotated[float, typer.Option(help="Of each device, for a chunk.")] = 20.0,
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 2,
    lanes: Annotated[
        list[int] | None,
        typer.Option(help="Calls on their way at once; again for more of them: 2, 4, 5, 6, 8."),
    ] = None,
    chunks: Annotated[int, typer.Option(help="Of each turn.")] = 80,
    turns: Annotated[int, typer.Option(help="Near and far, of each.")] = 3,
    cuts: Annotated[int, typer.Option(help="Of the cable, for ring and chain.")] = 3,
    json_file: JsonFile = None,
) -> None:
    """Two machines: what the way between them costs a stream, and a cable that is cut. Minutes.

    Real processes and connections in two network namespaces of this machine, over a cable that is
    a program; the model's blocks only take their time. Linux, as root.

    Example: sdv2-host bench two-hosts --delay-ms 10 --json two-hosts.json
    """
    from sdv2_host.bench.two_hosts import WayPlan
    from sdv2_host.commands.bench import bench_two_hosts as measure
    from sdv2_host.commands.settings import check_range

    check_range("--delay-ms", delay_ms, 0, 400)
    check_range("--stage-ms", stage_ms, 1, 1000)
    check_range("--steps", steps, 1, 4)
    check_range("--chunks", chunks, 20, 10_000)
    check_range("--turns", turns, 1, 100)
    check_range("--cuts", cuts, 0, 100)
    for count in lanes or ():
        check_range("--lanes", count, 1, 64)
    compared = tuple(lanes or (2, 4, 5, 6, 8))
    measure(WayPlan(delay_ms, stage_ms, steps, compared, chunks, turns, cuts), json_file)


@bench_app.command("faults")
def bench_faults(
    engine: Engine = None,
    size: SizeText = None,
    times: Annotated[int, typer.Option(help="Each fault, at random moments.")] = 20,
    only: Annotated[str, typer.Option(help="Faults with commas between, such as kill,nan.")] = "",
    output_fps: Annotated[
        float, typer.Option(help="Of the output's own clock; 0 = it follows the source.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    json_file: JsonFile = None,
    png: Annotated[Path | None, typer.Option(help="Picture of what the output did.")] = None,
) -> None:
    """Faults: everything that can go wrong does, under a running show, and how it recovers.

    A host, a source and a viewer of their own; nothing of other hosts is touched. Full disks and
    full shared memory are mounts of its own, which takes Linux and root. About 20 minutes.

    Examples:

      sdv2-host bench faults --size 64x64 --json faults.json --png faults.png

      sdv2-host bench faults --only kill,nan,source --times 3
    """
    from sdv2_host.bench.fault_kinds import CALLS
    from sdv2_host.bench.fault_stage import StagePlan
    from sdv2_host.bench.faults import FaultsPlan, chosen
    from sdv2_host.commands.bench import bench_faults as measure
    from sdv2_host.commands.settings import check_choice, check_range, make_config

    check_range("--times", times, 1, 10_000)
    check_range("--output-fps", output_fps, 0, 240)
    config = make_config({"engine": engine, "size": size or "64x64"})
    check_choice("--engine", config.engine, tuple(CALLS))
    stage = StagePlan(config.engine, config.size, output_fps=output_fps)
    measure(FaultsPlan(stage, chosen(only), times, seed), json_file, png)
