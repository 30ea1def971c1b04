"""Options that several commands share, each with the help and range of its one definition."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sdv2_host.config import ENGINES, Config
from sdv2_host.param_table import PARAMS


def _param_help(name: str) -> str:
    spec = PARAMS[name]
    if spec.kind is str:
        return f"{spec.help} Default {_shown(spec.default)}."
    others: dict[float, list[str]] = {}
    for engine, defaults in ENGINES.items():
        value = defaults.params.get(name, spec.default)
        if value != spec.default:
            others.setdefault(float(value), []).append(engine)
    for_others = "".join(
        f", {value:g} for {' and '.join(names)}" for value, names in others.items()
    )
    return f"{spec.help} {spec.allowed}, default {spec.default}{for_others}."


def _shown(default: object) -> str:
    return repr(default) if default != "" else "none"


def _config_help(name: str) -> str:
    field = Config.model_fields[name]
    if field.default == "":
        return str(field.description)
    return f"{field.description} Default {field.default}."


Prompt = Annotated[str | None, typer.Option(help=_param_help("prompt"), show_default=False)]
Steps = Annotated[int | None, typer.Option(help=_param_help("steps"), show_default=False)]
NoiseMin = Annotated[
    float | None, typer.Option("--noise-s-min", help=_param_help("noise_s_min"), show_default=False)
]
NoiseMax = Annotated[
    float | None, typer.Option("--noise-s-max", help=_param_help("noise_s_max"), show_default=False)
]
NoiseHold = Annotated[
    float | None, typer.Option("--noise-hold", help=_param_help("noise_hold"), show_default=False)
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
        help="Size the engine works at, multiples of 16 px. Default 256x256, Wan engines 512x512, "
        "passthrough the size of the input.",
        show_default=False,
    ),
]
Threads = Annotated[int | None, typer.Option(help=_config_help("threads"), show_default=False)]
Compile = Annotated[str | None, typer.Option(help=_config_help("compile"), show_default=False)]
Port = Annotated[int | None, typer.Option(help=_config_help("port"), show_default=False)]
Listen = Annotated[str | None, typer.Option(help=_config_help("listen"), show_default=False)]
Resume = Annotated[str | None, typer.Option(help=_config_help("resume"), show_default=False)]
DataDir = Annotated[str | None, typer.Option(help=_config_help("data_dir"), show_default=False)]
RecordingsDir = Annotated[
    str | None, typer.Option(help=_config_help("recordings_dir"), show_default=False)
]
OscFrom = Annotated[str | None, typer.Option(help=_config_help("osc_from"), show_default=False)]
OscTo = Annotated[str | None, typer.Option(help=_config_help("osc_to"), show_default=False)]
OutputFps = Annotated[
    float | None, typer.Option(help=_config_help("output_fps"), show_default=False)
]
FileRings = Annotated[
    bool | None,
    typer.Option("--file-rings", help=_config_help("file_rings"), show_default=False),
]


def _obs_option(name: str, *names: str) -> typer.models.OptionInfo:
    """A way to OBS and to programs that take a camera."""
    option: typer.models.OptionInfo = typer.Option(
        *names, help=_config_help(name), show_default=False, rich_help_panel="OBS and cameras"
    )
    return option


VirtualCamera = Annotated[bool | None, _obs_option("virtual_camera", "--virtual-camera")]
CameraDevice = Annotated[str | None, _obs_option("camera_device")]
CameraFps = Annotated[float | None, _obs_option("camera_fps")]
ObsPort = Annotated[int | None, _obs_option("obs_port")]
ObsFollow = Annotated[bool | None, _obs_option("obs_follow", "--obs")]
ObsAddress = Annotated[str | None, _obs_option("obs_address")]
ObsPasswordFile = Annotated[str | None, _obs_option("obs_password_file")]
TouchShm = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=_config_help("touch_shm"), show_default=False),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file with any of these settings and what OBS' scenes trigger; without it "
        "config.toml in your config folder, or in --data-dir, where there is one.",
        show_default=False,
    ),
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
Graphs = Annotated[str | None, _wan_option("graphs")]
Attention = Annotated[str | None, _wan_option("attention")]
Linears = Annotated[str | None, _wan_option("linears")]
Overlap = Annotated[str | None, typer.Option(help=_config_help("overlap"), show_default=False)]
MaxSteps = Annotated[int | None, _wan_option("max_steps")]
TextDevice = Annotated[str | None, _wan_option("text_device")]
TextIdle = Annotated[float | None, _wan_option("text_idle_s")]


def _ring_option(name: str, metavar: str | None = None) -> typer.models.OptionInfo:
    """A way to spread a stream over several devices."""
    option: typer.models.OptionInfo = typer.Option(
        help=_config_help(name),
        metavar=metavar,
        show_default=False,
        rich_help_panel="Several devices",
    )
    return option


Devices = Annotated[str | None, _ring_option("devices", "LIST")]
Route = Annotated[str | None, _ring_option("route")]
Transport = Annotated[str | None, _ring_option("transport")]
SpareWeights = Annotated[str | None, _ring_option("spare_weights")]
Lanes = Annotated[int | None, _ring_option("lanes")]
JoinListen = Annotated[str | None, _ring_option("join_listen", "HOST:PORT")]
JoinTokenFile = Annotated[str | None, _ring_option("join_token_file", "FILE")]
JoinCount = Annotated[int | None, _ring_option("join_count")]
JoinWait = Annotated[float | None, _ring_option("join_wait_s")]
ModelsDir = Annotated[str | None, typer.Option(help=_config_help("models_dir"), show_default=False)]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file.")]
ClipFolder = Annotated[
    Path | None,
    typer.Option(
        "--clip",
        metavar="FOLDER",
        help="A CLIP of your own, as openai/clip-vit-base-patch32 is published: config.json, "
        "preprocessor_config.json, tokenizer.json, weights. Nothing is downloaded.",
        show_default=False,
        rich_help_panel="The paper's metrics",
    ),
]
RaftFile = Annotated[
    Path | None,
    typer.Option(
        "--raft",
        metavar="FILE",
        help="RAFT-large as torchvision publishes it: raft_large_C_T_SKHT_V2-ff5fadd5.pth.",
        show_default=False,
        rich_help_panel="The paper's metrics",
    ),
]
JudgeDevice = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where CLIP and RAFT run: auto, cpu, mps, cuda or cuda:N.",
        rich_help_panel="The paper's metrics",
    ),
]

SHARED: dict[str, Any] = {
    "prompt": Prompt,
    "style": Style,
    "steps": Steps,
    "noise_s_min": NoiseMin,
    "noise_s_max": NoiseMax,
    "seed": Seed,
    "lora": Lora,
    "lora_strength": LoraStrength,
    "engine": Engine,
    "size": SizeText,
    "threads": Threads,
    "compile": Compile,
    "name": Name,
    "listen": Listen,
    "port": Port,
    "osc_from": OscFrom,
    "osc_to": OscTo,
    "output_fps": OutputFps,
    "resume": Resume,
    "data_dir": DataDir,
    "recordings_dir": RecordingsDir,
    "device": Device,
    "dtype": Dtype,
    "vae": Vae,
    "mode": Mode,
    "layout": Layout,
    "max_steps": MaxSteps,
    "graphs": Graphs,
    "attention": Attention,
    "linears": Linears,
    "overlap": Overlap,
    "text_device": TextDevice,
    "text_idle_s": TextIdle,
    "models_dir": ModelsDir,
    "devices": Devices,
    "route": Route,
    "transport": Transport,
    "lanes": Lanes,
    "join_listen": JoinListen,
    "join_token_file": JoinTokenFile,
    "join_count": JoinCount,
    "join_wait_s": JoinWait,
    "spare_weights": SpareWeights,
    "file_rings": FileRings,
    "virtual_camera": VirtualCamera,
    "camera_device": CameraDevice,
    "camera_fps": CameraFps,
    "touch_shm": TouchShm,
    "obs_port": ObsPort,
    "obs_follow": ObsFollow,
    "obs_address": ObsAddress,
    "obs_password_file": ObsPasswordFile,
    "config_file": ConfigFile,
}
"""The options that a command can have by `takes`."""
PICTURE = (
    *("prompt", "style", "steps", "noise_s_min", "noise_s_max"),
    *("seed", "lora", "lora_strength"),
)
"""What is painted."""
MODEL = (
    *("device", "dtype", "vae", "mode", "layout"),
    *("max_steps", "graphs", "attention", "linears", "overlap"),
)
"""How the engine computes."""
TEXT = ("text_device", "text_idle_s", "models_dir")
FOLDERS = ("data_dir", "recordings_dir")
SEVERAL_DEVICES = (
    *("devices", "route", "transport", "lanes", "spare_weights"),
    *("join_listen", "join_token_file", "join_count", "join_wait_s"),
)
OUTSIDE = (
    *("virtual_camera", "camera_device", "camera_fps", "touch_shm"),
    *("obs_port", "obs_follow", "obs_address", "obs_password_file"),
)
"""Cameras, TouchDesigner, OBS."""


def takes(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The command has these of `SHARED` behind its own options, and finds what they were given in
    `ctx.params`; None = not given."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True)
        kind = inspect.Parameter.KEYWORD_ONLY
        shared = [
            inspect.Parameter(name, kind, default=None, annotation=SHARED[name]) for name in names
        ]

        @functools.wraps(command)
        def with_shared(**given: Any) -> Any:
            return command(**{name: given[name] for name in own.parameters})

        signature = own.replace(parameters=[*own.parameters.values(), *shared])
        with_shared.__signature__ = signature  # type: ignore[attr-defined]
        return with_shared

    return add
