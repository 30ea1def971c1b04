"""Whatever is done to an engine, in whatever order: what is promised of every stream holds."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.gpu.wan_spec import GEOMETRY, REFERENCE_FIRST_CHUNK_FRAMES, reference_rules
from sdv2_host.params import Params
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Layout, StyledChunk
from sdv2_host.wan.tiny_weights import TinyModels
from tests.any_params import PARAMS, any_params
from tests.gpu.histories import (
    SIZE,
    Action,
    Finish,
    Player,
    Reset,
    Step,
    histories,
    pictures,
    played,
)
from tests.gpu.lora_engines import lora_engine, write_loras
from tests.gpu.marked_vae import MarkedVAE
from tests.naive_engine import NaiveEngine

QUIET = st.floats(0, 0.95)
"""Noise that leaves something of the latents."""
LIVE = [name for name, spec in PARAMS.items() if not spec.is_output]
"""What reaches an engine's pictures."""
READABLE = any_params(LIVE, noise_s_min=QUIET, noise_s_max=QUIET)
LORA = st.sampled_from(["", "ink", "oil:0.5, ink:-1", "nobody-has-this"])
FIRST = Step(Params(prompt="gold", steps=3, motion_window=64), 2, Layout.BATCH)
PROBE = [FIRST, *[FIRST._replace(num_latents=1)] * 5]
"""A session that would show what is left of one before: its first chunk has two latent frames."""


def marked_engine(models: TinyModels, layout: Layout) -> StreamEngine:
    """Its pictures say from which frame they are made."""
    dit = copy.deepcopy(models.dit)
    torch.nn.init.zeros_(dit.head.head.weight)
    torch.nn.init.zeros_(dit.head.head.bias)
    spec = tiny_spec({}, SIZE, layout=layout)
    return StreamEngine("marked", StreamModels(dit, MarkedVAE(), models.text), spec)


def numbers_in(styled: StyledChunk | None) -> list[int]:
    """Of the frames that its pictures were made from."""
    pictures = [] if styled is None else list(styled.frames)
    return [int(one[0, 0, 0]) + 256 * int(one[0, 0, 1]) for one in pictures]


def each_frame_comes_once(models: TinyModels, layout: Layout, history: list[Action]) -> None:
    engine, naive = Player(marked_engine(models, layout)), Player(NaiveEngine(layout))
    came: list[int] = []
    for action in [*history, Finish()]:
        out = numbers_in(engine.play(action))
        assert out == numbers_in(naive.play(action))
        came = [] if isinstance(action, Reset) else came + out

    assert came == list(range(engine.num_before + 1, engine.num_given + 1))


@settings(max_examples=20)
@given(st.sampled_from(Layout), histories(READABLE))
def test_each_frame_comes_out_once_in_order_when_the_layouts_say_so(
    models: TinyModels, layout: Layout, history: list[Action]
) -> None:
    each_frame_comes_once(models, layout, history)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.sampled_from(Layout), histories(READABLE, max_runs=20))
def test_each_frame_comes_out_once_in_order_for_longer(
    models: TinyModels, layout: Layout, history: list[Action]
) -> None:
    each_frame_comes_once(models, layout, history)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_loras(tmp_path_factory.mktemp("models"))


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value):
        for one in fields(value):
            yield from tensors_in(getattr(value, one.name))


def addresses(engine: StreamEngine) -> list[int]:
    """Of all memory that lives as long as the stream."""
    state = engine._state
    lasting = [state.kv, *state.vae_cache, state.motion, state.drift]
    return [tensor.data_ptr() for tensor in tensors_in(lasting)]


def memories(engine: StreamEngine) -> list[Tensor]:
    """What a new session must not see; of the cache nothing is read before it is written."""
    state = engine._state
    return list(tensors_in([state.vae_cache, state.motion, state.drift]))


def settled(engine: StreamEngine) -> None:
    """A session ended, and the LoRAs of its end are gone from the weights."""
    engine.reset()
    player = Player(engine)
    for _ in range(20):
        styled = player.play(Step(Params(prompt="neon outline")))
        if styled is not None and "lora" not in styled.spans_ms:
            engine.reset()
            return
    raise AssertionError("the LoRAs are still in the weights after 20 chunks")


