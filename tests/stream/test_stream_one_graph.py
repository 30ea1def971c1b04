"""A call of the model is one graph for torch.compile: no break, nothing asked of the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sdv2_host.stream.cache_plan import CacheGeometry, RowCall
from sdv2_host.stream.cached_call import PastCall
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.model_calls import EagerCalls
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.wan.model import TextKV
from tests.stream.conftest import GRID, TOKENS, Toy
from tests.toys import TOY_DIT

GEOMETRY = CacheGeometry(num_sinks=1, window=3)
NUM_ROWS = 2


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Nothing that torch compiled stays for other tests."""
    yield
    torch._dynamo.reset()


class Graphs:
    """A backend of torch.compile that keeps what it was given and compiles nothing."""

    def __init__(self) -> None:
        self.given: list[torch.fx.GraphModule] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.given.append(graph)
        return graph.forward


def past(num_before: tuple[int, ...], threshold: float) -> PastCall:
    """The next call of a cache whose rows have so many frames behind them."""
    torch.manual_seed(3)
    cache = RollingKVCache.fresh(
        GEOMETRY,
        num_blocks=TOY_DIT.num_layers,
        num_rows=NUM_ROWS,
        frame_shape=(TOKENS, TOY_DIT.num_heads, TOY_DIT.head_dim),
        device=torch.device("cpu"),
        dtype=torch.float64,
    )
    for tensor in (*cache.k_RSHD, *cache.v_RSHD, cache.sink_RSE):
        tensor.normal_()
    cache.advance_([RowCall(row, count, 0) for row, count in enumerate(num_before)])
    book = RotaryBook(TOY_DIT.head_dim, GRID, torch.device("cpu"), torch.float64)
    calls = [
        RowCall(row, 1, count, sink_threshold=threshold) for row, count in enumerate(num_before)
    ]
    return cache.open_(calls, book)


SITUATIONS = {
    "with a full cache": ((9, 9), -1.0),
    "while a batch fills": ((1, 2), -1.0),
    "with sinks that may be replaced": ((9, 9), 0.5),
}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("num_prompts", [1, NUM_ROWS])
@torch.inference_mode()
def test_a_call_of_the_model_is_one_graph(toy: Toy, situation: str, num_prompts: int) -> None:
    calls, graphs = EagerCalls(toy.dit, toy.vae), Graphs()
    x_BFCHW = torch.randn(NUM_ROWS, 1, 16, GRID[0] * 2, GRID[1] * 2, dtype=torch.float64)
    t_BF = torch.tensor([[700.0], [400.0]], dtype=torch.float64)
    embedding = torch.randn(num_prompts, TOY_DIT.text_len, TOY_DIT.text_dim, dtype=torch.float64)
    text: list[TextKV] = toy.dit.text_kv(embedding)

    eager = calls.predict(x_BFCHW, t_BF, text, past(*SITUATIONS[situation]))
    traced = torch.compile(calls.predict, backend=graphs, fullgraph=True)(
        x_BFCHW, t_BF, text, past(*SITUATIONS[situation])
    )

    assert len(graphs.given) == 1
    assert not any(node.target is torch.complex for node in graphs.given[0].graph.nodes)
    torch.testing.assert_close(traced, eager)


@torch.inference_mode()
def test_the_keys_and_values_of_a_prompt_are_one_graph(toy: Toy) -> None:
    graphs = Graphs()
    embedding = torch.randn(1, TOY_DIT.text_len, TOY_DIT.text_dim, dtype=torch.float64)

    traced = torch.compile(toy.dit.text_kv, backend=graphs, fullgraph=True)(embedding)

    assert len(graphs.given) == 1
    torch.testing.assert_close(traced, toy.dit.text_kv(embedding))
