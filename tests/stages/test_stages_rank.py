"""Ring and chain are one device: the same pictures whatever the places, lanes and moves are."""

from __future__ import annotations

import json
import weakref
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sdv2_host.stages.leaf_header import PacketError
from sdv2_host.stages.local_transport import local_transports
from sdv2_host.stages.packet import Leaf, Token
from sdv2_host.stages.place_kv import PlaceKV
from sdv2_host.stages.rank import Rank
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route
from sdv2_host.types import Layout
from tests.stages.places import (
    NUM_BLOCKS,
    Stream,
    WholeModels,
    in_chunks,
    play,
    single,
    toy_clip,
    toy_models,
    toy_spec,
)
from tests.toys import PARAMS, changing_params

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def models() -> WholeModels:
    return toy_models()


def assert_alike(got: np.ndarray, expected: np.ndarray) -> None:
    """Within a rounding of 8 bits, and nearly everywhere the same."""
    assert got.shape == expected.shape
    differ = np.abs(got.astype(int) - expected.astype(int))
    assert differ.max() <= 1
    assert (differ > 0).mean() < 1e-3


@pytest.mark.parametrize("num_steps", [1, 2, 4])
@pytest.mark.parametrize("num_places", [1, 2, 3, 4])
def test_a_chain_gives_the_bits_of_one_device(
    models: WholeModels, num_places: int, num_steps: int
) -> None:
    chunks = in_chunks(toy_clip(41))
    params = [PARAMS.model_copy(update={"steps": num_steps})] * len(chunks)
    plan = RoutePlan.even(Route.CHAIN, num_steps, NUM_BLOCKS, num_places)

    got = play(Stream(plan, toy_spec(), models), chunks, params)

    assert np.array_equal(got, single(models, toy_spec(), chunks, params, Layout.SERIAL))


@pytest.mark.parametrize("num_steps", [1, 2, 4])
@pytest.mark.parametrize("num_places", [1, 2, 3, 4])
def test_a_ring_of_one_lane_gives_the_bits_of_a_stream_batch(
    models: WholeModels, num_places: int, num_steps: int
) -> None:
    chunks = in_chunks(toy_clip(41))
    params = [PARAMS.model_copy(update={"steps": num_steps})] * len(chunks)
    plan = RoutePlan.even(Route.RING, num_steps, NUM_BLOCKS, num_places)

    got = play(Stream(plan, toy_spec(), models, num_lanes=1), chunks, params)

    assert np.array_equal(got, single(models, toy_spec(), chunks, params, Layout.BATCH))


@pytest.mark.parametrize("num_steps", [2, 4])
@pytest.mark.parametrize("num_places", [2, 3, 4])
def test_a_ring_gives_the_bits_of_its_calls_on_one_device(
    models: WholeModels, num_places: int, num_steps: int
) -> None:
    """With lanes, rows of other chunks share a call than in a stream batch: the oracle makes the
    same calls at one place."""
    chunks = in_chunks(toy_clip(41))
    params = [PARAMS.model_copy(update={"steps": num_steps})] * len(chunks)
    one, several = (
        RoutePlan.even(Route.RING, num_steps, NUM_BLOCKS, count) for count in (1, num_places)
    )

    expected = play(Stream(one, toy_spec(), models, num_lanes=num_places), chunks, params)
    got = play(Stream(several, toy_spec(), models, num_lanes=num_places), chunks, params)

    assert np.array_equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("route", list(Route))
def test_the_bits_are_those_of_one_device_in_every_dtype(route: Route, dtype: torch.dtype) -> None:
    models = toy_models()
    for module in (models.dit, models.vae, models.text):
        module.to(dtype)
    chunks = in_chunks(toy_clip(41))
    spec = toy_spec(dtype=dtype)
    plan = RoutePlan.even(route, 2, NUM_BLOCKS, 3)

    got = play(Stream(plan, spec, models, num_lanes=1), chunks, [PARAMS] * len(chunks))

    layout = Layout.BATCH if route is Route.RING else Layout.SERIAL
    assert np.array_equal(got, single(models, spec, chunks, [PARAMS] * len(chunks), layout))


@pytest.mark.parametrize("num_lanes", [2, 4, 7])
def test_a_ring_gives_the_pictures_of_one_device_whatever_the_lanes(
    models: WholeModels, num_lanes: int
) -> None:
    chunks = in_chunks(toy_clip(61))
    params = [PARAMS.model_copy(update={"steps": 3})] * len(chunks)
    plan = RoutePlan.even(Route.RING, 3, NUM_BLOCKS, 3)

    got = play(Stream(plan, toy_spec(), models, num_lanes), chunks, params)

    assert_alike(got, single(models, toy_spec(), chunks, params))


