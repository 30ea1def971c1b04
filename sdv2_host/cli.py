"""The command `sdv2-host`: reads the command line, calls `commands/`, and turns errors into lines.

Commands import what they need when they are called, so that `--help` is there at once: this is the
one place of lazy imports in the project.
"""
# ruff: noqa: PLC0415, PLR0913, PLR0917  (lazy imports, see above; an option is an argument)

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from sdv2_host.commands.models_app import models_app
from sdv2_host.config import ENGINES, Config
from sdv2_host.errors import ConfigError, HostError
from sdv2_host.params import PARAMS

app = typer.Typer(
    name="sdv2-host",
    help="Live AI video as an instrument: restyles live video by prompt.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench_app = typer.Typer(help="Measure this computer and this build.")
app.add_typer(bench_app, name="bench")
app.add_typer(models_app, name="models")


def _param_help(name: str) -> str:
    spec = PARAMS[name]
    default = f"{spec.default!r}" if spec.kind is str else f"{spec.default}"
    allowed = "" if spec.kind is str else f" {spec.allowed},"
    return f"{spec.help}{allowed} default {default}."


def _config_help(name: str) -> str:
    field = Config.model_fields[name]
    return f"{field.description} Default {field.default}."


Prompt = Annotated[str | None, typer.Option(help=_param_help("prompt"), show_default=False)]
Steps = Annotated[int | None, typer.Option(help=_param_help("steps"), show_default=False)]
NoiseMin = Annotated[
    float | None, typer.Option("--noise-s-min", help=_param_help("noise_s_min"), show_default=False)
]
NoiseMax = Annotated[
    float | None, typer.Option("--noise-s-max", help=_param_help("noise_s_max"), show_default=False)
]
Seed = Annotated[int | None, typer.Option(help=_param_help("seed"), show_default=False)]
Lora = Annotated[
    str | None, typer.Option(metavar="NAMES", help=_param_help("lora"), show_default=False)
]
LoraStrength = Annotated[
    float | None,
    typer.Option("--lora-strength", help=_param_help("lora_strength"), show_default=False),
]
Style = Annotated[
    str | None, typer.Option(help="A named style in place of a prompt; see: sdv2-host styles.")
]
Name = Annotated[str | None, typer.Option(help=_config_help("name"), show_default=False)]
Engine = Annotated[
    str | None,
    typer.Option(help=f"{', '.join(ENGINES)}. " + _config_help("engine"), show_default=False),
]
SizeText = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH",
        help="Size the engine works at, multiples of 16 px. Default 256x256, Wan engines 512x512.",
        show_default=False,
    ),
]
Threads = Annotated[int | None, typer.Option(help=_config_help("threads"), show_default=False)]
OscPort = Annotated[int | None, typer.Option(help=_config_help("osc_port"), show_default=False)]
OscHost = Annotated[str | None, typer.Option(help=_config_help("osc_host"), show_default=False)]
OutputFps = Annotated[
    float | None, typer.Option(help=_config_help("output_fps"), show_default=False)
]


def _wan_option(name: str) -> typer.models.OptionInfo:
    """A start-up setting that only the Wan engines look at."""
    option: typer.models.OptionInfo = typer.Option(
        help=_config_help(name), show_default=False, rich_help_panel="Wan engines"
    )
    return option


