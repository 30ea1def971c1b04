"""Config: what needs a restart. One frozen value, made by the CLI, passed to every process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sdv2_host.types import Size

TOUCH_NAME = re.compile(r"[A-Za-z0-9_-]{0,27}")
"""With '-out' behind it 31 characters, which is what shared memory can be named everywhere."""

DEVICE_PATTERN = r"^(auto|cpu|mps|cuda(:\d{1,2})?)$"
LinearsName = Literal["plain", "fp8"]
EngineName = Literal["tiny", "wan-1.3b", "wan-14b", "passthrough"]


@dataclass(frozen=True, slots=True)
class EngineDefaults:
    """What a start without flags means for one engine."""

    size: Size
    max_steps: int
    params: dict[str, int | float]
    """Live parameters that differ from `Params()`."""


_WAN_NOISE = {"noise_s_min": 0.7, "noise_s_max": 0.8}  # streamv2v/inference.py: 0.8 - 0.1 motion
ENGINES: dict[str, EngineDefaults] = {
    "tiny": EngineDefaults(Size(256, 256), 4, {}),
    "wan-1.3b": EngineDefaults(Size(512, 512), 4, {**_WAN_NOISE, "steps": 2}),
    "wan-14b": EngineDefaults(Size(512, 512), 2, {**_WAN_NOISE, "steps": 1}),
    "passthrough": EngineDefaults(Size(256, 256), 4, {}),
}
"""In the order of help texts."""


class SceneRule(BaseModel):
    """What happens when OBS shows a scene: a preset, or a cue of the list in hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str | None = None
    fade: float | None = Field(None, ge=0, le=120)
    """Seconds that the preset takes; None = its own."""
    cue: str | None = None
    """Its number, or 'next'."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.preset is None) == (self.cue is None):
            raise ValueError("expected either a preset or a cue")
        if self.fade is not None and self.preset is None:
            raise ValueError("a cue brings its own fade")
        return self


class Config(BaseModel):
    """Start-up settings of one host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("sdv2", description="Name of this host; its rings are NAME-in and NAME-out.")
    engine: EngineName = Field("tiny", description="What makes the picture.")
    width: int = Field(256, description="Width the engine works at, px.")
    height: int = Field(256, description="Height the engine works at, px.")
    threads: int = Field(0, ge=0, description="CPU threads for the engine, 0 = one per free core.")
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Compiled code. Engine tiny, on the CPU: auto = what sdv2-host compile made, "
        "on = made at the start where there is none, which takes a minute or two and a C++ "
        "compiler. A Wan engine on an NVIDIA card compiles while it warms up. off = never.",
    )
    device: str = Field(
        "auto",
        pattern=DEVICE_PATTERN,
        description="Where a Wan engine runs: auto, cpu, mps, cuda or cuda:N.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="Number format of a Wan engine: auto = bfloat16 on a GPU, float32 on a CPU.",
    )
    vae: Literal["wan", "hybrid", "taehv"] = Field(
        "wan",
        description="Autoencoder of a Wan engine: wan = both ways (best), hybrid = Wan encodes and "
        "TAEHV decodes (the reference's fast one), taehv = both ways (fastest).",
    )
    mode: Literal["corrected", "reference"] = Field(
        "corrected",
        description="Cache rules of a Wan engine: reference = number for number what "
        "StreamDiffusionV2 does, its faults included.",
    )
    layout: Literal["serial", "batch"] = Field(
        "serial",
        description="Denoising steps: serial = lowest latency, batch = highest throughput. Of "
        "lock-step frames, and where slo_mode is off, always; else what to begin with.",
    )
    max_steps: int = Field(
        0,
        ge=0,
        le=4,
        description="Most denoising steps that may be asked for live; each keeps a cache of its "
        "own. 0 = 4, and 2 for wan-14b.",
    )
    graphs: Literal["auto", "off"] = Field(
        "auto",
        description="auto = on an NVIDIA card the models' work is recorded while the engine warms "
        "up and played again for each chunk, which spares the processor; off = launched anew.",
    )
    attention: Literal["auto", "flash", "cudnn", "efficient", "math", "flash-attn"] = Field(
        "auto",
        description="What computes a Wan engine's attention: auto = on an NVIDIA card the one "
        "measured fastest at the start, else torch's own choice; flash, cudnn, efficient and math "
        "are torch's, flash-attn is the package of that name, installed by hand.",
    )
    linears: LinearsName = Field(
        "plain",
        description="Number format of a Wan engine's large products: plain = that of dtype, fp8 = "
        "8 bits, on NVIDIA cards of 2022 and later (RTX 40, L40, H100): less memory, and a picture "
        "that differs a little (sdv2-host bench precision); one device only.",
    )
    overlap: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Encode a chunk while the one before it is denoised or decoded: more pictures, "
        "each later where the source is faster than the engine. auto = on an NVIDIA card always; "
        "on a CPU, whose threads the stages then share, if it makes less than 30 pictures per "
        "second and the warm-up finds that it pays.",
    )
    devices: str = Field(
        "",
        description="Spread one stream over these devices of this machine, such as cuda:0,cuda:1; "
        "without it one device, that of --device.",
    )
    route: Literal["auto", "ring", "chain"] = Field(
        "auto",
        description="Over several devices: chain = each step on its own devices, lowest latency; "
        "ring = every device its part of all steps, least memory; auto = what fits and is faster.",
    )
    transport: Literal["auto", "gloo", "nccl"] = Field(
        "auto",
        description="How devices hand on what they work at: gloo = by host memory, with any "
        "devices; nccl = from GPU to GPU, Linux and NVIDIA only, never tried yet; auto = gloo.",
    )
    lanes: int = Field(
        0,
        ge=0,
        le=64,
        description="Calls on their way at once over several devices, 0 = as many as devices. "
        "More hide a slow network and add latency.",
    )
    join_listen: str = Field(
        "",
        description="HOST:PORT of this machine where devices of others may join the stream, with "
        "sdv2-host agent; without it none may.",
    )
    join_token_file: str = Field(
        "", description="File with the token, of 16 characters at least, that agents must know."
    )
    join_count: int = Field(
        0,
        ge=0,
        le=63,
        description="Devices of other machines that the start waits for; more may join later.",
    )
    join_wait_s: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="Seconds that the start waits for them, then it begins without.",
    )
    spare_weights: Literal["file", "memory"] = Field(
        "file",
        description="Over several devices, where each keeps the blocks that others run, for when "
        "blocks move or a device fails: file = read anew then, memory = a copy of all blocks in "
        "this machine's memory per GPU (2.6 GiB of wan-1.3b, 26 GiB of wan-14b), there at once. "
        "A CPU reads the file.",
    )
    text_device: str = Field(
        "cpu",
        pattern=DEVICE_PATTERN,
        description="Where a Wan engine's text encoder runs, in its own process.",
    )
    text_idle_s: float = Field(
        300.0,
        ge=0,
        description="Seconds without a new prompt after which the text encoder is unloaded, "
        "0 = stays loaded.",
    )
    models_dir: str = Field(
        "",
        description="Folder of LoRA files, the prompt bank and imported models; without it the "
        "one that sdv2-host models list names.",
    )
    port: int = Field(
        9400,
        ge=0,
        le=65535,
        description="The one port: OSC (UDP, TCP), the control page, OSCQuery; 0 = any free one.",
    )
    listen: str = Field(
        "127.0.0.1",
        description="Address to listen on. Any but this machine's own needs the token that the "
        "start prints.",
    )
    osc_from: str = Field(
        "",
        description="Who else may send OSC, which has no password: addresses or networks such as "
        "'10.0.0.5, 192.168.1.0/24'; without it this machine alone.",
    )
    osc_to: str = Field(
        "",
        description="Who is always sent OSC feedback, without a subscription and from before the "
        "model is loaded: address:port such as '127.0.0.1:7001, 10.0.0.5:9001'.",
    )
    data_dir: str = Field(
        "",
        description="Folder of presets, cue lists, learnt OSC and the state of the last run; "
        "without it the user's own.",
    )
    recordings_dir: str = Field(
        "", description="Folder of recordings and snapshots; without it the user's videos."
    )
    resume: Literal["last", "default"] = Field(
        "last",
        description="Begin with the parameters of the last run of this name, or with the "
        "defaults and without keeping any.",
    )
    output_fps: float = Field(
        0.0, ge=0, le=240, description="Cadence of the output ring, 0 = that of the source."
    )
    file_rings: bool = Field(
        False,
        description="Keep the rings in files in the home folder, for programs in a sandbox that "
        "see no shared memory, such as OBS as a Flatpak.",
    )
    virtual_camera: bool = Field(
        False, description="Show the output as a camera of this machine, by pyvirtualcam."
    )
    camera_device: str = Field(
        "", description="Which virtual camera, such as /dev/video10; without it the first."
    )
    camera_fps: float = Field(
        30.0, gt=0, le=120, description="Frames per second of the virtual camera."
    )
    touch_shm: str = Field(
        "",
        description="NAME for TouchDesigner's own Shared Mem TOPs, Windows only: a Shared Mem In "
        "TOP named NAME-out shows the output, a Shared Mem Out TOP named NAME-in gives the input.",
    )
    obs_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="TCP port of this machine that serves the output to OBS' Media Source, which "
        "needs no plug-in; 0 = none.",
    )
    obs_follow: bool = Field(
        False, description="Scene switches in OBS trigger the presets and cues of the config file."
    )
    obs_address: str = Field(
        "127.0.0.1:4455", description="HOST:PORT of OBS' WebSocket server, to follow it."
    )
    obs_password_file: str = Field(
        "", description="File with the password of OBS' WebSocket server."
    )
    obs_scenes: dict[str, SceneRule] = Field(
        default_factory=dict, description="What each scene of OBS triggers."
    )

    @field_validator("touch_shm")
    @classmethod
    def _check_touch_shm(cls, name: str) -> str:
        if not TOUCH_NAME.fullmatch(name):
            raise ValueError("expected up to 27 letters, digits, '-' and '_', such as show")
        return name

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: str) -> str:
        for device in _listed(devices):
            if device == "auto" or not re.fullmatch(DEVICE_PATTERN, device):
                raise ValueError("expected devices such as cuda:0,cuda:1 or cpu,cpu")
        return ",".join(_listed(devices))

    @field_validator("join_listen")
    @classmethod
    def _check_join_listen(cls, address: str) -> str:
        if address:
            host, _ = host_and_port(address)
            if host in {"0.0.0.0", "::"}:
                raise ValueError(
                    "expected the address of this machine on the network that the devices share, "
                    "which they also reach each other by"
                )
        return address

    @property
    def is_ring(self) -> bool:
        """Whether the stream is spread over several devices, or may be."""
        return bool(self.devices or self.join_listen)

    @property
    def ring_devices(self) -> tuple[str, ...]:
        """Of this machine."""
        return _listed(self.devices) or (self.device,)

    @property
    def size(self) -> Size:
        return Size(self.width, self.height)

    @property
    def num_step_rows(self) -> int:
        """Most denoising steps of this host; see `max_steps`."""
        return self.max_steps or ENGINES[self.engine].max_steps

    @property
    def input_stream(self) -> str:
        return f"{self.name}-in"

    @property
    def output_stream(self) -> str:
        return f"{self.name}-out"

    @property
    def work_streams(self) -> tuple[str, str]:
        """The internal rings from the workers to the presenter: while one worker is made ready
        beside another, each has its own."""
        return f"{self.name}-wk", f"{self.name}-wk2"


def _listed(devices: str) -> tuple[str, ...]:
    return tuple(device.strip() for device in devices.split(",") if device.strip())


def host_and_port(address: str) -> tuple[str, int]:
    """Of HOST:PORT.

    Raises:
        ValueError: it is not that.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected HOST:PORT, such as 10.0.0.1:9600")
    return host.strip("[]"), int(port)
