"""The past seen anew: after a cut the stream is one that began a few frames ago, in that look."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.denoise import Denoiser, keyed_noise
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.model_calls import EagerCalls
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.positions import PositionMode
from sdv2_host.stream.recent import PastChunk, RecentFrames
from sdv2_host.stream.snapshot import restore_, snapshot
from sdv2_host.stream.spec import CacheMode
from sdv2_host.stream.state import StreamState
from sdv2_host.stream.stream_batch import ChunkInFlight
from sdv2_host.types import Layout
from tests.stream.conftest import TOKENS, Toy, chunks_of
from tests.stream.without_cache import decoded, denoised, source_latents

RECACHED_FRAMES = 3
WINDOW = Params(
    prompt="neon outline",
    steps=3,
    noise_s_min=0.5,
    noise_s_max=0.8,
    seed=11,
    recache="window",
    recache_frames=RECACHED_FRAMES,
)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""RMSNorm works in float32 whatever the dtype."""
CUT = 6
"""The chunk with another prompt."""


def prompted(prompt: str, params: Params = WINDOW) -> Params:
    return params.model_copy(update={"prompt": prompt})


def play(
    pipeline: StreamPipeline,
    state: StreamState,
    chunks: Iterable[Tensor],
    params: Iterable[Params],
) -> Tensor:
    """All that comes out, what is still in flight included."""
    out = [pipeline.step(state, c, p) for c, p in zip(chunks, params, strict=True)]
    return torch.cat([*out, pipeline.flush(state)], dim=1)


def held(state: StreamState, row: int) -> list[Tensor]:
    """Keys and values of every block in the filled slots of a row."""
    assert isinstance(state.kv, RollingKVCache)
    num_slots = min(state.kv.num_written[row], state.kv.geometry.num_slots)
    both = [*state.kv.k_RSHD, *state.kv.v_RSHD]
    return [tensor[row, : num_slots * TOKENS].clone() for tensor in both]


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize(("num_frames", "hold"), [(0, 0.0), (1, 0.0), (3, 0.0), (3, 0.5)])
def test_after_a_cut_the_stream_is_one_that_began_a_few_frames_before(
    toy: Toy, layout: Layout, num_frames: int, hold: float
) -> None:
    pipeline = toy.pipeline(layout=layout, geometry=CacheGeometry(2, 8))
    chunks = chunks_of(toy.clip(37))
    changes = {"recache_frames": num_frames, "noise_hold": hold}
    params = WINDOW.model_copy(update=changes)
    before, after = prompted("neon outline", params), prompted("watercolor", params)
    cut = [before] * CUT + [after] * (len(chunks) - CUT)

    got = play(pipeline, pipeline.fresh_state(), chunks, cut)

    sources = source_latents(toy, chunks, WINDOW)
    old = denoised(toy, sources[:CUT], before)
    anew = denoised(toy, sources[CUT - num_frames :], after)
    past, new = anew[:num_frames], anew[num_frames:]
    # The decoder sees the newest frame of the past once more as well; no one else does.
    seen = decoded(toy, [*old, *past[-1:], *new])
    hidden = slice(1 + 4 * (CUT - 1), 1 + 4 * (CUT - 1) + 4 * len(past[-1:]))
    expected = torch.cat([seen[:, : hidden.start], seen[:, hidden.stop :]], dim=1)
    torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("num_sinks", [0, 1, 2])
def test_what_was_before_a_cut_leaves_nothing_in_the_cache(toy: Toy, num_sinks: int) -> None:
    pipeline = toy.pipeline(geometry=CacheGeometry(num_sinks, 4))
    chunks = chunks_of(toy.clip(33))[: CUT + 1]
    caches = []

    for old in ("neon outline", "pixel art"):
        state = pipeline.fresh_state()
        play(pipeline, state, chunks, [prompted(old)] * CUT + [prompted("watercolor")])
        caches.append([held(state, row) for row in range(3)])

    for first, second in zip(*caches, strict=True):
        assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_with_new_sinks_alone_the_window_still_holds_the_old_look(toy: Toy) -> None:
    pipeline = toy.pipeline()
    chunks = chunks_of(toy.clip(33))[: CUT + 1]
    caches = []

    for old in ("neon outline", "pixel art"):
        params = [prompted(old), prompted("watercolor")]
        sinks = [one.model_copy(update={"recache": "sinks"}) for one in params]
        state = pipeline.fresh_state()
        play(pipeline, state, chunks, [sinks[0]] * CUT + [sinks[1]])
        caches.append(held(state, 0))

    assert not torch.equal(caches[0][1], caches[1][1])


