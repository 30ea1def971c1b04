"""`sdv2-host models plan`: the memory a Wan engine will take, beside what is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.report import write_json
from sdv2_host.config import Config
from sdv2_host.gpu.device import (
    GIB,
    DeviceMemory,
    device_memory,
    device_name,
    resolve_device,
    resolve_dtype,
)
from sdv2_host.gpu.memory_plan import MemoryPlan, advice, plan_memory


@dataclass(frozen=True, slots=True)
class Target:
    """What the plan is for."""

    name: str
    device: torch.device
    dtype: torch.dtype
    memory: DeviceMemory


def find_target(config: Config, memory_gib: float | None) -> Target:
    """The device that `config` names, or a graphics card of `memory_gib` that need not be here.

    Raises:
        DeviceError: the device is not there.
    """
    if memory_gib is not None:
        device = torch.device("cuda:0")
        bytes_ = int(memory_gib * GIB)
        name = f"a graphics card of {memory_gib:g} GiB"
        return Target(
            name, device, resolve_dtype(config.dtype, device), DeviceMemory(bytes_, bytes_)
        )
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, device)
    return Target(device_name(device), device, dtype, device_memory(device))


def show_plan(config: Config, memory_gib: float | None, json_path: Path | None) -> None:
    """Prints the plan of a Wan engine, whether it fits, and if not, what would.

    Raises:
        ConfigError: the JSON cannot be written.
        DeviceError: the device is not there.
    """
    target = find_target(config, memory_gib)
    narrator = Narrator()
    narrator.progress(f"planning {config.engine} at {config.size}", 0.0)
    try:
        plan = plan_memory(config, target.device, target.dtype)
        fits = plan.total <= target.memory.free
        if not fits:
            narrator.progress("looking for what fits", 0.5)
        advised = "" if fits else advice(config, target.device, target.dtype, target.memory.free)
    finally:
        narrator.close()
    print(format_plan(config, target, plan, advised))
    if json_path is not None:
        write_json(json_path, _as_json(target, plan, fits, advised))


def format_plan(config: Config, target: Target, plan: MemoryPlan, advised: str) -> str:
    """The plan as lines for a person; `advised` is '' where it fits."""
    dtype = str(target.dtype).removeprefix("torch.")
    lines = [
        f"{plan.engine} at {plan.size}, up to {plan.steps} steps, {dtype}, --vae {config.vae}, "
        f"--mode {config.mode}" + (", --linears fp8" if config.linears == "fp8" else ""),
        "",
    ]
    rows = [*plan.parts.items(), ("total", plan.total)]
    width = max(len(name) for name, _ in rows)
    lines += [f"  {name:<{width}}{num_bytes / GIB:>9.2f} GiB" for name, num_bytes in rows]
    free, total = target.memory.free / GIB, target.memory.total / GIB
    verdict = f"does not fit: {advised}" if advised else "fits"
    lines += ["", f"{target.name}: {free:.1f} of {total:.1f} GiB free; {verdict}"]
    if target.device.type == "cuda" and config.graphs == "auto":
        lines.append(
            f"recorded calls take {plan.recordings / GIB:.1f} GiB more where there is room, and "
            "launch faster"
        )
    if plan.text_encoder not in plan.parts.values():
        lines.append(
            f"the text encoder takes {plan.text_encoder / GIB:.1f} GiB more on "
            f"{config.text_device}, in its own process, while prompts are new to the bank"
        )
    return "\n".join(lines)


def _as_json(target: Target, plan: MemoryPlan, fits: bool, advised: str) -> dict[str, Any]:
    return {
        "engine": plan.engine,
        "size": str(plan.size),
        "steps": plan.steps,
        "device": target.name,
        "parts_bytes": plan.parts,
        "total_bytes": plan.total,
        "text_encoder_bytes": plan.text_encoder,
        "recordings_bytes": plan.recordings,
        "free_bytes": target.memory.free,
        "fits": fits,
        "advice": advised,
    }
