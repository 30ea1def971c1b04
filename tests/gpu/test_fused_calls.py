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
from torch._dynamo.utils import detect_fake_mode
from torch._functorch.aot_autograd import make_boxed_func
from torch._inductor.compile_fx import compile_fx
from torch._inductor.fx_passes.post_grad import post_grad_passes
from torch._inductor.utils import fresh_cache
from torch._inductor.virtualized import V
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from sdv2_host.gpu import fused_calls
from sdv2_host.gpu.attention_choice import AttentionKernel, kernels_of
from sdv2_host.gpu.fused_calls import FusedCalls
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.types import Layout
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from tests.toys import PARAMS, TOY_DIT, TOY_TEXT, TOY_VAE, changing_params

SPEC = StreamSpec(32, 48, CacheGeometry(num_sinks=1, window=2), dtype=torch.float64)
TOKENS = 6
"""Per frame."""
Graph = torch.fx.GraphModule
aten = torch.ops.aten
COPIES = [
    *(aten.copy.default, aten.copy_.default, aten.clone.default),
    *(aten.index_put.default, aten.index_copy.default, aten.where.self),
    *(aten.select_scatter.default, aten.slice_scatter.default, aten.as_strided_scatter.default),
]
"""What a write can become that is not put back in its place."""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Nothing that torch compiled stays for other tests."""
    yield
    torch._dynamo.reset()


def attends(graph: Graph) -> bool:
    return any(node.target is F.scaled_dot_product_attention for node in graph.graph.nodes)


class Backend:
    """Counts what it is given, and runs it as it is."""

    def __init__(self) -> None:
        self.num_given = 0
        self.tags: list[str] = []
        """What torch keeps compiled blocks by, beside their graphs."""

    def __call__(self, graph: Graph, inputs: list[Tensor]) -> Callable[..., Any]:
        self.num_given += 1
        if attends(graph):
            self.tags.append(torch.compiler.config.cache_key_tag)
        return graph.forward


def no_compiler(graph: Graph, inputs: list[Tensor]) -> Callable[..., Any]:
    raise RuntimeError("no C++ compiler\nand a long story")


class Toys:
    """A toy stream by fused calls beside one by the models' own."""

    def __init__(
        self,
        backend: Callable[..., Any],
        num_layers: int = 2,
        spec: StreamSpec = SPEC,
        attention: str = "auto",
    ) -> None:
        torch.manual_seed(3)
        dit = CausalWanModel(replace(TOY_DIT, num_layers=num_layers))
        vae, text = TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT)
        for module in (dit, vae, text):
            module.double().eval().requires_grad_(False)
        self.fused = FusedCalls(dit, vae, attention, backend)
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


class Inductor:
    """Of blocks, what inductor makes code of: all is in place that it can put there, and runs as it
    stands."""

    def __init__(self) -> None:
        self.blocks: list[Graph] = []

    def __call__(self, graph: Graph, inputs: list[Tensor]) -> Callable[..., Any]:
        if not attends(graph):
            return graph.forward
        run: Callable[..., Any] = compile_fx(graph, inputs, inner_compile=self._seen)
        return run

    def _seen(self, graph: Graph, inputs: list[Tensor], **_: Any) -> Callable[..., Any]:
        with V.set_fake_mode(detect_fake_mode(inputs)):
            post_grad_passes(graph, is_inference=True)
        graph.recompile()
        self.blocks.append(graph)
        run: Callable[..., Any] = make_boxed_func(graph.forward)
        return run

    def writes(self, num_values: int) -> list[str]:
        """Of the last block, what puts or copies: all that does in place, and what makes a tensor
        as large as that. A copy to itself is none, which inductor leaves out."""
        nodes = self.blocks[-1].graph.nodes
        puts = [node for node in nodes if node.target is aten.index_put_.default]
        copies = [
            node
            for node in nodes
            if node.target in COPIES and node.meta["val"].numel() >= num_values
            if not any(put in puts for put in node.args)
        ]
        return [str(node.target) for node in (*puts, *copies)]


@pytest.mark.parametrize("layout", [Layout.SERIAL, Layout.BATCH])
@pytest.mark.parametrize(("threshold", "num_written"), [(-1.0, 1), (0.9, 2)])
def test_of_a_cache_only_new_frames_are_written(
    layout: Layout, threshold: float, num_written: int
) -> None:
    backend = Inductor()
    spec = replace(SPEC, layout=layout, timesteps=(700.0, 400.0), sink_threshold=threshold)
    toys = Toys(backend, 1, spec)
    num_rows = 2 if layout is Layout.BATCH else 1

    with torch.inference_mode(), toys.fused.preparing():
        toys.play([PARAMS] * 8)

    whole = num_rows * SPEC.geometry.num_slots * TOKENS * TOY_DIT.dim
    assert backend.writes(whole) == ["aten.index_put_.default"] * 2 * num_written


def by_inductor(graph: Graph, inputs: list[Tensor]) -> Callable[..., Any]:
    """Blocks only, for the time that it takes."""
    if not attends(graph):
        return graph.forward
    run: Callable[..., Any] = compile_fx(graph, inputs)
    return run


def flash_runs_in(kernel: AttentionKernel) -> bool:
    """In a steady stream of an engine with that kernel, its blocks compiled."""
    toys = Toys(by_inductor, 1, attention=kernel.name)
    with kernel.held(), torch.inference_mode(), toys.fused.preparing():
        toys.play([PARAMS] * 5)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            toys.play([PARAMS] * 5)
    return any("flash" in event.key for event in profiled.key_averages())


def test_blocks_are_compiled_for_each_attention_and_kept_apart() -> None:
    backend = Backend()

    for attention in ("flash", "math", "flash"):
        toys = Toys(backend, 1, attention=attention)
        with toys.fused.preparing():
            toys.play([PARAMS] * 5)

    assert backend.tags == ["attention by flash", "attention by math"]


@pytest.mark.slow
def test_what_was_compiled_for_one_attention_is_not_taken_for_another() -> None:
    with fresh_cache():
        has_flash = {one.name: flash_runs_in(one) for one in kernels_of("cpu", {})}

    assert has_flash == {"flash": True, "math": False}