def test_the_cache_of_a_young_stream_seen_anew_in_its_own_look_is_as_it_was(toy: Toy) -> None:
    # All frames so far are recent ones, and each sees what it saw: equal to the last bit.
    pipeline = toy.pipeline(geometry=CacheGeometry(1, RECACHED_FRAMES + 2))
    chunks = chunks_of(toy.clip(1 + 4 * (RECACHED_FRAMES + 1)))
    as_it_was, anew = pipeline.fresh_state(), pipeline.fresh_state()
    play(pipeline, as_it_was, chunks, [WINDOW] * len(chunks))

    for index, chunk in enumerate(chunks):
        anew.has_new_weights = index == RECACHED_FRAMES
        pipeline.step(anew, chunk, WINDOW)

    assert as_it_was.recent.chunks == anew.recent.chunks
    for row in range(WINDOW.steps):
        both = zip(held(anew, row), held(as_it_was, row), strict=True)
        assert all(torch.equal(*pair) for pair in both)


STEP = st.tuples(
    st.integers(1, 3),
    st.sampled_from(list(Layout)),
    st.integers(1, 4),
    st.sampled_from(["neon outline", "watercolor"]),
    st.sampled_from(["off", "sinks", "window"]),
    st.integers(0, 5),
)


@given(st.lists(STEP, min_size=1, max_size=8))
@settings(max_examples=10, deadline=None)
def test_any_sequence_of_cuts_and_shapes_gives_the_frames_of_serial_chunks_in_order(
    toy: Toy, steps: list[tuple[int, Layout, int, str, str, int]]
) -> None:
    pipeline = toy.pipeline(
        geometry=CacheGeometry(num_sinks=1, window=4),
        positions=PositionMode.RESET,
        sink_threshold=0.9,
    )
    lengths = [num_latents * 4 for num_latents, *_ in steps]
    first, *others = toy.clip(1 + sum(lengths)).split([1, *lengths], dim=1)
    serial, state = pipeline.fresh_state(), pipeline.fresh_state()
    expected = [pipeline.step(serial, first, WINDOW)]
    got = [pipeline.step(state, first, WINDOW)]

    for index, (frames, step) in enumerate(zip(others, steps, strict=True)):
        _, layout, num_steps, prompt, recache, num_recached = step
        changes = {
            "steps": num_steps,
            "prompt": prompt,
            "recache": recache,
            "recache_frames": num_recached,
            "seed": index,
        }
        params = WINDOW.model_copy(update=changes)
        expected.append(pipeline.step(serial, frames, params))
        got.append(pipeline.step(state, frames, params, layout))
    got.append(pipeline.flush(state))

    torch.testing.assert_close(torch.cat(got, 1), torch.cat(expected, 1), **CLOSE)
    assert [one.shape[1] for one in expected] == [1, *lengths]


