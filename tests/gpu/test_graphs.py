"""Recorded calls against the models' own: the same pictures, bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.fused_calls import FusedCalls
from sdv2_host.gpu.graphs import GraphedCalls, Recorders
from sdv2_host.gpu.warm_up import REHEARSING
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.model_calls import EagerCalls
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.types import Frame, FrameMeta, Layout, Shape
from sdv2_host.wan.dims import WanVAEDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import WanVAE
from tests.gpu.played_ops import PlayedOps
from tests.toys import PARAMS, TOY_DIT, TOY_TEXT, TOY_VAE, changing_params

NUM_CHUNKS = 20
SPEC = StreamSpec(32, 48, CacheGeometry(num_sinks=2, window=3), dtype=torch.float64)


class Played:
    """A toy stream whose calls are recorded, beside one whose calls are not."""

    def __init__(self, spec: StreamSpec = SPEC) -> None:
        torch.manual_seed(3)
        dit, vae, text = CausalWanModel(TOY_DIT), TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT)
        for module in (dit, vae, text):
            module.double().eval().requires_grad_(False)
        self.calls = GraphedCalls(EagerCalls(dit, vae), Recorders(*(PlayedOps(),) * 3))
        self.played = StreamPipeline(dit, vae, text, spec, calls=self.calls)
        self.plain = StreamPipeline(dit, vae, text, spec)
        self._states = [one.fresh_state() for one in (self.played, self.plain)]

    def session(self, params: list[Params], lengths: tuple[int, ...] = (4,)) -> None:
        """One session of both, from a reset: equal pictures."""
        for state in self._states:
            state.reset_()
        for index, one in enumerate(params):
            frames = clip(lengths[index % len(lengths)] if index else 1, seed=index)
            played, plain = (
                pipeline.step(state, frames, one)
                for pipeline, state in zip((self.played, self.plain), self._states, strict=True)
            )
            assert torch.equal(played, plain), f"chunk {index}"

    def warm(self, params: list[Params], lengths: tuple[int, ...] = (4,)) -> None:
        with self.calls.preparing():
            for _ in range(2):
                self.session(params, lengths)


def clip(num_frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, num_frames, 3, SPEC.height_px, SPEC.width_px)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("layout", Layout)
def test_what_was_recorded_gives_the_same_pictures(layout: Layout) -> None:
    toy = Played(replace(SPEC, layout=layout))
    params = changing_params(NUM_CHUNKS)

    toy.warm(params)
    num_recorded = toy.calls.num_recorded
    toy.session(params)

    assert num_recorded > 10
    assert toy.calls.num_recorded == num_recorded


def test_longer_chunks_have_recordings_of_their_own() -> None:
    toy = Played()

    toy.warm([PARAMS] * NUM_CHUNKS, lengths=(4, 8, 4, 4))
    toy.session([PARAMS] * NUM_CHUNKS, lengths=(8, 4, 4))


@pytest.mark.parametrize(
    "changes",
    [
        {"sink_mode": "adaptive", "sink_threshold": 0.9},
        {"drift": "act"},
        {"recache": "window"},
        {"blend_mode": "slerp", "noise_hold": 0.5},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_live_parameters_are_numbers_on_the_device(changes: dict[str, object]) -> None:
    toy = Played()
    params = changing_params(NUM_CHUNKS)
    toy.warm(params)

    with toy.calls.preparing():
        toy.session([one.model_copy(update=changes) for one in params])
        toy.session([one.model_copy(update=changes) for one in params])
    thresholds = {"sink_threshold": 0.5} if "sink_threshold" in changes else {}
    toy.session([one.model_copy(update={**changes, **thresholds}) for one in params])


def test_nothing_is_recorded_while_pictures_are_awaited() -> None:
    toy = Played()

    for _ in range(3):
        toy.session([PARAMS] * 8)

    assert toy.calls.num_recorded == 0


def test_what_comes_for_the_first_time_later_on_runs_as_it_is() -> None:
    toy = Played()
    toy.warm([PARAMS] * 8)
    num_recorded = toy.calls.num_recorded

    toy.session([PARAMS.model_copy(update={"steps": 4})] * 8, lengths=(12,))

    assert toy.calls.num_recorded == num_recorded


def test_a_new_prompt_is_heard_in_a_recording() -> None:
    toy = Played()
    toy.warm([PARAMS] * 10)

    toy.session([PARAMS.model_copy(update={"prompt": f"prompt {i}"}) for i in range(10)])


def test_weights_that_are_written_to_show_in_a_recording() -> None:
    toy = Played()
    toy.warm([PARAMS] * 10)

    for weight in toy.played._dit.parameters():
        weight.mul_(0.9)
    for state in toy._states:
        state.texts.forget_()

    toy.session([PARAMS] * 10)


def test_a_cache_that_asks_the_device_is_never_recorded() -> None:
    toy = Played(replace(SPEC, cache=CacheMode.REFERENCE, sink_threshold=0.2))

    toy.warm([PARAMS] * 10)
    toy.session([PARAMS] * 10)


def test_a_number_of_one_run_is_a_number_of_every_replay() -> None:
    """So a call that takes from Python what may change would be found out."""
    numbers, x = iter((1.0, 2.0)), torch.zeros(())
    replay = PlayedOps().record(lambda: x.add_(next(numbers)).clone())

    assert float(replay()) == float(replay()) - 1 == 1.0


SHOW_SPEC = replace(SPEC, dtype=torch.float32, timesteps=(700.0, 500.0, 400.0))


class Refusing:
    """A recorder of a driver that records nothing."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nand a long story")