@pytest.mark.parametrize("route", list(Route))
def test_steps_prompts_seeds_and_noise_change_without_a_drain(
    models: WholeModels, route: Route
) -> None:
    chunks = in_chunks(toy_clip(161))
    params = changing_params(len(chunks))
    spec = toy_spec(sink_threshold=0.9)
    plan = RoutePlan.even(route, 2, NUM_BLOCKS, 3)

    got = play(Stream(plan, spec, models), chunks, params)

    assert_alike(got, single(models, spec, chunks, params))


@pytest.mark.parametrize("route", list(Route))
def test_a_cut_that_sees_the_past_anew_is_that_of_one_device(
    models: WholeModels, route: Route
) -> None:
    chunks = in_chunks(toy_clip(81))
    cuts = {"recache": "window", "recache_frames": 3}
    params = [one.model_copy(update=cuts) for one in changing_params(len(chunks))]
    plan = RoutePlan.even(route, 2, NUM_BLOCKS, 2)

    got = play(Stream(plan, toy_spec(), models), chunks, params)

    assert_alike(got, single(models, toy_spec(), chunks, params))


@pytest.mark.parametrize("route", list(Route))
def test_a_stream_that_begins_anew_on_fewer_ranks_is_a_fresh_one(
    models: WholeModels, route: Route
) -> None:
    chunks = in_chunks(toy_clip(41))
    params = [PARAMS] * len(chunks)
    stream = Stream(RoutePlan.even(route, 2, NUM_BLOCKS, 4), toy_spec(), models, num_lanes=1)
    play(stream, chunks, params)

    stream.begin(2, RoutePlan.even(route, 2, NUM_BLOCKS, 3), num_lanes=1)
    late = Token(1, b"of an epoch that is over")
    stream.ranks[1].take(late)
    got = play(stream, chunks[:6], params[:6])

    layout = Layout.BATCH if route is Route.RING else Layout.SERIAL
    assert np.array_equal(got, single(models, toy_spec(), chunks[:6], params[:6], layout))


class StillThere(TorchDispatchMode):
    """Which of some things are there while tensors are made."""

    def __init__(self, things: Sequence[object]) -> None:
        super().__init__()
        self._refs = [weakref.ref(thing) for thing in things]
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.seen |= {type(thing).__name__ for ref in self._refs if (thing := ref()) is not None}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("route", list(Route))
def test_a_new_epoch_takes_memory_when_the_one_before_has_given_its_own_back(
    models: WholeModels, route: Route
) -> None:
    rank = Rank(models, toy_spec(), print)
    rank.begin(1, 0, RoutePlan.even(route, 2, NUM_BLOCKS, 1), num_lanes=1)
    old = StillThere([rank._place.kv, rank._entry, rank._exit])

    with old:
        rank.begin(2, 0, RoutePlan.even(route, 2, NUM_BLOCKS, 1), num_lanes=1)

    assert old.seen == set()


def test_a_chunk_that_is_done_frees_its_lane_though_its_prompt_is_forgotten(
    models: WholeModels,
) -> None:
    plan = RoutePlan.even(Route.RING, 1, NUM_BLOCKS, 2)
    params = PARAMS.model_copy(update={"steps": 1})
    entry, last = (Rank(models, toy_spec(), lambda pictures: None) for _ in range(2))
    returned: list[Leaf | Token] = []
    transports = local_transports(2, Route.RING, [returned.append, last.take])
    for place, rank in enumerate((entry, last)):
        rank.begin(1, place, plan, num_lanes=1)
        rank.attach(transports[place])
        for text_id in (0, 1):
            rank.add_text(text_id, models.text.encode(params.prompt))
    for text_id, frames in enumerate(in_chunks(toy_clip(5))):
        entry.take_frames(frames, params, text_id)
    num_waiting = entry.num_waiting

    entry.keep_texts({1})
    entry.take(returned.pop())

    assert (num_waiting, entry.num_waiting) == (1, 0)


def test_a_prompt_may_come_before_the_first_epoch(models: WholeModels) -> None:
    rank = Rank(models, toy_spec(), print)

    rank.add_text(0, models.text.encode("neon outline"))
    rank.begin(1, 0, RoutePlan.even(Route.CHAIN, 2, NUM_BLOCKS, 2), num_lanes=1)
    sent: list[Leaf | Token] = []
    rank.attach(local_transports(2, Route.CHAIN, [print, sent.append])[0])
    rank.take_frames(toy_clip(1), PARAMS, 0)

    assert len(sent) == 1


CHAIN = RoutePlan.even(Route.CHAIN, 2, NUM_BLOCKS, 3)
FOREIGN = {
    "another route": RoutePlan.even(Route.RING, 2, NUM_BLOCKS, 3),
    "more places": RoutePlan.even(Route.CHAIN, 2, NUM_BLOCKS, 4),
    "more blocks": RoutePlan.even(Route.CHAIN, 2, NUM_BLOCKS + 1, 3),
    "more steps than there are rows": CHAIN.with_steps(3),
}
BODIES = {name: json.dumps(plan.to_json()).encode() for name, plan in FOREIGN.items()}
BODIES |= {"no JSON": b"\xff", "a list": b"[1]", "very deep": b"[" * 100_000, "nothing": b"null"}