def a_stream_stays_sound(
    models: TinyModels, models_dir: Path, layout: Layout, history: list[Action]
) -> None:
    engine = lora_engine(models, models_dir, layout)
    begin = addresses(engine)

    first = played(engine, history)

    for styled in first:
        assert styled.frames.dtype == np.uint8
        assert (styled.frames[..., 3] == 255).all()
        assert all(math.isfinite(note) for note in styled.notes.values())
        assert 0 <= styled.notes.get("noise_scale", 0) <= 1
        assert 0 <= styled.notes.get("motion", 0) <= 1
        assert 1 <= styled.notes.get("steps", 1) <= 4
        assert styled.notes.get("drift", 0) >= 0
        assert all(took_ms >= 0 for took_ms in styled.spans_ms.values())
    assert all(bool(torch.isfinite(one).all()) for one in tensors_in(engine._state))
    assert addresses(engine) == begin

    again = played(lora_engine(models, models_dir, layout), history)
    assert np.array_equal(pictures(first), pictures(again))
    assert [one.notes for one in first] == [one.notes for one in again]
    assert [one.problem for one in first] == [one.problem for one in again]

    fresh = played(lora_engine(models, models_dir, layout), PROBE)
    settled(engine)
    left, none = memories(engine), memories(lora_engine(models, models_dir, layout))
    assert all(torch.equal(one, other) for one, other in zip(left, none, strict=True))
    reset = played(engine, PROBE)
    assert np.array_equal(pictures(reset), pictures(fresh))
    assert [one.notes for one in reset] == [one.notes for one in fresh]


@settings(max_examples=8)
@given(st.sampled_from(Layout), histories(any_params(LIVE, lora=LORA)))
def test_a_stream_stays_finite_repeats_bit_for_bit_and_a_reset_one_equals_a_fresh_one(
    models: TinyModels, models_dir: Path, layout: Layout, history: list[Action]
) -> None:
    a_stream_stays_sound(models, models_dir, layout, history)


@pytest.mark.slow
@settings(max_examples=12)
@given(st.sampled_from(Layout), histories(any_params(LIVE, lora=LORA), max_runs=20))
def test_a_stream_stays_sound_for_longer(
    models: TinyModels, models_dir: Path, layout: Layout, history: list[Action]
) -> None:
    a_stream_stays_sound(models, models_dir, layout, history)


def reference_engine(models: TinyModels, layout: Layout) -> StreamEngine:
    """A stream with every rule as in StreamDiffusionV2."""
    spec = reference_rules(StreamSpec(*SIZE[::-1], GEOMETRY, layout))
    return StreamEngine("reference", StreamModels(*models[:3]), spec, REFERENCE_FIRST_CHUNK_FRAMES)


@settings(max_examples=6)
@given(st.sampled_from(Layout), histories(any_params(LIVE)))
def test_with_the_references_rules_nothing_is_lost_either_and_a_reset_stream_is_fresh(
    models: TinyModels, layout: Layout, history: list[Action]
) -> None:
    engine = reference_engine(models, layout)
    player, naive = (Player(one, is_reference=True) for one in (engine, NaiveEngine(layout)))

    for action in [*history, Finish()]:
        styled, expected = player.play(action), naive.play(action)
        num_frames = [0 if one is None else len(one.frames) for one in (styled, expected)]
        assert num_frames[0] == num_frames[1]
        assert all(bool(torch.isfinite(one).all()) for one in tensors_in(engine._state))

    engine.reset()
    reset, fresh = (
        played(one, PROBE, is_reference=True) for one in (engine, reference_engine(models, layout))
    )
    assert np.array_equal(pictures(reset), pictures(fresh))


OF_THE_CHUNK = [name for name in LIVE if not name.startswith(("sink", "lora", "drift"))]
"""A chunk is made with these as they were when it came; sinks and drift follow at once."""


def layouts_show_the_same(models: TinyModels, history: list[Action]) -> None:
    serial = [
        one._replace(layout=Layout.SERIAL, order=None) if isinstance(one, Step) else one
        for one in history
    ]
    mixed = [one._replace(order=None) if isinstance(one, Step) else one for one in history]
    parts = [[one for one in actions if not isinstance(one, Reset)] for actions in (serial, mixed)]

    expected, got = (
        pictures(played(tiny_engine(models, tiny_spec({}, SIZE)), [*part, Finish()]))
        for part in parts
    )

    # Forwards of one and of more rows round differently, by a level at most.
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= 1


@settings(max_examples=8)
@given(histories(any_params(OF_THE_CHUNK)))
def test_whatever_layout_each_chunk_has_the_pictures_are_those_of_serial_steps(
    models: TinyModels, history: list[Action]
) -> None:
    layouts_show_the_same(models, [Step(Params()), *history])


@pytest.mark.slow
@settings(max_examples=12)
@given(histories(any_params(OF_THE_CHUNK), max_runs=20))
def test_the_pictures_are_those_of_serial_steps_for_longer(
    models: TinyModels, history: list[Action]
) -> None:
    layouts_show_the_same(models, [Step(Params()), *history])
