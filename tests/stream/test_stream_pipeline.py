"""The laws of the streaming core, on a toy model in float64."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdv2_host.blend import parse_blend
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry, RowCall
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.positions import PositionMode
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.stream.state import StreamState
from sdv2_host.types import Layout
from tests.stream.conftest import GRID, TOKENS, Toy, chunks_of
from tests.stream.without_cache import decoded, denoised, source_latents
from tests.toys import PARAMS, changing_params

VECTORS = Path(
    os.environ.get("SDV2_VECTORS", Path(__file__).parents[3] / "shared" / "reference" / "vectors")
)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""RMSNorm works in float32 whatever the dtype."""


def play(
    pipeline: StreamPipeline, state: StreamState, chunks: list[Tensor], params: Sequence[Params]
) -> Tensor:
    """All that comes out, what is still in flight included."""
    out = [pipeline.step(state, c, p) for c, p in zip(chunks, params, strict=True)]
    return torch.cat([*out, pipeline.flush(state)], dim=1)


@pytest.mark.parametrize("hold", [0.0, 1.0])
def test_chunks_of_a_still_picture_differ_unless_all_noise_is_held(toy: Toy, hold: float) -> None:
    """Without sinks and with a window of one frame there is no other past to make them differ."""
    pipeline = toy.pipeline(geometry=CacheGeometry(num_sinks=0, window=1))
    still = toy.clip(1).expand(-1, 25, -1, -1, -1)
    params = PARAMS.model_copy(update={"noise_hold": hold, "noise_s_min": 0.8})

    out = play(pipeline, pipeline.fresh_state(), chunks_of(still), [params] * 7)

    # The autoencoder remembers how the stream began for the first chunks.
    fifth, last = out[:, 17:21], out[:, 21:]
    assert torch.allclose(fifth, last, rtol=0, atol=1e-3) == (hold == 1.0)


def test_streamed_autoencoder_equals_whole_clip(toy: Toy) -> None:
    clip = toy.clip(21)
    used, cache = (toy.vae.init_cache(1, 32, 48, dtype=torch.float64) for _ in range(2))
    whole_z = toy.vae.encode(clip, used, is_first=True).z_BFCHW
    whole = toy.vae.decode(whole_z, used, is_first=True).frames_BTCHW

    latents, pictures = [], []
    for index, chunk in enumerate(chunks_of(clip)):
        z, cache = toy.vae.encode(chunk, cache, is_first=index == 0)
        frames, cache = toy.vae.decode(z, cache, is_first=index == 0)
        latents.append(z)
        pictures.append(frames)

    torch.testing.assert_close(torch.cat(latents, 1), whole_z)
    torch.testing.assert_close(torch.cat(pictures, 1), whole)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4])
def test_stream_batch_equals_serial(toy: Toy, num_steps: int) -> None:
    chunks = chunks_of(toy.clip(41))
    params = [PARAMS.model_copy(update={"steps": num_steps})] * len(chunks)
    serial, batch = (toy.pipeline(layout=layout) for layout in (Layout.SERIAL, Layout.BATCH))

    expected = play(serial, serial.fresh_state(), chunks, params)
    got = play(batch, batch.fresh_state(), chunks, params)

    torch.testing.assert_close(got, expected, **CLOSE)
    assert expected.shape == (1, 41, 3, 32, 48)


def test_stream_batch_equals_serial_while_everything_changes(toy: Toy) -> None:
    chunks = chunks_of(toy.clip(101), first=5)
    params = changing_params(len(chunks))
    changes = {"positions": PositionMode.RESET, "sink_threshold": 0.9}
    serial = toy.pipeline(layout=Layout.SERIAL, **changes)
    batch = toy.pipeline(layout=Layout.BATCH, **changes)

    expected = play(serial, serial.fresh_state(), chunks, params)
    got = play(batch, batch.fresh_state(), chunks, params)

    torch.testing.assert_close(got, expected, **CLOSE)


