from __future__ import annotations

import numpy as np
import pytest

from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.tiny_engine import Past, build_tiny_engine, tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.types import Engine, Frame, FrameMeta, Layout, Size
from sdv2_host.wan.tiny_weights import TinyModels

SIZE = Size(64, 48)
PARAMS = Params(prompt="neon outline")


def engine_of(models: TinyModels, layout: Layout = Layout.SERIAL) -> StreamEngine:
    return tiny_engine(models, tiny_spec({}, SIZE, layout=layout))


def clip(num_chunks: int, seed: int = 0) -> list[list[Frame]]:
    """The first chunk of one frame, then chunks of four, 80x50 px."""
    random = np.random.default_rng(seed)
    meta = FrameMeta(80, 50)
    return [
        [Frame(meta, random.integers(0, 256, (50, 80, 4), dtype=np.uint8)) for _ in range(count)]
        for count in [1] + [4] * (num_chunks - 1)
    ]


def play(engine: Engine, chunks: list[list[Frame]], params: Params = PARAMS) -> np.ndarray:
    return np.concatenate([engine.step(chunk, params).frames for chunk in chunks])


def test_frames_out_equal_frames_in(models: TinyModels) -> None:
    engine: Engine = engine_of(models)

    counts = [engine.step(chunk, PARAMS).frames.shape for chunk in clip(4)]

    assert counts == [(1, 48, 64, 4), (4, 48, 64, 4), (4, 48, 64, 4), (4, 48, 64, 4)]
    assert engine.first_chunk_frames == 1
    assert engine.chunk_frames == 4
    assert engine.size == SIZE


def test_a_reset_engine_equals_a_new_one(models: TinyModels) -> None:
    engine = engine_of(models)
    play(engine, clip(7, seed=1))

    engine.reset()

    assert np.array_equal(play(engine, clip(9)), play(engine_of(models), clip(9)))


def test_warm_up_leaves_no_trace_and_tells_its_progress(models: TinyModels) -> None:
    engine = engine_of(models)
    told: list[float] = []

    engine.warm_up(PARAMS, lambda _, fraction: told.append(fraction))

    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    assert np.array_equal(play(engine, clip(5)), play(engine_of(models), clip(5)))


def test_equal_settings_give_equal_bytes_and_another_seed_does_not(models: TinyModels) -> None:
    first = play(engine_of(models), clip(6))

    again = play(engine_of(models), clip(6))
    other = play(engine_of(models), clip(6), Params(prompt="neon outline", seed=5))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_step_names_its_spans_and_decisions(models: TinyModels) -> None:
    engine = engine_of(models)

    styled = [engine.step(chunk, PARAMS) for chunk in clip(3)][-1]

    assert list(styled.spans_ms) == ["upload", "encode", "denoise", "decode", "download"]
    assert styled.notes["chunk"] == 2
    assert PARAMS.noise_s_min <= styled.notes["noise_scale"] <= PARAMS.noise_s_max
    assert 0 <= styled.notes["motion"] <= 1


def test_stream_batch_hands_out_nothing_while_it_fills(models: TinyModels) -> None:
    engine = engine_of(models, Layout.BATCH)

    counts = [len(engine.step(chunk, PARAMS).frames) for chunk in clip(4)]

    assert counts == [1, 0, 4, 4]


def test_a_batch_gives_out_what_it_owes_when_asked_and_goes_on(models: TinyModels) -> None:
    chunks = clip(5)
    serial, batch = engine_of(models), engine_of(models, Layout.BATCH)
    expected = play(serial, chunks)

    pictures = [batch.step(chunk, PARAMS).frames for chunk in chunks[:3]]
    pictures.append(batch.finish().frames)
    pictures += [batch.step(chunk, PARAMS).frames for chunk in chunks[3:]]
    pictures.append(batch.finish().frames)

    assert [len(one) for one in pictures] == [1, 0, 4, 4, 0, 4, 4]
    # Forwards of one and of two rows round differently, by a level at most.
    got = np.concatenate(pictures).astype(int)
    assert np.abs(got - expected).max() <= 1
    assert len(serial.finish().frames) == 0


def test_the_past_is_sinks_and_window_the_window_alone_or_a_longer_window() -> None:
    card = {"num_sinks": 2, "window": 3}

    geometries = [tiny_spec(card, SIZE, past=past).geometry for past in Past]

    assert geometries == [(2, 3), (0, 3), (0, 5)]


def test_the_embedded_model_runs() -> None:
    engine = build_tiny_engine(SIZE, threads=1)

    assert play(engine, clip(3)).shape == (9, 48, 64, 4)


def test_camera_grain_counts_less_on_latents_than_on_pixels() -> None:
    random = np.random.default_rng(0)
    still = random.integers(40, 200, (6, 8, 4)).repeat(8, axis=0).repeat(8, axis=1)
    grainy = [still + random.normal(0, 6, still.shape) for _ in range(9)]
    frames = [Frame(FrameMeta(64, 48), pixels.astype(np.uint8)) for pixels in grainy]
    engine = build_tiny_engine(SIZE, threads=1)
    levels = {}

    for metric in ("pixels", "latents"):
        engine.reset()
        params = PARAMS.model_copy(update={"motion_metric": metric})
        chunks = [frames[:1], frames[1:5], frames[5:]]
        levels[metric] = [engine.step(chunk, params).notes["motion"] for chunk in chunks][-1]

    assert 0.2 < levels["pixels"] < 1
    assert levels["latents"] < levels["pixels"] / 2
