"""What a stream needs of devices, and what to change where they have too little."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import torch

from sdv2_host.config import Config
from sdv2_host.gpu.memory_plan import milder_settings, smaller_sizes
from sdv2_host.gpu.part_bytes import plan_parts
from sdv2_host.stages.choice import Device, Need, fits
from sdv2_host.stages.work import Footprint
from sdv2_host.types import Size


def need_of(config: Config, dtype: torch.dtype) -> Need:
    """Of each device, by a dry run; seconds.

    Raises:
        ModelError: the embedded model's file is missing or damaged.
    """
    parts = plan_parts(config, dtype)
    footprint = Footprint(parts.encoder, parts.block, parts.row, parts.decoder)
    return Need(parts.shared, footprint, parts.num_rows)


def remedy(config: Config, dtype: torch.dtype, devices: Sequence[Device]) -> str:
    """The mildest change of settings that these devices have the memory for, in words."""
    if config.engine != "tiny":  # of which the other settings say nothing
        for flag, milder in milder_settings(config):
            if fits(devices, need_of(milder, dtype)):
                return f"{flag} fits"

    def is_short(size: Size) -> bool:
        sized = config.model_copy(update={"width": size.width, "height": size.height})
        return not fits(devices, need_of(sized, dtype))

    # Smaller is later in the list, so that all that are short of memory stand before the others.
    sizes = list(smaller_sizes(config.size))
    found = bisect.bisect_left(sizes, True, key=lambda size: not is_short(size))
    if found < len(sizes):
        return f"--size {sizes[found]} fits"
    smaller = {"wan-14b": "--engine wan-1.3b", "wan-1.3b": "--engine tiny"}.get(config.engine)
    return "no size fits; add a device" + (f", or use {smaller}" if smaller else "")
