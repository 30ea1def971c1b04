"""A stream whose numbers are not finite any more shows nothing of it and begins anew."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.gpu.chunk_work import Finished, Told, sums
from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.graphs import GraphedCalls, Recorders
from sdv2_host.gpu.number_guard import CALM_CHUNKS, MAX_IN_A_ROW, NumberGuard
from sdv2_host.gpu.overlap import Overlap
from sdv2_host.gpu.tiny_engine import tiny_spec
from sdv2_host.look_orders import LookOrder
from sdv2_host.params import Params
from sdv2_host.stream.model_calls import EagerCalls
from sdv2_host.stream.state import StreamState
from sdv2_host.types import Frame, FrameMeta, Layout, StyledChunk
from sdv2_host.wan.tiny_weights import TinyModels
from tests.gpu.histories import SIZE, picture_of, pictures
from tests.gpu.played_ops import PlayedOps

PARAMS = Params(prompt="neon outline", steps=3, seed=5)
NUM_BEFORE = 5
NAN = math.nan


class Way(NamedTuple):
    """How an engine computes."""

    layout: Layout = Layout.SERIAL
    overlap: Overlap = "off"
    is_recorded: bool = False


WAYS = {
    "serial": Way(),
    "batch": Way(Layout.BATCH),
    "overlapped": Way(overlap="on"),
    "overlapped batch": Way(Layout.BATCH, "on"),
    "recorded": Way(is_recorded=True),
}


def engine_of(models: TinyModels, way: Way = WAYS["serial"]) -> StreamEngine:
    """Warm, with weights of its own."""
    dit = copy.deepcopy(models.dit)
    calls = EagerCalls(dit, models.vae)
    played = GraphedCalls(calls, Recorders(*(PlayedOps(),) * 3)) if way.is_recorded else calls
    loaded = StreamModels(dit, models.vae, models.text, calls=played)
    engine = StreamEngine(
        "toy", loaded, tiny_spec({}, SIZE, layout=way.layout), overlap=way.overlap
    )
    if isinstance(played, GraphedCalls):
        with played.preparing():
            for _ in range(2):
                session(engine)
                engine.reset()
        assert played.num_recorded
    engine._guard.warmed()
    return engine


def keys(state: StreamState) -> list[Tensor]:
    return [state.kv.k_RSHD[-1][:, 1]]  # type: ignore[attr-defined]


def values(state: StreamState) -> list[Tensor]:
    return [state.kv.v_RSHD[0][..., 0]]  # type: ignore[attr-defined]


def prompts(state: StreamState) -> list[Tensor]:
    return [part for kv in state.texts.entries["neon outline"] for part in kv]


FAULTS: dict[str, tuple[Callable[[StreamState], list[Tensor]], float]] = {
    "keys": (keys, NAN),
    "values": (values, math.inf),
    "encoder memory": (lambda state: state.vae_cache.encoder, NAN),
    "decoder memory": (lambda state: state.vae_cache.decoder, NAN),
    "motion": (lambda state: [state.motion.noise_scale], -math.inf),
    "prompts": (prompts, NAN),
}


@torch.inference_mode()
def break_(engine: StreamEngine, fault: str) -> None:
    """Nothing is on its way, and what the engine remembers of that kind is not finite."""
    tensors, number = FAULTS[fault]
    for tensor in tensors(engine._state):
        tensor.fill_(number)


def chunks(count: int, first: int = 0) -> list[list[Frame]]:
    """Of a session from its beginning, or from a later chunk on."""
    numbers = [range(1)] + [
        range(4 * index - 3, 4 * index + 1) for index in range(1, first + count)
    ]
    return [
        [Frame(FrameMeta(*SIZE), picture_of(number)) for number in chunk]
        for chunk in numbers[first : first + count]
    ]


def session(engine: StreamEngine, params: Params = PARAMS) -> NDArray[np.uint8]:
    styled = [engine.step(chunk, params) for chunk in chunks(NUM_BEFORE)]
    return pictures([*styled, engine.finish()])


@pytest.fixture(scope="module")
def whole(models: TinyModels) -> NDArray[np.uint8]:
    """A session that nothing happens to: neither layout, overlap nor recording makes another."""
    return session(engine_of(models))


def until_told(engine: StreamEngine, params: Params = PARAMS) -> list[StyledChunk]:
    """What comes from a session in its middle, up to where it ends."""
    styled: list[StyledChunk] = []
    for chunk in chunks(8, first=NUM_BEFORE):
        styled += [engine.step(chunk, params), engine.collect()]
        if any(one.ends_session for one in styled):
            return styled
    raise AssertionError("the session goes on")


CASES = [
    *((fault, way) for fault in FAULTS for way in ("serial", "overlapped batch")),
    *(("values", way) for way in ("batch", "overlapped", "recorded")),
    ("encoder memory", "batch"),
]


@pytest.mark.parametrize(("fault", "way"), CASES)
def test_what_is_broken_is_not_shown_and_the_next_session_is_fresh(
    models: TinyModels, whole: NDArray[np.uint8], fault: str, way: str
) -> None:
    engine = engine_of(models, WAYS[way])
    shown = [engine.step(chunk, PARAMS) for chunk in chunks(NUM_BEFORE)]
    shown += [engine.finish()]

    break_(engine, fault)
    shown += until_told(engine)

    out = pictures(shown)
    assert np.array_equal(out, whole)
    told = engine.step(chunks(1)[0], PARAMS).problem
    assert "came out as numbers that are not finite (NaN)" in told
    assert "began anew, 1 of 3 times in a row" in told
    engine.reset()
    assert np.array_equal(session(engine), whole)


def test_all_rows_of_a_batch_are_dropped_with_the_one_that_is_broken(models: TinyModels) -> None:
    engine = engine_of(models, WAYS["batch"])
    for chunk in chunks(NUM_BEFORE):
        engine.step(chunk, PARAMS)

    break_(engine, "decoder memory")
    styled = engine.finish()

    assert styled.ends_session
    assert len(styled.frames) == 0
    assert len(engine.finish().frames) == 0
    assert len(engine.step(chunks(1)[0], PARAMS).frames) == 1


@pytest.mark.parametrize("way", ["serial", "overlapped"])
def test_a_broken_stream_is_no_look_and_what_was_asked_for_is_done_once_it_is_well(
    models: TinyModels, way: str
) -> None:
    engine = engine_of(models, WAYS[way])
    for chunk in chunks(NUM_BEFORE):
        engine.step(chunk, PARAMS)
    engine.finish()
    order = LookOrder(serial=1, verb="save", name="a")
    params = PARAMS.model_copy(update={"looks": (order,)})

    break_(engine, "values")
    engine.step(chunks(1, first=NUM_BEFORE)[0], PARAMS)
    broken = until_told(engine, params) if way == "overlapped" else []
    well = [engine.step(chunk, params) for chunk in chunks(3)]

    assert [one.looks for one in broken if one.ends_session] in ([], [()])
    assert well[-1].looks == ("a",)
    state = engine._looks._looks["a"]
    assert all(torch.isfinite(tensor).all() for tensor in state.vae_cache.decoder)


def test_weights_that_stay_broken_end_the_engine_after_some_tries(models: TinyModels) -> None:
    engine = engine_of(models)
    engine.step(chunks(1)[0], PARAMS)
    engine.reset()

    engine.pipeline._dit.blocks[1].ffn[0].weight.fill_(NAN)
    ends = [engine.step(chunks(1)[0], PARAMS).ends_session for _ in range(MAX_IN_A_ROW)]
    with pytest.raises(ModelError, match=r"toy: chunk 0 .* after beginning anew 3 times"):
        engine.step(chunks(1)[0], PARAMS)

    assert all(ends)


def test_a_model_that_is_broken_from_the_start_is_refused_at_the_first_picture(
    models: TinyModels,
) -> None:
    engine = engine_of(models)
    cold = StreamEngine(
        "cold", StreamModels(engine.pipeline._dit, models.vae, models.text), tiny_spec({}, SIZE)
    )
    engine.pipeline._dit.blocks[0].ffn[0].weight.fill_(NAN)

    with pytest.raises(ModelError, match=r"cold: chunk 0 .* while it was warmed up"):
        cold.warm_up(PARAMS, lambda _text, _fraction: None)


def finished(is_sound: bool, lora: str = "") -> Finished:
    told = Told(7, Params(lora=lora), 0, np.zeros(2, np.float32), None)
    return Finished(is_sound, np.zeros((4, 2, 2, 4), np.uint8), told, {})


def test_a_fault_after_a_calm_is_no_repetition_and_is_not_talked_about_for_ever() -> None:
    guard = NumberGuard("toy")
    guard.warmed()

    problems = []
    for _ in range(3 * MAX_IN_A_ROW):
        assert guard.sift([finished(True), finished(False), finished(True)]).is_broken
        problems.append(guard.problem)
        assert len(guard.sift([finished(True)] * CALM_CHUNKS).sound) == CALM_CHUNKS
        problems.append(guard.problem)

    assert len(set(problems)) == 2
    assert problems[1] == ""
    assert "1 of 3 times in a row" in problems[0]


def test_the_loras_in_use_are_named() -> None:
    guard = NumberGuard("toy")
    guard.warmed()

    guard.sift([finished(True), finished(False, "ink:0.5")])

    assert guard.problem.endswith("; LoRAs in use: ink:0.5, try without")


NUMBERS = st.one_of(
    st.floats(-7e4, 7e4, width=32), st.sampled_from([NAN, math.inf, -math.inf, 3e38, -3e38])
)
SOME = st.lists(NUMBERS, min_size=1, max_size=6)


@given(st.lists(SOME, max_size=3), SOME)
def test_sums_are_finite_where_all_numbers_are(
    latents: list[list[float]], picture: list[float]
) -> None:
    done = [_Clean(torch.tensor(one)) for one in latents]
    # Two numbers near the end of float32 may add up to none: that is as broken.
    sums_2 = torch.cat(sums(done, torch.tensor(picture)))  # type: ignore[arg-type]

    numbers = [*picture, *itertools.chain.from_iterable(latents)]
    is_finite = all(math.isfinite(number) for number in numbers)
    is_small = all(abs(number) < 1e30 for number in numbers)
    assert bool(torch.isfinite(sums_2).all()) in ({is_finite} if is_small else {is_finite, False})


class _Clean(NamedTuple):
    x_BFCHW: Tensor