def test_stream_batch_answers_its_first_chunk_at_once_then_runs_late(toy: Toy) -> None:
    pipeline = toy.pipeline(layout=Layout.BATCH)
    state = pipeline.fresh_state()
    params = PARAMS.model_copy(update={"steps": 3})

    counts = [pipeline.step(state, c, params).shape[1] for c in chunks_of(toy.clip(21))]

    assert counts == [1, 0, 0, 4, 4, 4]
    assert pipeline.flush(state).shape[1] == 8


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from(list(Layout)), st.integers(1, 4)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=10, deadline=None)
def test_any_sequence_of_shapes_gives_the_frames_of_serial_chunks_in_order(
    toy: Toy, shapes: list[tuple[int, Layout, int]]
) -> None:
    pipeline = toy.pipeline(geometry=CacheGeometry(num_sinks=1, window=4))
    lengths = [num_latents * 4 for num_latents, _, _ in shapes]
    first, *others = toy.clip(1 + sum(lengths)).split([1, *lengths], dim=1)
    params = [PARAMS.model_copy(update={"steps": steps}) for _, _, steps in shapes]
    serial, state = pipeline.fresh_state(), pipeline.fresh_state()

    expected = [pipeline.step(serial, first, params[0])]
    got = [pipeline.step(state, first, params[0])]
    for frames, (_, layout, _), snapshot in zip(others, shapes, params, strict=True):
        expected.append(pipeline.step(serial, frames, snapshot))
        got.append(pipeline.step(state, frames, snapshot, layout))
    got.append(pipeline.flush(state))

    torch.testing.assert_close(torch.cat(got, 1), torch.cat(expected, 1), **CLOSE)
    assert [one.shape[1] for one in expected] == [1, *lengths]


def test_a_change_to_serial_returns_what_is_in_flight_at_once(toy: Toy) -> None:
    pipeline = toy.pipeline()
    state = pipeline.fresh_state()
    params = PARAMS.model_copy(update={"steps": 3})
    layouts = [*[Layout.BATCH] * 4, Layout.SERIAL, Layout.SERIAL, Layout.BATCH]

    counts = [
        pipeline.step(state, chunk, params, layout).shape[1]
        for chunk, layout in zip(chunks_of(toy.clip(25)), layouts, strict=True)
    ]

    assert counts == [1, 0, 0, 4, 12, 4, 0]


@pytest.mark.parametrize("layout", list(Layout))
def test_both_layouts_equal_a_run_without_any_cache(toy: Toy, layout: Layout) -> None:
    chunks = chunks_of(toy.clip(25))
    params = PARAMS.model_copy(update={"steps": 3})
    pipeline = toy.pipeline(layout=layout, geometry=CacheGeometry(2, 8))

    got = play(pipeline, pipeline.fresh_state(), chunks, [params] * len(chunks))

    latents = denoised(toy, source_latents(toy, chunks, params), params)
    expected = decoded(toy, latents)
    torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("layout", list(Layout))
def test_second_session_equals_first(toy: Toy, layout: Layout) -> None:
    pipeline = toy.pipeline(layout=layout, sink_threshold=0.9)
    chunks = chunks_of(toy.clip(49))
    params = changing_params(len(chunks))
    state = pipeline.fresh_state()
    first = play(pipeline, state, chunks, params)
    for chunk in toy.clip(32, seed=5).split(4, dim=1):
        pipeline.step(state, chunk, PARAMS)

    state.reset_()
    second = play(pipeline, state, chunks, params)

    assert torch.equal(first, second)


def test_reset_leaves_nothing_of_the_session(toy: Toy) -> None:
    pipeline = toy.pipeline(layout=Layout.BATCH)
    state, fresh = pipeline.fresh_state(), pipeline.fresh_state()
    for chunk in chunks_of(toy.clip(17)):
        pipeline.step(state, chunk, PARAMS)

    state.reset_()

    for name in ("chunk_index", "look", "num_steps", "batch"):
        assert getattr(state, name) == getattr(fresh, name)
    assert state.kv.num_written == fresh.kv.num_written
    assert not any(t.any() for t in (*state.vae_cache.encoder, *state.vae_cache.decoder))
    assert not any(t.any() for t in (state.motion.noise_scale, state.motion.pixels.last_BCHW))