@pytest.mark.parametrize("name", BODIES)
def test_a_token_that_is_no_plan_of_the_route_is_refused_and_not_passed_on(
    models: WholeModels, name: str
) -> None:
    rank = Rank(models, toy_spec(timesteps=(700, 500)), print)
    rank.begin(1, 1, CHAIN, num_lanes=1)
    passed_on: list[Leaf | Token] = []
    rank.attach(local_transports(3, Route.CHAIN, [passed_on.append] * 3)[1])

    with pytest.raises(PacketError):
        rank.take(Token(1, BODIES[name]))

    assert passed_on == []
    assert rank.plan == CHAIN


def re_balances(route: Route, num_steps: int, num_places: int) -> dict[int, RoutePlan]:
    """Three, with moves over several places, and places that have nothing before or after."""
    total = NUM_BLOCKS * (num_steps if route is Route.CHAIN else 1)
    inner = [
        [0] * (num_places - 1),
        [total] * (num_places - 1),
        [total * place // num_places for place in range(1, num_places)],
    ]
    plans = [RoutePlan(route, num_steps, NUM_BLOCKS, (0, *cuts, total)) for cuts in inner]
    return dict(zip((3, 5, 8), plans, strict=True))


@pytest.mark.parametrize("num_steps", [1, 2, 4])
@pytest.mark.parametrize("num_places", [2, 3, 4])
@pytest.mark.parametrize("route", list(Route))
def test_three_re_balances_change_no_picture(
    models: WholeModels, route: Route, num_places: int, num_steps: int
) -> None:
    chunks = in_chunks(toy_clip(41))
    params = [PARAMS.model_copy(update={"steps": num_steps})] * len(chunks)
    plan = RoutePlan.even(route, num_steps, NUM_BLOCKS, num_places)
    plans = re_balances(route, num_steps, num_places)
    lanes = 1 if route is Route.RING else 0

    got = play(Stream(plan, toy_spec(), models, lanes), chunks, params, plans)

    layout = Layout.BATCH if route is Route.RING else Layout.SERIAL
    assert np.array_equal(got, single(models, toy_spec(), chunks, params, layout))


@pytest.mark.parametrize("route", list(Route))
def test_a_move_that_forgets_the_ring_indices_shows(
    models: WholeModels, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlaceKV, "_take_indices", lambda *_: None)
    chunks = in_chunks(toy_clip(61))
    params = [PARAMS] * len(chunks)
    plan = RoutePlan.even(route, 2, NUM_BLOCKS, 3)
    plans = re_balances(route, 2, 3)

    got = play(Stream(plan, toy_spec(), models), chunks, params, plans)

    assert not np.array_equal(got, single(models, toy_spec(), chunks, params))


@given(
    route=st.sampled_from(list(Route)),
    num_places=st.integers(1, 4),
    num_lanes=st.integers(1, 5),
    what=st.lists(
        st.tuples(
            st.integers(1, 4),
            st.sampled_from(["neon outline", "watercolor"]),
            st.sampled_from(["off", "sinks", "window"]),
            st.integers(1, 3),
            st.none() | st.lists(st.integers(0, 4 * NUM_BLOCKS), min_size=3, max_size=3),
        ),
        min_size=1,
        max_size=8,
    ),
)
@settings(max_examples=25, deadline=None)
def test_any_sequence_of_changes_and_moves_gives_the_pictures_of_one_device(
    models: WholeModels,
    route: Route,
    num_places: int,
    num_lanes: int,
    what: list[tuple[int, str, str, int, list[int] | None]],
) -> None:
    lengths = [1, *(4 * num_latents for _, _, _, num_latents, _ in what)]
    frames = toy_clip(sum(lengths))
    ends = np.cumsum([0, *lengths])
    chunks = [frames[begin:end] for begin, end in pairwise(ends)]
    params, plans = [PARAMS], {}
    for index, (steps, prompt, recache, _, cuts) in enumerate(what, 1):
        changes = {"steps": steps, "prompt": prompt, "recache": recache, "seed": index}
        params.append(PARAMS.model_copy(update=changes))
        if cuts is not None:
            before = params[-2].steps
            total = NUM_BLOCKS * (before if route is Route.CHAIN else 1)
            inner = sorted(min(cut, total) for cut in cuts[: num_places - 1])
            plans[index] = RoutePlan(route, before, NUM_BLOCKS, (0, *inner, total))
    plan = RoutePlan.even(route, PARAMS.steps, NUM_BLOCKS, num_places)

    got = play(Stream(plan, toy_spec(), models, num_lanes), chunks, params, plans)

    assert_alike(got, single(models, toy_spec(), chunks, params))
