from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.step_times import Measured, as_started, compose, otherwise
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.types import Layout, Shape, Size
from sdv2_host.wan.streaming_vae import Encoded, VAECache
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.tiny_weights import TinyModels

SIZE = Size(64, 48)
SPEC = StreamSpec(SIZE.height, SIZE.width, CacheGeometry(num_sinks=1, window=4))


def step_ms(shape: Shape) -> float:
    """A device on which a call of m latents takes 3 + 2 m, and the autoencoder 5 per latent."""
    num_latents = shape.chunk_frames // 4
    rows = shape.steps if shape.layout is Layout.BATCH else 1
    calls = shape.steps if shape.layout is Layout.SERIAL else 1
    return 5 * num_latents + calls * (3 + 2 * num_latents * rows)


def measured(spec: StreamSpec) -> list[Measured]:
    """What that device shows, every second time with a disturbance."""
    times = []
    for index, step in enumerate([*as_started(spec), *otherwise(spec)]):
        num_latents = step.shape.chunk_frames // 4
        calls = step.shape.steps if step.shape.layout is Layout.SERIAL else 1
        denoise_ms = calls * (3 + 2 * num_latents * step.num_rows)
        is_disturbed = step.shape.steps == 1 and index % 2
        times.append(Measured(step, 5 * num_latents + denoise_ms + 9 * is_disturbed, denoise_ms))
    return times


@pytest.mark.parametrize("layout", list(Layout))
def test_all_shapes_are_composed_of_the_stages_that_were_measured(layout: Layout) -> None:
    spec = replace(SPEC, layout=layout)

    table = compose(measured(spec), spec)

    serial = {Shape(4 * k, Layout.SERIAL, n) for k in (1, 2, 3) for n in (1, 2, 3, 4)}
    batch = {Shape(4, Layout.BATCH, n) for n in (2, 3, 4)}
    one_step = {Shape(4, layout, 1)}
    assert set(table) == serial - {Shape(4, Layout.SERIAL, 1)} | batch | one_step
    assert table == pytest.approx({shape: step_ms(shape) for shape in table})


@pytest.mark.parametrize("layout", list(Layout))
def test_the_references_cache_knows_one_layout_and_one_length(layout: Layout) -> None:
    spec = replace(SPEC, layout=layout, cache=CacheMode.REFERENCE)

    table = compose(measured(spec), spec)

    assert set(table) == {Shape(4, layout, n) for n in (1, 2, 3, 4)}


def test_a_warm_engine_knows_what_its_shapes_take(models: TinyModels) -> None:
    engine = tiny_engine(models, tiny_spec({"window": 3}, SIZE))
    assert engine.step_ms == {}

    engine.warm_up(Params(), lambda _text, _fraction: None)

    serial = [engine.step_ms[Shape(4, Layout.SERIAL, steps)] for steps in (1, 2, 3, 4)]
    assert all(more > less > 0 for less, more in pairwise(serial))
    assert {shape.chunk_frames for shape in engine.step_ms} == {4, 8}


class SmallVAE:
    """An autoencoder whose device has memory for chunks of 4 frames."""

    def __init__(self, vae: TinyVAE) -> None:
        self._vae = vae
        self.init_cache = vae.init_cache
        self.decode = vae.decode

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        if frames_BTCHW.shape[1] > 4:
            raise torch.OutOfMemoryError
        return self._vae.encode(frames_BTCHW, cache, is_first)


def test_chunks_for_which_there_is_no_memory_are_not_in_the_table(models: TinyModels) -> None:
    small = StreamModels(models.dit, SmallVAE(models.vae), models.text)
    engine = StreamEngine("small", small, tiny_spec({}, SIZE))

    engine.warm_up(Params(), lambda _text, _fraction: None)

    assert {shape.chunk_frames for shape in engine.step_ms} == {4}
    assert {shape.layout for shape in engine.step_ms} == set(Layout)