Device = Annotated[str | None, _wan_option("device")]
Dtype = Annotated[str | None, _wan_option("dtype")]
Vae = Annotated[str | None, _wan_option("vae")]
Mode = Annotated[str | None, _wan_option("mode")]
Layout = Annotated[str | None, _wan_option("layout")]
MaxSteps = Annotated[int | None, _wan_option("max_steps")]
TextDevice = Annotated[str | None, _wan_option("text_device")]
TextIdle = Annotated[float | None, _wan_option("text_idle_s")]
ModelsDir = Annotated[str | None, _wan_option("models_dir")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")]

OUT = Path("sdv2-demo")


@app.command()
def run(
    ctx: typer.Context,
    name: Name = None,
    engine: Engine = None,
    size: SizeText = None,
    threads: Threads = None,
    osc_host: OscHost = None,
    osc_port: OscPort = None,
    output_fps: OutputFps = None,
    prompt: Prompt = None,
    style: Style = None,
    steps: Steps = None,
    noise_s_min: NoiseMin = None,
    noise_s_max: NoiseMax = None,
    seed: Seed = None,
    lora: Lora = None,
    lora_strength: LoraStrength = None,
    device: Device = None,
    dtype: Dtype = None,
    vae: Vae = None,
    mode: Mode = None,
    layout: Layout = None,
    max_steps: MaxSteps = None,
    text_device: TextDevice = None,
    text_idle_s: TextIdle = None,
    models_dir: ModelsDir = None,
) -> int:
    """Run the daemon: styles what a plug-in writes into ring NAME-in, shows it on ring NAME-out.

    Examples:

      sdv2-host run

      sdv2-host run --name stage1 --size 384x256 --style neon --osc-port 9401
    """
    from sdv2_host.commands.run import run as run_daemon
    from sdv2_host.commands.settings import make_config, make_params

    return asyncio.run(run_daemon(make_config(ctx.params), make_params(ctx.params)))


@app.command()
def demo(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Option("--input", metavar="FILE|test|camera", help="Where pictures come from.")
    ] = "test",
    camera: Annotated[int, typer.Option(help="Number of the camera, from 0.")] = 0,
    prompt: Prompt = None,
    style: Style = None,
    steps: Steps = None,
    noise_s_min: NoiseMin = None,
    noise_s_max: NoiseMax = None,
    seed: Seed = None,
    lora: Lora = None,
    lora_strength: LoraStrength = None,
    size: SizeText = None,
    engine: Engine = None,
    threads: Threads = None,
    name: Name = None,
    port: Annotated[int, typer.Option(help="TCP port of the page, 0 = any free one.")] = 9400,
    osc_port: OscPort = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    headless: Annotated[bool, typer.Option(help="Record instead of showing a page.")] = False,
    frames: Annotated[int, typer.Option(help="Headless: number of frames to record.")] = 240,
    out: Annotated[Path, typer.Option(help="Headless: folder for out.mp4 and sheet.png.")] = OUT,
    json_file: JsonFile = None,
    device: Device = None,
    dtype: Dtype = None,
    vae: Vae = None,
    mode: Mode = None,
    layout: Layout = None,
    max_steps: MaxSteps = None,
    text_device: TextDevice = None,
    text_idle_s: TextIdle = None,
    models_dir: ModelsDir = None,
) -> int:
    """Show it: a source, the daemon, and a page with input beside output.

    Examples:

      sdv2-host demo

      sdv2-host demo --input holiday.mp4 --style comic

      sdv2-host demo --input camera --prompt "neon lights at night"

      sdv2-host demo --headless --frames 240 --input holiday.mp4 --out d --json r.json
    """
    from sdv2_host.commands.demo import HeadlessDemo, LiveDemo, source_args
    from sdv2_host.commands.demo import demo as run_demo
    from sdv2_host.commands.settings import check_range, make_config, make_params

    config, wanted = make_config(ctx.params), make_params(ctx.params)
    check_range("--frames", frames, 1, 1_000_000)
    check_range("--port", port, 0, 65535)
    shown = HeadlessDemo(frames, out, json_file) if headless else LiveDemo(port, browser)
    return asyncio.run(run_demo(config, wanted, source_args(source, camera, config), shown))


@app.command()
def render(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="IN", help="A video that FFmpeg can read.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The MP4 to write.")],
    prompt: Prompt = None,
    style: Style = None,
    steps: Steps = None,
    noise_s_min: NoiseMin = None,
    noise_s_max: NoiseMax = None,
    seed: Seed = None,
    lora: Lora = None,
    lora_strength: LoraStrength = None,
    size: SizeText = None,
    engine: Engine = None,
    threads: Threads = None,
    device: Device = None,
    dtype: Dtype = None,
    vae: Vae = None,
    mode: Mode = None,
    layout: Layout = None,
    max_steps: MaxSteps = None,
    text_device: TextDevice = None,
    text_idle_s: TextIdle = None,
    models_dir: ModelsDir = None,
) -> None:
    """Restyle a file: every frame, same pipeline, the same bytes for the same settings.

    Examples:

      sdv2-host render in.mp4 out.mp4 --prompt "watercolor painting"

      sdv2-host render in.mp4 out.mp4 --style gold --steps 4 --seed 7 --size 384x256
    """
    from sdv2_host.commands.render import render as render_file
    from sdv2_host.commands.settings import make_config, make_params

    count = render_file(source, target, make_config(ctx.params), make_params(ctx.params))
    print(f"wrote {target}, {count} frames")


@app.command()
def params(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the live parameters: OSC address, type, default, range."""
    from sdv2_host.commands.tables import show_params

    show_params(json)


@app.command()
def styles(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the named styles of the embedded model and a prompt for each."""
    from sdv2_host.commands.tables import show_styles

    show_styles(json)


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
    json_file: JsonFile = None,
    out: Annotated[Path | None, typer.Option(help="Folder for quality.png.")] = None,
) -> None:
    """Style recognition, warp error, PSNR and the ablation table, on held-out clips. Minutes.

    Example: sdv2-host bench quality --json quality.json --out d
    """
    from sdv2_host.commands.bench import bench_quality as measure
    from sdv2_host.commands.settings import check_range, make_config, make_params

    check_range("--clips", clips, 1, 1000)
    config = make_config(ctx.params)
    measure(config, make_params(ctx.params), clips, json_file, out)


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


def _terminate(number: int, frame: FrameType | None) -> None:
    """For commands without a loop: unwinds, so that unfinished files are removed."""
    raise SystemExit(128 + number)


def _usage_line(error: typer.TyperException) -> str:
    """What was wrong with the command line, in one line."""
    return " ".join(error.format_message().split()) + " (see --help)"


def main() -> int:
    """Runs the command line; the exit code. Errors of the user are one line on stderr."""
    argv = sys.argv[1:]
    signal.signal(signal.SIGTERM, _terminate)
    logging.basicConfig(
        level=os.environ.get("SDV2_LOG", "WARNING").upper(), format="sdv2-host: %(message)s"
    )
    try:
        code = app(argv or ["--help"], prog_name="sdv2-host", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except HostError as error:
        print(f"sdv2-host: {error}", file=sys.stderr)
        return error.exit_code
    except typer.TyperException as error:
        print(f"sdv2-host: {_usage_line(error)}", file=sys.stderr)
        return ConfigError.exit_code
