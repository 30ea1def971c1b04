"""What only a CUDA device can prove. Collected everywhere, run where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.graphs import GraphedCalls, cuda_recorders
from sdv2_host.gpu.overlap import Overlap
from sdv2_host.gpu.staging import Staging
from sdv2_host.gpu.timing import ChunkSpans
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.stream.model_calls import EagerCalls
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Frame, FrameMeta, Layout, Shape, Size, StyledChunk
from sdv2_host.wan.tiny_weights import TinyModels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")


@pytest.fixture
def on_cuda(models: TinyModels) -> Iterator[TinyModels]:
    """The models, which other tests use on the CPU."""
    modules = (models.dit, models.vae, models.text)
    for module in modules:
        module.to(CUDA)
    yield models
    for module in modules:
        module.cpu()


def warm_engine(models: TinyModels) -> StreamEngine:
    engine = tiny_engine(models, replace(tiny_spec({}, Size(64, 48)), device=CUDA))
    engine.warm_up(Params(), lambda _text, _fraction: None)
    return engine


def test_a_steady_chunk_never_waits_for_the_device(on_cuda: TinyModels) -> None:
    spec = StreamSpec(48, 64, device=CUDA)
    pipeline = StreamPipeline(on_cuda.dit, on_cuda.vae, on_cuda.text, spec)
    state, params = pipeline.fresh_state(), Params()
    frames = torch.rand(1, 4, 3, 48, 64, device=CUDA) * 2 - 1
    pipeline.step(state, frames[:, :1], params)
    for _ in range(12):
        pipeline.step(state, frames, params)

    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(8):
            pipeline.step(state, frames, params)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_recorded_calls_give_the_pictures_of_those_that_are_not(on_cuda: TinyModels) -> None:
    spec = replace(tiny_spec({}, Size(64, 48)), device=CUDA)
    models = StreamModels(on_cuda.dit, on_cuda.vae, on_cuda.text)
    calls = GraphedCalls(EagerCalls(on_cuda.dit, on_cuda.vae), cuda_recorders(CUDA))
    plain, played = (
        StreamEngine("tiny", one, spec) for one in (models, models._replace(calls=calls))
    )
    noise = np.random.default_rng(0)
    for engine in (plain, played):
        engine.warm_up(Params(), lambda _text, _fraction: None)

    for index in range(40):
        count = 4 if index else 1
        frames = noise.integers(0, 256, (count, 48, 64, 4), dtype=np.uint8)
        given = [Frame(FrameMeta(64, 48), one) for one in frames]
        params = Params(prompt="toon" if index < 20 else "mosaic", steps=2 + index // 10 % 2)
        pictures = [engine.step(given, params).frames.astype(int) for engine in (plain, played)]
        assert np.abs(pictures[0] - pictures[1]).max() <= 1, f"chunk {index}"

    assert calls.num_recorded > 10
    assert calls.num_missed == 0


def test_recorded_calls_take_no_memory_while_they_play(on_cuda: TinyModels) -> None:
    spec = replace(tiny_spec({}, Size(64, 48)), device=CUDA)
    models = StreamModels(on_cuda.dit, on_cuda.vae, on_cuda.text)
    calls = GraphedCalls(EagerCalls(on_cuda.dit, on_cuda.vae), cuda_recorders(CUDA))
    engine = StreamEngine("tiny", models._replace(calls=calls), spec)
    engine.warm_up(Params(), lambda _text, _fraction: None)
    given = [Frame(FrameMeta(64, 48), np.zeros((48, 64, 4), np.uint8))] * 4
    engine.step(given[:1], Params())
    for _ in range(20):
        engine.step(given, Params())
    reserved = torch.cuda.memory_reserved(CUDA)

    for _ in range(1000):
        engine.step(given, Params())

    assert torch.cuda.memory_reserved(CUDA) == reserved


def test_warm_up_measures_steps_by_the_spans_that_come_with_the_pictures(
    on_cuda: TinyModels,
) -> None:
    table = warm_engine(on_cuda).step_ms

    assert {shape.chunk_frames for shape in table} == {4, 8, 12}
    assert all(ms > 0 for ms in table.values())
    assert table[Shape(4, Layout.SERIAL, 4)] > table[Shape(4, Layout.SERIAL, 1)]


def test_staging_agrees_with_the_cpu() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (101, 77, 4), dtype=np.uint8)
    frames = [Frame(FrameMeta(77, 101), pixels)]

    on_cpu = Staging(Size(48, 32), torch.device("cpu"), torch.float32).upload(frames)
    on_cuda = Staging(Size(48, 32), CUDA, torch.float32).upload(frames)

    torch.testing.assert_close(on_cuda.cpu(), on_cpu, atol=2 / 255, rtol=0)


def test_spans_are_read_when_the_device_is_done() -> None:
    spans = ChunkSpans(CUDA)
    with spans.span("denoise"):
        torch.randn(512, 512, device=CUDA).matmul(torch.randn(512, 512, device=CUDA))
    torch.cuda.synchronize()

    assert spans.read_ms()["denoise"] > 0


FRAMES = [
    Frame(FrameMeta(64, 48), np.random.default_rng(seed).integers(0, 256, (48, 64, 4), np.uint8))
    for seed in range(4)
]


def overlapping(models: TinyModels, overlap: Overlap) -> StreamEngine:
    spec = replace(tiny_spec({}, Size(64, 48)), device=CUDA)
    return StreamEngine("tiny", StreamModels(*models[:3]), spec, overlap=overlap)


def played(engine: StreamEngine, num_chunks: int) -> list[StyledChunk]:
    steps = [engine.step(FRAMES[: 4 if index else 1], Params()) for index in range(num_chunks)]
    return [*steps, engine.finish()]


@pytest.mark.parametrize("overlap", ["off", "on"])
def test_an_engine_waits_for_the_device_only_for_pictures_that_are_due(
    on_cuda: TinyModels, overlap: Overlap
) -> None:
    engine = overlapping(on_cuda, overlap)
    played(engine, 12)

    torch.cuda.set_sync_debug_mode("error")
    try:
        styled = [engine.step(FRAMES, Params()) for _ in range(8)]
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert sum(len(one.frames) for one in styled) > 0


def test_overlapped_pictures_are_those_of_one_stage_after_the_other(on_cuda: TinyModels) -> None:
    serial, overlapped = (played(overlapping(on_cuda, how), 60) for how in ("off", "on"))

    pictures = [np.concatenate([one.frames for one in run]) for run in (serial, overlapped)]
    assert np.array_equal(*pictures)
    assert set(serial[20].spans_ms) == set(overlapped[20].spans_ms)


def test_pictures_of_recorded_and_overlapped_calls_are_those_of_neither(
    on_cuda: TinyModels,
) -> None:
    """Recorded, a chunk is queued long before the device comes to it: what a lane was handed must
    still be there then."""
    serial = overlapping(on_cuda, "off")
    calls = GraphedCalls(EagerCalls(on_cuda.dit, on_cuda.vae), cuda_recorders(CUDA))
    models = StreamModels(*on_cuda[:3])._replace(calls=calls)
    spec = replace(tiny_spec({}, Size(64, 48)), device=CUDA)
    recorded = StreamEngine("tiny", models, spec, overlap="on")
    recorded.warm_up(Params(), lambda _text, _fraction: None)

    pictures = [
        np.concatenate([one.frames for one in played(engine, 200)]).astype(int)
        for engine in (serial, recorded)
    ]

    assert calls.num_missed == 0
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_what_a_step_takes_is_kept_free_for_it(on_cuda: TinyModels) -> None:
    headroom = warm_engine(on_cuda)._headroom

    assert headroom.step_bytes > 0
    assert headroom.spare_bytes() < torch.cuda.mem_get_info(CUDA)[1] - headroom.step_bytes
