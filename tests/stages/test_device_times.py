"""Measuring a device needs one block and both halves of the autoencoder, and nothing else."""

from __future__ import annotations

import pytest
import torch

from sdv2_host.config import Config
from sdv2_host.stages.device_times import build_measured_models, measure_device
from sdv2_host.stages.rank_models import build_rank_models, spec_of
from sdv2_host.wan.partial import held_bytes

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def test_one_block_stands_for_all() -> None:
    config = Config(width=64, height=64)
    models = build_rank_models(config, CPU, [3], lambda text, done: None)
    before = held_bytes(models.dit)

    times = measure_device(models.dit, models.vae, spec_of(config, CPU), block=3)

    assert len(times.block_ms) == models.dit.dims.num_layers
    assert len(set(times.block_ms)) == 1
    assert min(times.encode_ms, times.decode_ms, *times.block_ms) > 0
    assert 0 <= times.row_saving <= 1
    assert held_bytes(models.dit) == before


def test_a_larger_picture_takes_longer() -> None:
    small, large = (
        measure_device(models.dit, models.vae, spec_of(config, CPU), block=0)
        for config in (Config(width=64, height=64), Config(width=256, height=256))
        for models in [build_rank_models(config, CPU, [0], lambda text, done: None)]
    )

    # Sixteen times the pixels: a busy machine does not turn that round.
    assert large.encode_ms > small.encode_ms
    assert large.decode_ms > small.decode_ms
    assert large.block_ms[0] > small.block_ms[0]


def test_a_rank_that_was_measured_holds_no_block() -> None:
    config = Config(width=64, height=64)

    ready = build_measured_models(config, CPU, lambda text, done: None)

    assert ready.times.encode_ms > 0
    assert ready.room_bytes > 0
    assert ready.spec == spec_of(config, CPU)
    assert all(weight.is_meta for weight in ready.models.dit.blocks.parameters())
    assert isinstance(ready.models.vae, torch.nn.Module)
    assert held_bytes(ready.models.vae) > 0
    assert held_bytes(ready.models.dit) > 0