@torch.inference_mode()
def test_the_last_frames_of_a_longer_chunk_come_back_with_their_own_noise(toy: Toy) -> None:
    pipeline = toy.pipeline(geometry=CacheGeometry(1, 4))
    params = WINDOW.model_copy(update={"recache_frames": 2})
    first, longer, newest = toy.clip(17).split([1, 12, 4], dim=1)
    state = pipeline.fresh_state()
    pipeline.step(state, first, params)
    pipeline.step(state, longer, params)
    recalled = state.recent.newest(2)[0]
    pipeline.step(state, newest, prompted("watercolor", params))

    def its_last_two(chunk_index: int, seed: int, step: int, like: Tensor) -> Tensor:
        whole = torch.cat([like, like[:, :1]], dim=1)
        return keyed_noise(chunk_index, seed, step, whole)[:, 1:]

    predict = EagerCalls(toy.dit, toy.vae).predict
    denoiser = Denoiser(toy.dit, pipeline.spec, predict, its_last_two)
    timesteps_I, sigmas_I = denoiser.schedule(recalled.noise_scale, params.steps)
    text = toy.dit.text_kv(toy.text.encode("watercolor"))
    alone = pipeline.fresh_state()
    chunk = ChunkInFlight(
        1, params.seed, text, timesteps_I, sigmas_I, recalled.x_BFCHW, False, params.steps, 0
    )
    while not chunk.is_done:
        denoiser.advance_(alone.kv, [chunk])
    for row in range(params.steps):
        for got, expected in zip(held(state, row), held(alone, row), strict=True):
            assert torch.equal(got[: 2 * TOKENS], expected)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_second_session_with_cuts_equals_the_first(toy: Toy, layout: Layout) -> None:
    pipeline = toy.pipeline(layout=layout)
    chunks = chunks_of(toy.clip(33))
    params = [prompted(("neon", "watercolor")[index // 3 % 2]) for index in range(len(chunks))]
    state = pipeline.fresh_state()
    first = play(pipeline, state, chunks, params)

    state.reset_()

    assert torch.equal(play(pipeline, state, chunks, params), first)


def test_a_recalled_look_is_cut_as_it_would_have_been(toy: Toy) -> None:
    pipeline = toy.pipeline()
    chunks = chunks_of(toy.clip(37))
    state = pipeline.fresh_state()
    play(pipeline, state, chunks[:CUT], [prompted("neon")] * CUT)
    saved = snapshot(state)
    expected = pipeline.step(state, chunks[CUT], prompted("watercolor"))
    play(pipeline, state, toy.clip(28, seed=2).split(4, dim=1), [prompted("pixel art")] * 7)

    restore_(state, saved)

    assert torch.equal(pipeline.step(state, chunks[CUT], prompted("watercolor")), expected)


def test_a_cut_is_paid_once_in_its_own_chunk(toy: Toy) -> None:
    pipeline = toy.pipeline()
    state = pipeline.fresh_state()
    counts = []

    for index, chunk in enumerate(chunks_of(toy.clip(37))):
        pipeline.step(state, chunk, prompted("neon" if index < CUT else "watercolor"))
        counts.append(state.num_recached)

    steps = WINDOW.steps
    assert counts == [RECACHED_FRAMES * steps if index == CUT else 0 for index in range(10)]


def test_in_a_batch_each_row_begins_anew_when_the_cut_comes_to_it(toy: Toy) -> None:
    pipeline = toy.pipeline(layout=Layout.BATCH)
    state = pipeline.fresh_state()
    counts = []

    for index, chunk in enumerate(chunks_of(toy.clip(37))):
        pipeline.step(state, chunk, prompted("neon" if index < CUT else "watercolor"))
        counts.append(state.num_recached)

    assert counts == [RECACHED_FRAMES if index in (6, 7, 8) else 0 for index in range(10)]


def test_a_slow_transition_begins_nothing_anew(toy: Toy) -> None:
    pipeline = toy.pipeline()
    state = pipeline.fresh_state()
    fade = prompted("neon").model_copy(update={"prompt_b": "watercolor"})

    for index, chunk in enumerate(chunks_of(toy.clip(37))):
        crossfade = min(1.0, max(0, index - 2) / 5)
        pipeline.step(state, chunk, fade.model_copy(update={"crossfade": crossfade}))
        assert state.num_recached == 0


def test_the_references_cache_is_never_begun_anew(toy: Toy) -> None:
    pipeline = toy.pipeline(cache=CacheMode.REFERENCE)
    chunks = chunks_of(toy.clip(33))
    pictures = []

    for recache in ("off", "window"):
        params = WINDOW.model_copy(update={"recache": recache})
        cut = [prompted("neon", params)] * CUT + [prompted("watercolor", params)] * 3
        pictures.append(play(pipeline, pipeline.fresh_state(), chunks, cut))

    assert torch.equal(pictures[0], pictures[1])


@given(st.lists(st.integers(1, 4), max_size=12), st.integers(0, 5))
@settings(deadline=None)
def test_recent_frames_are_the_newest_of_all_that_came(lengths: list[int], asked: int) -> None:
    recent = RecentFrames.fresh(5, (1, 1, 1), torch.device("cpu"), torch.float32)
    frames: list[tuple[int, int]] = []

    for index, length in enumerate(lengths):
        chunk = PastChunk(index, 0, len(frames), length)
        numbers = torch.arange(chunk.first_frame, chunk.end_frame, dtype=torch.float32)
        recent.keep_(chunk, numbers[None, :, None, None, None], torch.tensor(float(index)))
        frames += [(index, int(number)) for number in numbers]
    recalled = recent.newest(asked)

    got = [(one.chunk.chunk_index, int(x)) for one in recalled for x in one.x_BFCHW.flatten()]
    assert got == frames[max(0, len(frames) - asked) :]
    assert all(float(one.noise_scale) == one.chunk.chunk_index for one in recalled)
