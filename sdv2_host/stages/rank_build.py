"""What a rank's process runs, made from the files of the engine that its driver names."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sdv2_host.stages.device_times import build_measured_models
from sdv2_host.stages.exit import Pictures
from sdv2_host.stages.messages import Load, Loaded
from sdv2_host.stages.rank import Rank
from sdv2_host.stages.rank_ticket import Built
from sdv2_host.types import ProgressFn


def build_rank(
    load: Load,
    device: torch.device,
    on_pictures: Callable[[Pictures], None],
    progress: ProgressFn,
) -> Built:
    """A rank with no block yet: it brings those of its place when an epoch begins.

    Raises:
        ModelError: a file is missing, damaged, or another model.
        DeviceError: what computes attention is not for this device.
    """
    measured = build_measured_models(load.config, device, progress)
    times = measured.times
    loaded = Loaded(
        num_blocks=len(times.block_ms),
        encode_ms=times.encode_ms,
        block_ms=times.block_ms[0],
        decode_ms=times.decode_ms,
        row_saving=times.row_saving,
        room_bytes=measured.room_bytes,
    )
    return Built(
        Rank(measured.models, measured.spec, on_pictures, attention=measured.attention), loaded
    )
