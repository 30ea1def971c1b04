"""A stream that was saved goes on from there, bit for bit, whatever happened since."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.snapshot import restore_, snapshot, state_bytes
from sdv2_host.stream.spec import CacheMode, Layout
from sdv2_host.stream.state import StreamState
from tests.stream.conftest import Toy, chunks_of
from tests.toys import PARAMS

OTHER = Params(prompt="watercolor", steps=4, noise_s_min=0.2, noise_s_max=0.9, seed=3)


@pytest.mark.parametrize("layout", [Layout.SERIAL, Layout.BATCH])
@pytest.mark.parametrize("cache", [CacheMode.ROLLING, CacheMode.REFERENCE])
def test_a_recalled_stream_goes_on_as_the_one_that_was_saved(
    toy: Toy, layout: Layout, cache: CacheMode
) -> None:
    pipeline = toy.pipeline(layout=layout, cache=cache)
    state = pipeline.fresh_state()
    begin, onward, elsewhere = toy.clip(21), toy.clip(16, seed=1), toy.clip(28, seed=2)
    for chunk in chunks_of(begin):
        pipeline.step(state, chunk, PARAMS)
    pipeline.flush(state)
    saved = snapshot(state)
    expected = [pipeline.step(state, chunk, PARAMS) for chunk in onward.split(4, dim=1)]
    for chunk in elsewhere.split(4, dim=1):
        pipeline.step(state, chunk, OTHER)
    pipeline.flush(state)

    for _ in range(2):
        restore_(state, saved)
        got = [pipeline.step(state, chunk, PARAMS) for chunk in onward.split(4, dim=1)]
        pipeline.flush(state)

        assert torch.equal(torch.cat(got, dim=1), torch.cat(expected, dim=1))


def memories(state: StreamState) -> list[Tensor]:
    assert isinstance(state.kv, RollingKVCache)
    return [*state.kv.k_RSHD, *state.vae_cache.encoder, *state.vae_cache.decoder]


def test_a_look_comes_back_into_the_memory_that_the_stream_has(toy: Toy) -> None:
    pipeline = toy.pipeline()
    state = pipeline.fresh_state()
    pipeline.step(state, toy.clip(1), PARAMS)
    before = [tensor.data_ptr() for tensor in memories(state)]

    restore_(state, snapshot(state))

    assert [tensor.data_ptr() for tensor in memories(state)] == before


def test_a_snapshot_takes_what_it_says(toy: Toy) -> None:
    state = toy.pipeline().fresh_state()
    assert isinstance(state.kv, RollingKVCache)
    caches = [*state.kv.k_RSHD, *state.kv.v_RSHD, *state.vae_cache.encoder]

    held = state_bytes(snapshot(state))

    assert held == state_bytes(state)
    assert held > sum(tensor.numel() * tensor.element_size() for tensor in caches)
