"""Errors of a number format, told apart by stage."""

from __future__ import annotations

import pytest
import torch

from sdv2_host.bench.precision import (
    OneText,
    StageDtypes,
    clip,
    errors,
    format_table,
    run,
    stream,
)
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.wan.dims import WanVAEDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.vae import WanVAE
from tests.toys import TOY_DIT

SPEC = StreamSpec(32, 48, CacheGeometry(1, 3), timesteps=(700.0, 500.0), timestep_offset=100.0)
PARAMS = Params(steps=2, noise_s_min=0.7, noise_s_max=0.8)


@pytest.fixture(scope="module")
def models() -> StreamModels:
    torch.manual_seed(2)
    dit = CausalWanModel(TOY_DIT).eval().requires_grad_(False)
    return StreamModels(dit, WanVAE(WanVAEDims(base=8)), OneText(TOY_DIT))


@torch.inference_mode()
def test_full_precision_is_the_plain_pipeline(models: StreamModels) -> None:
    frames = clip(5, SPEC)
    pipeline = StreamPipeline(models.dit, models.vae, models.text, SPEC)
    state = pipeline.fresh_state()
    plain = torch.cat(
        [pipeline.step(state, frames[:, :1], PARAMS), pipeline.step(state, frames[:, 1:], PARAMS)],
        dim=1,
    )

    styled = stream(models, SPEC, PARAMS, frames, StageDtypes())

    assert torch.equal(styled, ((plain[0] / 2 + 0.5) * 255).round().clamp(0, 255) / 255)


def test_every_stage_is_reported_and_all_is_the_worst_of_them(models: StreamModels) -> None:
    told: list[float] = []

    result = run(models, SPEC, PARAMS, 9, lambda _, fraction: told.append(fraction))

    psnr = {row["stage"]: row["psnr_db"] for row in result["stages"]}
    assert list(psnr) == ["encode", "denoise", "decode", "all", "linears", "all, linears"]
    assert 20 < psnr["all, linears"] <= min(psnr["all"], psnr["linears"]) + 3
    assert psnr["linears"] < psnr["denoise"]
    assert 30 < psnr["all"] <= min(psnr["encode"], psnr["denoise"], psnr["decode"]) + 3
    assert told == sorted(told)
    table = format_table({**result, "model": "toy", "weights": "random"})
    assert "toy, 48x32, 2 steps, 9 frames, cpu, random weights" in table


def test_errors_are_in_steps_of_8_bits() -> None:
    exact = torch.zeros(1, 3, 10, 10)
    got = exact.clone()
    got[0, 0, 0, 0] = 51 / 255

    measured = errors(got, exact)

    assert measured["max_8bit"] == pytest.approx(51)
    assert measured["mean_8bit"] == pytest.approx(51 / 300)
    assert measured["equal"] == pytest.approx(299 / 300)