def test_what_cannot_be_recorded_runs_as_written_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    toy = Played()
    toy.calls._decode = type(toy.calls._decode)(Refusing())

    with caplog.at_level(logging.WARNING):
        toy.warm([PARAMS] * 10)
    toy.session([PARAMS] * 10)

    assert toy.calls.num_recorded > 0
    assert [record.getMessage() for record in caplog.records] == [
        "calls cannot be recorded here (operation not permitted when stream is capturing and a "
        "long story): kernels are launched one by one, which is slower"
    ]


class Observed:
    """A compiler and a recorder that know of each other. What is recorded runs each time."""

    def __init__(self) -> None:
        self.compiled: list[bool] = []
        """Of each graph, whether a recording was going on."""
        self._is_recording = False

    def compile(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.compiled.append(self._is_recording)
        return graph.forward

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self._is_recording = True
        run()
        self._is_recording = False
        return run


@pytest.mark.parametrize("kind", ["wan", "tiny"])
def test_nothing_is_compiled_while_a_call_is_recorded(kind: str) -> None:
    """A compiler tries kernels out, for which it waits: no recording may."""
    torch.manual_seed(3)
    vae = WanVAE(WanVAEDims(base=4)) if kind == "wan" else TinyVAE(TOY_VAE)
    dit, text = CausalWanModel(TOY_DIT), TinyTextEncoder(TOY_TEXT)
    for module in (dit, vae, text):
        module.eval().requires_grad_(False)
    seen = Observed()
    calls = GraphedCalls(FusedCalls(dit, vae, backend=seen.compile), Recorders(seen, seen, seen))
    engine = StreamEngine("seen", StreamModels(dit, vae, text, calls=calls), SHOW_SPEC)

    told: list[tuple[str, float, int]] = []

    engine.warm_up(PARAMS, lambda *said: told.append((*said, len(seen.compiled))))
    torch._dynamo.reset()

    assert len(seen.compiled) > 3
    assert not any(seen.compiled)
    # What takes minutes is told before it begins.
    assert told[0] == (REHEARSING, 0.0, 0)
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions)
    assert told[-1][:2] == ("warm", 1.0)


class Shown:
    """Engines of equal weights, one with recordings."""

    def __init__(self, spec: StreamSpec = SHOW_SPEC) -> None:
        torch.manual_seed(3)
        dit, vae, text = CausalWanModel(TOY_DIT), TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT)
        for module in (dit, vae, text):
            module.eval().requires_grad_(False)
        self.calls = GraphedCalls(EagerCalls(dit, vae), Recorders(*(PlayedOps(),) * 3))
        models = StreamModels(dit, vae, text)
        self.plain = StreamEngine("plain", models, spec)
        self.played = StreamEngine("played", models._replace(calls=self.calls), spec)
        for engine in (self.plain, self.played):
            engine.warm_up(PARAMS, lambda _text, _fraction: None)

    def show(self, steps_and_params: list[tuple[Shape, Params]]) -> None:
        for engine in (self.plain, self.played):
            engine.reset()
        for index, (shape, params) in enumerate(steps_and_params):
            given = shapes_frames(shape.chunk_frames if index else 1, index)
            as_asked = params.model_copy(update={"steps": shape.steps})
            plain, played = (
                engine.step(given, as_asked, shape.layout).frames
                for engine in (self.plain, self.played)
            )
            assert np.array_equal(plain, played), f"chunk {index}: {shape}"


def shapes_frames(count: int, seed: int) -> list[Frame]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 48, 4), dtype=np.uint8)
    return [Frame(FrameMeta(48, 32), picture) for picture in pixels]


def test_a_warm_engine_has_a_recording_for_all_that_the_scheduler_may_choose() -> None:
    shown = Shown()
    show = [(shape, PARAMS) for shape in shown.played.step_ms for _ in range(2)]

    shown.show([*[(Shape(4, Layout.SERIAL, 3), PARAMS)] * 6, *show])

    assert {shape.steps for shape in shown.played.step_ms} == {1, 2, 3}
    assert shown.calls.num_missed == 0


@pytest.mark.parametrize("layout", Layout)
def test_a_new_prompt_finds_its_recordings(layout: Layout) -> None:
    shown = Shown(replace(SHOW_SPEC, layout=layout))
    shape = Shape(4, layout, 3)
    filling = [(Shape(4, Layout.SERIAL, 3), PARAMS)] * 6
    new = PARAMS.model_copy(update={"prompt": "mosaic"})

    shown.show([*filling, *[(shape, PARAMS)] * 4, *[(shape, new)] * 5])

    assert shown.calls.num_missed == 0
