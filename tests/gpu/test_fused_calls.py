"""Calls that torch.compile traces against the models' own. Nothing is compiled here: a backend that
runs the traced graph as it is shows what is traced, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sdv2_host.gpu import fused_calls
from sdv2_host.gpu.fused_calls import FusedCalls
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from tests.toys import PARAMS, TOY_DIT, TOY_TEXT, TOY_VAE, changing_params

SPEC = StreamSpec(32, 48, CacheGeometry(num_sinks=1, window=2), dtype=torch.float64)
Graph = torch.fx.GraphModule


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Nothing that torch compiled stays for other tests."""
    yield
    torch._dynamo.reset()


class Backend:
    """Counts what it is given, and runs it as it is."""

    def __init__(self) -> None:
        self.num_given = 0

    def __call__(self, graph: Graph, inputs: list[Tensor]) -> Callable[..., Any]:
        self.num_given += 1
        return graph.forward


def no_compiler(graph: Graph, inputs: list[Tensor]) -> Callable[..., Any]:
    raise RuntimeError("no C++ compiler\nand a long story")


class Toys:
    """A toy stream by fused calls beside one by the models' own."""

    def __init__(
        self, backend: Callable[..., Any], num_layers: int = 2, spec: StreamSpec = SPEC
    ) -> None:
        torch.manual_seed(3)
        dit = CausalWanModel(replace(TOY_DIT, num_layers=num_layers))
        vae, text = TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT)
        for module in (dit, vae, text):
            module.double().eval().requires_grad_(False)
        self.fused = FusedCalls(dit, vae, backend)
        self._pipelines = [
            StreamPipeline(dit, vae, text, spec),
            StreamPipeline(dit, vae, text, spec, calls=self.fused),
        ]

    def play(self, params: list[Params]) -> None:
        """A session of both: equal pictures."""
        states = [pipeline.fresh_state() for pipeline in self._pipelines]
        generator = torch.Generator().manual_seed(5)
        for index, one in enumerate(params):
            shape = (1, 4 if index else 1, 3, SPEC.height_px, SPEC.width_px)
            frames = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
            plain, fused = (
                pipeline.step(state, frames, one)
                for pipeline, state in zip(self._pipelines, states, strict=True)
            )
            torch.testing.assert_close(fused, plain, msg=f"chunk {index}")


def test_fused_calls_give_the_same_pictures_whatever_changes() -> None:
    backend = Backend()
    toys, params = Toys(backend), changing_params(12)

    with toys.fused.preparing():
        toys.play(params)
    num_given = backend.num_given
    toys.play(params)

    assert num_given > 3
    assert backend.num_given == num_given


@pytest.mark.parametrize("num_layers", [2, 6])
def test_one_block_is_compiled_for_all_and_for_every_row(num_layers: int) -> None:
    backend = Backend()
    toys = Toys(backend, num_layers)

    with toys.fused.preparing():
        toys.play([PARAMS.model_copy(update={"steps": 4})] * 8)

    assert backend.num_given == 3  # encode, one block, decode


def test_nothing_is_compiled_while_pictures_are_awaited() -> None:
    backend = Backend()

    Toys(backend).play([PARAMS] * 8)

    assert backend.num_given == 0


def test_without_a_compiler_the_models_run_as_written_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    toys = Toys(no_compiler)

    with caplog.at_level(logging.WARNING), toys.fused.preparing():
        toys.play([PARAMS] * 8)

    [record] = [one for one in caplog.records if one.name == fused_calls.__name__]
    assert "no C++ compiler" in record.getMessage()
    assert "long story" not in record.getMessage()


def test_a_cache_that_asks_the_device_runs_as_written() -> None:
    backend = Backend()
    spec = replace(SPEC, cache=CacheMode.REFERENCE, sink_threshold=0.2)
    toys = Toys(backend, spec=spec)

    with toys.fused.preparing():
        toys.play([PARAMS] * 8)

    assert backend.num_given == 2  # encode and decode