def test_reset_keeps_every_tensor_in_its_place(toy: Toy) -> None:
    pipeline = toy.pipeline()
    state = pipeline.fresh_state()
    pipeline.step(state, toy.clip(1), PARAMS)
    kept = [*state.kv.k_RSHD, *state.kv.v_RSHD, *state.vae_cache.encoder, state.motion.level]
    addresses = [tensor.data_ptr() for tensor in kept]

    state.reset_()

    kept = [*state.kv.k_RSHD, *state.kv.v_RSHD, *state.vae_cache.encoder, state.motion.level]
    assert [tensor.data_ptr() for tensor in kept] == addresses


def test_two_streams_of_one_pipeline_do_not_meet(toy: Toy) -> None:
    pipeline = toy.pipeline()
    chunks, others = chunks_of(toy.clip(25)), chunks_of(toy.clip(25, seed=9))
    alone = play(pipeline, pipeline.fresh_state(), chunks, [PARAMS] * len(chunks))

    state, other = pipeline.fresh_state(), pipeline.fresh_state()
    mixed = []
    for chunk, other_chunk in zip(chunks, others, strict=True):
        mixed.append(pipeline.step(state, chunk, PARAMS))
        pipeline.step(other, other_chunk, PARAMS)

    assert torch.equal(torch.cat(mixed, 1), alone)


@torch.inference_mode()
def test_split_of_blocks_equals_whole(toy: Toy) -> None:
    pipeline = toy.pipeline()
    whole_kv, split_kv = pipeline.fresh_state().kv, pipeline.fresh_state().kv
    book = RotaryBook(toy.dit.dims.head_dim, GRID, torch.device("cpu"), torch.float64)
    text = toy.dit.text_kv(toy.text.encode("toon"))

    for index in range(6):
        x, t = torch.randn(1, 1, 16, 4, 6, dtype=torch.float64), torch.full((1, 1), 600.0)
        calls = [RowCall(0, 1, index)]
        embedded = toy.dit.embed(x, t).x_BSE
        whole = toy.dit(x, t, text, whole_kv.open_(calls, book).begin_(embedded))
        attend = split_kv.open_(calls, book).begin_(embedded)
        tokens = toy.dit.run_blocks(toy.dit.embed(x, t), text, attend, last=1)
        tokens = toy.dit.run_blocks(tokens, text, attend, first=1)
        whole_kv.advance_(calls)
        split_kv.advance_(calls)

        assert torch.equal(toy.dit.unembed(tokens), whole)


def test_a_prompt_changes_the_next_chunk_and_nothing_else(toy: Toy) -> None:
    pipeline = toy.pipeline()
    chunks = chunks_of(toy.clip(41))
    same = [PARAMS] * len(chunks)
    changed = [*same[:5], *[PARAMS.model_copy(update={"prompt": "mosaic"})] * (len(chunks) - 5)]

    before = play(pipeline, pipeline.fresh_state(), chunks, same)
    after = play(pipeline, pipeline.fresh_state(), chunks, changed)

    num_before = 1 + 4 * 4
    assert before.shape == after.shape
    assert torch.equal(before[:, :num_before], after[:, :num_before])
    assert not torch.equal(before[:, num_before:][:, :4], after[:, num_before:][:, :4])


def test_a_new_prompt_overwrites_the_sinks_with_its_first_chunk(toy: Toy) -> None:
    pipeline = toy.pipeline(geometry=CacheGeometry(2, 2))
    state = pipeline.fresh_state()
    chunks = chunks_of(toy.clip(33))
    for chunk in chunks[:6]:
        pipeline.step(state, chunk, PARAMS)
    old_sink = state.kv.k_RSHD[0][0, :TOKENS].clone()

    pipeline.step(state, chunks[6], PARAMS.model_copy(update={"prompt": "mosaic"}))

    slot = state.kv.geometry.slot_of(6) * TOKENS
    newest = state.kv.k_RSHD[0][0, slot : slot + TOKENS]
    assert not torch.equal(newest, old_sink)
    assert torch.equal(state.kv.k_RSHD[0][0, :TOKENS], newest)
    assert torch.equal(state.kv.k_RSHD[0][0, TOKENS : 2 * TOKENS], newest)


