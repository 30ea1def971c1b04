"""How much memory a Wan engine will need, before anything of it is loaded, and what would fit.

The parts come from a dry run of the very code that will run (`gpu/dry_run.py`). What torch and the
driver take beside that is an estimate, marked as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from sdv2_host.config import Config
from sdv2_host.gpu.device import GIB, is_named
from sdv2_host.gpu.dry_run import META, StreamBytes, at_depth, dry_run
from sdv2_host.gpu.wan_models import Placement, WanFamily, random_models
from sdv2_host.gpu.wan_spec import WAN_DIMS, first_chunk_frames, wan_spec
from sdv2_host.params import MIN_SIDE_PX, SIDE_MULTIPLE
from sdv2_host.types import Size

UMT5_XXL_BYTES = 5_680_910_336 * 2
"""Of the text encoder in bfloat16; keys/umt5_enc.txt. In its own process, so not of the total
unless it runs on the same device."""
CONTEXT_BYTES = {"cuda": GIB * 6 // 10, "mps": GIB // 4, "cpu": GIB * 4 // 10}
"""Estimate: the driver's context and torch's libraries and kernels."""
ESTIMATED = "torch and driver, estimated"
FRAGMENTATION = 0.05
"""Estimate: of activations and caches, what torch's allocator cannot hand out again."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes by part, in the order of a table."""

    engine: str
    size: Size
    steps: int
    """Most denoising steps at once."""
    parts: dict[str, int]
    text_encoder: int
    """In its own process; among `parts` too where that is on the same device."""
    recordings: int
    """Beside the parts, on CUDA and where there is room: of calls that are recorded (`graphs`)."""

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def total_gib(self) -> float:
        return self.total / GIB


def plan_memory(config: Config, device: torch.device, dtype: torch.dtype) -> MemoryPlan:
    """The memory of `config`'s Wan engine on `device`; seconds, and nothing is allocated."""
    spec = wan_spec(config, META, dtype, for_planning=True)
    dims, first_frames = WAN_DIMS[config.engine], first_chunk_frames(config)
    runs = []
    for num_layers in (2, 3):
        family = WanFamily(replace(dims, num_layers=num_layers))
        models = random_models(config.vae, family, Placement(META, dtype, config.linears))
        runs.append(dry_run(models, spec, spec.num_rows, first_frames))
    need = at_depth(runs[0], runs[1], dims.num_layers)
    return MemoryPlan(
        config.engine,
        config.size,
        spec.num_rows,
        _parts(config, device, need, spec.num_prompts),
        UMT5_XXL_BYTES,
        recordings=_recordings(need, spec.num_rows),
    )


def _recordings(need: StreamBytes, num_rows: int) -> int:
    """At most: a prompt for all rows and one for each, and what calls work in, which those of one
    kind share with each other and with nothing else."""
    return need.text_kv * (1 + num_rows) + need.activations


def _parts(
    config: Config, device: torch.device, need: StreamBytes, num_prompts: int
) -> dict[str, int]:
    parts = {
        "DiT weights": need.dit,
        "VAE weights": need.vae,
        "KV cache": need.kv_cache,
        "VAE caches": need.vae_cache,
        f"text keys and values, {num_prompts} prompts": need.text_kv * num_prompts,
        "activations, at most": need.activations,
    }
    if device.type != "cpu" and is_named(device, config.text_device):
        parts["text encoder"] = UMT5_XXL_BYTES
    loose = need.kv_cache + need.vae_cache + need.activations
    context = CONTEXT_BYTES.get(device.type, 0)
    parts[ESTIMATED] = context + int(loose * FRAGMENTATION)
    return parts


def _largest_fitting(
    config: Config, device: torch.device, dtype: torch.dtype, free_bytes: int
) -> Size | None:
    """The largest smaller size whose plan fits. All that is not weights grows with the pixels, so
    two plans tell where to look."""

    def total(size: Size) -> int:
        sized = config.model_copy(update={"width": size.width, "height": size.height})
        return plan_memory(sized, device, dtype).total

    sizes = list(smaller_sizes(config.size))
    if not sizes or total(sizes[-1]) > free_bytes:
        return None
    most, least = total(config.size), total(sizes[-1])
    most_px, least_px = config.size.num_pixels, sizes[-1].num_pixels
    slope = (most - least) / (most_px - least_px)
    for size in sizes:
        estimate = least + slope * (size.num_pixels - least_px)
        if estimate <= free_bytes and total(size) <= free_bytes:
            return size
    return None


def smaller_sizes(size: Size) -> Iterator[Size]:
    """Sizes of about the same aspect, each with about a fifth fewer pixels, largest first."""
    scale, last = 1.0, size
    while True:
        scale *= 0.9
        sides = [_side(side * scale) for side in size]
        if min(sides) < MIN_SIDE_PX:
            return
        smaller = Size(*sides)
        if smaller != last:
            last = smaller
            yield smaller


def _side(side_px: float) -> int:
    return int(side_px / SIDE_MULTIPLE) * SIDE_MULTIPLE


def milder_settings(config: Config) -> Iterator[tuple[str, Config]]:
    """What takes less memory at the same size, as it is told to the user, mildest first."""
    for steps in range(config.num_step_rows - 1, 0, -1):
        yield f"--max-steps {steps}", config.model_copy(update={"max_steps": steps})
    if config.vae != "taehv":
        yield "--vae taehv", config.model_copy(update={"vae": "taehv"})


def advice(config: Config, device: torch.device, dtype: torch.dtype, free_bytes: int) -> str:
    """The mildest change of settings that fits into `free_bytes`, in words."""
    for flag, milder in milder_settings(config):
        plan = plan_memory(milder, device, dtype)
        if plan.total <= free_bytes:
            return f"{flag} fits ({plan.total_gib:.1f} GiB)"
    size = _largest_fitting(config, device, dtype, free_bytes)
    if size is not None:
        return f"--size {size} fits"
    if config.engine == "wan-14b":
        return "no size of wan-14b fits; --engine wan-1.3b is the smaller model"
    return "no size fits; --engine tiny runs anywhere"
