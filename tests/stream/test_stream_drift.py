"""The drift watchdog: what it calls drift, and what it does about it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.drift import (
    ANCHOR_CHUNKS,
    FLOOR,
    LEARN_CHUNKS,
    LIMIT,
    MAX_ANCHORS,
    ONE_LEVEL,
    RATE,
    SETTLE_CHUNKS,
    DriftState,
    look_key,
    statistics,
)
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode, Layout
from sdv2_host.stream.state import StreamState
from sdv2_host.stream.stream_batch import ChunkInFlight
from tests.stream.conftest import Toy, chunks_of

CPU = torch.device("cpu")
DIM = 4
BAND_CHUNKS = SETTLE_CHUNKS + LEARN_CHUNKS
PARAMS = Params(prompt="neon outline", steps=2, noise_s_min=0.5, noise_s_max=0.8)


def material(index: int, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """(latents, frames) of chunk `index` of a scene; `shift` moves all channels."""
    generator = torch.Generator().manual_seed(index)
    latents = torch.randn(1, 1, DIM, 4, 6, generator=generator)
    frames = torch.rand(1, 4, 3, 32, 48, generator=generator) - 0.5
    return latents + shift, frames + shift / 4


def watch(
    state: DriftState, source: float, picture: float, chunks: range, *, acts: bool = False
) -> list[bool]:
    """For each chunk whether it would be the one that takes the sinks' place."""
    refreshing = []
    for index in chunks:
        refreshing.append(bool(state.refreshes_sinks))
        state.begin_look_(PARAMS, has_new_weights=False)
        source_S = statistics(*material(index, source))
        state.see_(source_S, *material(index + 1000, picture), acts=acts)
    return refreshing


def learnt() -> DriftState:
    state = DriftState.fresh(DIM, CPU)
    watch(state, 0.0, 0.0, range(BAND_CHUNKS))
    return state