def test_new_weights_overwrite_the_sinks_as_a_new_prompt_does(toy: Toy) -> None:
    pipeline = toy.pipeline(geometry=CacheGeometry(2, 2))
    state = pipeline.fresh_state()
    state.has_new_weights = True
    chunks = chunks_of(toy.clip(37))
    for chunk in chunks[:6]:
        pipeline.step(state, chunk, PARAMS)
    sinks = state.kv.k_RSHD[0][0, : 2 * TOKENS].clone()
    assert not torch.equal(sinks[:TOKENS], sinks[TOKENS:])

    state.has_new_weights = True
    pipeline.step(state, chunks[6], PARAMS)
    renewed = state.kv.k_RSHD[0][0, : 2 * TOKENS].clone()
    pipeline.step(state, chunks[7], PARAMS)

    assert torch.equal(renewed[:TOKENS], renewed[TOKENS:])
    assert not torch.equal(renewed[:TOKENS], sinks[:TOKENS])
    assert torch.equal(state.kv.k_RSHD[0][0, : 2 * TOKENS], renewed)


def test_the_first_prompt_of_a_session_is_no_change(toy: Toy) -> None:
    pipeline = toy.pipeline(geometry=CacheGeometry(2, 2))
    chunks = chunks_of(toy.clip(17))
    off, sinks, window = (
        [PARAMS.model_copy(update={"recache": recache})] * len(chunks)
        for recache in ("off", "sinks", "window")
    )

    kept = play(pipeline, pipeline.fresh_state(), chunks, off)

    assert torch.equal(play(pipeline, pipeline.fresh_state(), chunks, sinks), kept)
    assert torch.equal(play(pipeline, pipeline.fresh_state(), chunks, window), kept)


@pytest.mark.parametrize("layout", list(Layout))
def test_steps_change_between_chunks_without_losing_one(toy: Toy, layout: Layout) -> None:
    pipeline = toy.pipeline(layout=layout)
    chunks = chunks_of(toy.clip(81))
    params = changing_params(len(chunks))

    out = play(pipeline, pipeline.fresh_state(), chunks, params)

    assert out.shape[1] == 81
    assert out.isfinite().all()


def test_a_row_that_becomes_active_starts_from_the_last_active_one(toy: Toy) -> None:
    pipeline = toy.pipeline()
    state = pipeline.fresh_state()
    chunks = chunks_of(toy.clip(17))
    for chunk in chunks[:4]:
        pipeline.step(state, chunk, PARAMS)

    pipeline.step(state, chunks[4], PARAMS.model_copy(update={"steps": 4}))

    assert state.kv.num_written == [5, 5, 5, 5]
    slot = state.kv.geometry.slot_of(3) * TOKENS
    rows = state.kv.k_RSHD[0][:, slot : slot + TOKENS]
    assert torch.equal(rows[1], rows[2])
    assert torch.equal(rows[1], rows[3])
    assert not torch.equal(rows[0], rows[1])


def test_timesteps_are_the_references_for_its_own_settings(toy: Toy) -> None:
    denoiser = toy.pipeline(timestep_offset=100.0).denoiser

    timesteps, sigmas = denoiser.schedule(torch.tensor(0.79541164), 4)

    assert timesteps.tolist() == pytest.approx([695, 500, 400, 200])
    assert sigmas[1:].tolist() == pytest.approx([0.499719, 0.400260, 0.198347], abs=1e-6)


def test_timesteps_are_those_the_reference_recorded(toy: Toy) -> None:
    if not (VECTORS / "batch2.json").is_file():
        pytest.skip("no recorded vectors: set SDV2_VECTORS to their folder")
    ticks = json.loads((VECTORS / "batch2.json").read_text())["ticks"][1:]
    denoiser = toy.pipeline(timestep_offset=100.0).denoiser

    for tick in ticks:
        timesteps, _ = denoiser.schedule(torch.tensor(tick["noise_scale"]), 2)

        assert timesteps.tolist() == tick["timesteps"]


