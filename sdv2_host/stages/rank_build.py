"""What a rank's process runs, made from the files of the engine that its driver names."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sdv2_host.stages.exit import Pictures
from sdv2_host.stages.messages import Load, Loaded
from sdv2_host.stages.rank import Rank
from sdv2_host.stages.rank_models import build_rank_models, spec_of
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
    """
    models = build_rank_models(load.config, device, (), progress)
    rank = Rank(models, spec_of(load.config, device), on_pictures)
    return Built(rank, Loaded(num_blocks=models.dit.dims.num_layers))