class Numbers:
    """The watchdog's numbers by hand, in float64. Oracle."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float64]] = []
        self.slow = np.zeros(0)
        self.is_out = False

    def level(self, source_S: Tensor, picture_S: Tensor) -> float:
        """Of one more chunk, of a source that stays where it is."""
        self.seen.append(np.stack([source_S.double().numpy(), picture_S.double().numpy()]))
        learnt = np.stack(self.seen[SETTLE_CHUNKS:][:LEARN_CHUNKS] or self.seen)
        mean, spread = learnt.mean(axis=0), learnt.std(axis=0)
        if len(self.seen) <= BAND_CHUNKS:
            self.slow = mean
            return 0.0
        self.slow = self.slow + RATE * (self.seen[-1] - self.slow)
        groups = np.split(np.arange(mean.shape[1]), [DIM, 2 * DIM, 2 * DIM + 3])
        contrast = np.concatenate([mean[:, groups[i]] for i in (1, 1, 3, 3)], axis=1)
        apart = (self.slow - mean) / (spread + FLOOR * contrast + ONE_LEVEL)
        source, picture = np.max(
            [np.sqrt((apart[:, group] ** 2).mean(axis=1)) for group in groups], axis=0
        )
        return float(picture / max(source, 1))


def test_the_level_is_what_it_is_by_hand() -> None:
    state, by_hand = DriftState.fresh(DIM, CPU), Numbers()
    levels, expected = [], []

    for index in range(BAND_CHUNKS + 40):
        shift = 1.5 * (index >= BAND_CHUNKS)
        source, picture = material(index), material(index + 1000, shift)
        state.begin_look_(PARAMS, has_new_weights=False)
        state.see_(statistics(*source), *picture, acts=False)
        levels.append(float(state.level))
        expected.append(by_hand.level(statistics(*source), statistics(*picture)))

    np.testing.assert_allclose(levels, expected, rtol=1e-3, atol=1e-4)
    assert max(levels) > LIMIT
    assert float(state.age) == BAND_CHUNKS + 40


def test_a_band_is_the_mean_and_spread_of_its_chunks() -> None:
    state = learnt()
    chunks = range(SETTLE_CHUNKS, BAND_CHUNKS)
    seen = torch.stack([statistics(*material(index)) for index in chunks])

    torch.testing.assert_close(state.bands.mean_2S[0], seen.mean(dim=0), rtol=1e-4, atol=1e-5)
    spread_S = (state.bands.squares_2S[0] / LEARN_CHUNKS).sqrt()
    torch.testing.assert_close(spread_S, seen.std(dim=0, correction=0), rtol=1e-3, atol=1e-5)


def test_a_picture_that_stays_as_it_is_does_not_drift() -> None:
    state = learnt()

    watch(state, 0.0, 0.0, range(BAND_CHUNKS, BAND_CHUNKS + 200))

    assert 0 < float(state.level) < 1
    assert not bool(state.is_out)


def test_a_picture_that_leaves_its_band_alone_drifts_until_it_is_back() -> None:
    state = learnt()

    watch(state, 0.0, 1.5, range(BAND_CHUNKS, BAND_CHUNKS + 60))
    gone = float(state.level), bool(state.is_out)
    watch(state, 0.0, 0.0, range(BAND_CHUNKS + 60, BAND_CHUNKS + 200))

    assert gone[0] > LIMIT
    assert gone[1]
    assert float(state.level) < 1
    assert not bool(state.is_out)


def test_a_picture_that_follows_its_source_does_not_drift() -> None:
    state = learnt()
    levels = []

    for index in range(BAND_CHUNKS, BAND_CHUNKS + 200):
        watch(state, 1.5, 1.5, range(index, index + 1))
        levels.append(float(state.level))

    assert max(levels) < LIMIT
    assert float(state.age) > BAND_CHUNKS


def test_a_new_look_has_a_band_of_its_own() -> None:
    state = learnt()
    watch(state, 0.0, 1.5, range(BAND_CHUNKS, BAND_CHUNKS + 60))

    state.begin_look_(PARAMS.model_copy(update={"seed": 1}), has_new_weights=False)

    assert float(state.age) == 0
    assert not bool(state.is_out)


@pytest.mark.parametrize(
    ("change", "is_new"),
    [({"prompt": "gold"}, True), ({"noise_s_max": 0.7}, True), ({"mix": 0.5}, False),
     ({"drift": "act"}, False), ({"freeze": True}, False)],
)  # fmt: skip
def test_a_look_is_what_the_model_makes_the_picture_with(
    change: dict[str, object], is_new: bool
) -> None:
    assert (look_key(PARAMS.model_copy(update=change)) != look_key(PARAMS)) is is_new


def test_an_anchor_takes_one_chunk_as_sinks_and_more_noise_for_a_few() -> None:
    state = learnt()
    scale = torch.tensor(0.5)
    scales = []
    refreshing = []

    for index in range(BAND_CHUNKS, BAND_CHUNKS + 40):
        refreshing += watch(state, 0.0, 1.5, range(index, index + 1), acts=True)
        scales.append(float(state.noise_scale(scale)))

    assert sum(refreshing) == 1
    assert sum(value > 0.5 for value in scales) == ANCHOR_CHUNKS
    assert scales[-1] == 0.5


def test_what_does_not_help_is_not_tried_for_ever() -> None:
    state = learnt()

    refreshing = watch(state, 0.0, 2.0, range(BAND_CHUNKS, BAND_CHUNKS + 300), acts=True)

    assert sum(refreshing) == MAX_ANCHORS
    assert bool(state.is_out)


def played(pipeline: StreamPipeline, clip: Tensor, params: Params) -> tuple[Tensor, StreamState]:
    state = pipeline.fresh_state()
    out = [pipeline.step(state, chunk, params) for chunk in chunks_of(clip)]
    return torch.cat([*out, pipeline.flush(state)], dim=1), state


@pytest.mark.parametrize("layout", [Layout.SERIAL, Layout.BATCH])
@pytest.mark.parametrize("cache", [CacheMode.ROLLING, CacheMode.REFERENCE])
def test_a_stream_that_does_not_drift_is_bit_equal_however_it_is_watched(
    toy: Toy, layout: Layout, cache: CacheMode
) -> None:
    pipeline = toy.pipeline(layout=layout, cache=cache)
    clip = toy.clip(41)

    off, watched, acting = (
        played(pipeline, clip, PARAMS.model_copy(update={"drift": how}))[0]
        for how in ("off", "watch", "act")
    )

    assert torch.equal(off, watched)
    assert torch.equal(off, acting)


def test_a_reset_watchdog_knows_nothing(toy: Toy) -> None:
    pipeline = toy.pipeline()
    _, state = played(pipeline, toy.clip(21), PARAMS)

    state.reset_()

    fresh = pipeline.fresh_state().drift
    assert torch.equal(state.drift.counts_5, fresh.counts_5)
    assert state.drift.look is None


@torch.inference_mode()
def test_an_anchor_puts_the_newest_frame_into_all_sinks_of_its_row(toy: Toy) -> None:
    pipeline = toy.pipeline()
    clip = toy.clip(37)
    _, state = played(pipeline, clip[:, :33], PARAMS)
    state.drift.anchor_left.fill_(ANCHOR_CHUNKS)

    pipeline.step(state, clip[:, 33:], PARAMS.model_copy(update={"drift": "act"}))

    assert isinstance(state.kv, RollingKVCache)
    newest = state.kv.geometry.slot_of(state.num_latents - 1)
    for keys_RSHD in state.kv.k_RSHD:
        frames = keys_RSHD[: PARAMS.steps].unflatten(1, (-1, state.kv.tokens_per_frame))
        assert torch.equal(frames[:, 0], frames[:, newest])


@torch.inference_mode()
def test_chunks_of_a_batch_anchor_their_own_rows_only(toy: Toy) -> None:
    pipeline = toy.pipeline(layout=Layout.BATCH)
    clip = toy.clip(37)
    state = pipeline.fresh_state()
    for chunk in chunks_of(clip[:, :33]):
        pipeline.step(state, chunk, PARAMS)
    assert isinstance(state.kv, RollingKVCache)
    before = state.kv.sink_RSE.clone()
    state.drift.anchor_left.fill_(ANCHOR_CHUNKS)

    pipeline.step(state, clip[:, 33:], PARAMS.model_copy(update={"drift": "act"}))

    in_flight: list[ChunkInFlight] = state.batch.chunks
    assert [chunk.reanchors is not None for chunk in in_flight] == [True]
    assert not torch.equal(state.kv.sink_RSE[0], before[0])
    assert torch.equal(state.kv.sink_RSE[1], before[1])