@pytest.mark.parametrize("scale", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
def test_no_step_is_noisier_than_the_one_before(toy: Toy, scale: float) -> None:
    timesteps, sigmas = toy.pipeline().denoiser.schedule(torch.tensor(scale), 4)

    assert timesteps[0] == round(1000 * scale)
    assert (timesteps.diff() <= 0).all()
    assert (sigmas.diff() <= 0).all()


def test_without_noise_bounds_apart_motion_does_not_matter(toy: Toy) -> None:
    pipeline = toy.pipeline()
    state = pipeline.fresh_state()
    params = PARAMS.model_copy(update={"noise_s_min": 0.6, "noise_s_max": 0.6})

    for chunk in chunks_of(toy.clip(17)):
        pipeline.step(state, chunk, params)

        assert float(state.motion.noise_scale) == pytest.approx(0.6)


def test_seeds_make_different_pictures_of_one_input(toy: Toy) -> None:
    pipeline = toy.pipeline()
    chunks = chunks_of(toy.clip(9))
    other = PARAMS.model_copy(update={"seed": 12})

    first = play(pipeline, pipeline.fresh_state(), chunks, [PARAMS] * len(chunks))
    second = play(pipeline, pipeline.fresh_state(), chunks, [other] * len(chunks))

    assert not torch.equal(first, second)


def test_the_bank_holds_the_last_prompts_only(toy: Toy) -> None:
    bank = toy.pipeline().fresh_state().texts

    for number in range(20):
        bank.get(parse_blend(f"prompt {number}"), toy.text, toy.dit)
    kept = bank.get(parse_blend("prompt 19"), toy.text, toy.dit)

    assert list(bank.entries) == [f"prompt {number}" for number in range(12, 20)]
    assert bank.get(parse_blend("prompt 19"), toy.text, toy.dit) is kept


def test_adaptive_sinks_set_live_equal_a_stream_started_with_them(toy: Toy) -> None:
    chunks = chunks_of(toy.clip(41))
    adaptive = PARAMS.model_copy(update={"sink_mode": "adaptive", "sink_threshold": 0.999})
    built_in = toy.pipeline(sink_threshold=0.999)

    live = play(toy.pipeline(), toy.pipeline().fresh_state(), chunks, [adaptive] * len(chunks))
    started = play(built_in, built_in.fresh_state(), chunks, [PARAMS] * len(chunks))
    fixed = play(toy.pipeline(), toy.pipeline().fresh_state(), chunks, [PARAMS] * len(chunks))

    assert torch.equal(live, started)
    assert not torch.equal(live, fixed)


def test_fixed_sinks_set_live_equal_a_stream_without_adaptive_ones(toy: Toy) -> None:
    chunks = chunks_of(toy.clip(41))
    fixed = PARAMS.model_copy(update={"sink_mode": "fixed"})
    pipeline = toy.pipeline(sink_threshold=0.999)

    live = play(pipeline, pipeline.fresh_state(), chunks, [fixed] * len(chunks))
    never = play(toy.pipeline(), toy.pipeline().fresh_state(), chunks, [PARAMS] * len(chunks))

    assert torch.equal(live, never)


def test_without_motion_gain_every_chunk_gets_the_noise_of_a_still_picture(toy: Toy) -> None:
    pipeline, still = toy.pipeline(), PARAMS.model_copy(update={"motion_gain": 0.0})
    state = pipeline.fresh_state()

    for chunk in chunks_of(toy.clip(17)):
        pipeline.step(state, chunk, still)
        assert state.motion.level == 0
        assert state.motion.noise_scale.item() == pytest.approx(PARAMS.noise_s_max)


def test_decks_in_the_middle_equal_the_blend_of_their_prompts(toy: Toy) -> None:
    chunks = chunks_of(toy.clip(9))
    decks = PARAMS.model_copy(update={"prompt": "toon", "prompt_b": "gold", "crossfade": 0.25})
    blend = PARAMS.model_copy(update={"prompt": "toon:3 | gold:1"})

    by_decks = play(toy.pipeline(), toy.pipeline().fresh_state(), chunks, [decks] * len(chunks))
    by_text = play(toy.pipeline(), toy.pipeline().fresh_state(), chunks, [blend] * len(chunks))

    assert torch.equal(by_decks, by_text)
