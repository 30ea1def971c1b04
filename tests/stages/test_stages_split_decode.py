"""Decoded in bands by the last places, a ring and a chain are still one device."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.stages.exit import Exit
from sdv2_host.stages.leaf_header import PacketError
from sdv2_host.stages.picture_bands import BandOfPictures, PictureBands
from sdv2_host.stages.rank import Rank
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route
from sdv2_host.types import Layout
from sdv2_host.wan.bands import Rows, even_bands
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
from tests.toys import PARAMS

LAYOUTS = {Route.RING: Layout.BATCH, Route.CHAIN: Layout.SERIAL}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def models() -> WholeModels:
    return toy_models()


def split_plan(route: Route, num_steps: int, num_places: int, num_decoders: int) -> RoutePlan:
    """Even over all places up to the first that decodes."""
    even = RoutePlan.even(route, num_steps, NUM_BLOCKS, num_places - num_decoders + 1)
    cuts = (*even.cuts, *[even.num_items] * (num_decoders - 1))
    return RoutePlan(route, num_steps, NUM_BLOCKS, cuts, num_decoders)


def lanes_of(route: Route) -> int:
    """With which a ring gives the bits of a stream batch."""
    return 1 if route is Route.RING else 0


@pytest.mark.parametrize(("num_places", "num_decoders"), [(2, 2), (3, 2), (3, 3), (4, 3)])
@pytest.mark.parametrize("route", list(Route))
def test_bands_of_several_places_are_the_pictures_of_one_device(
    models: WholeModels, route: Route, num_places: int, num_decoders: int
) -> None:
    chunks = in_chunks(toy_clip(41))
    params = [PARAMS] * len(chunks)
    plan = split_plan(route, 2, num_places, num_decoders)

    got = play(Stream(plan, toy_spec(), models, lanes_of(route)), chunks, params)

    assert np.array_equal(got, single(models, toy_spec(), chunks, params, LAYOUTS[route]))


@pytest.mark.parametrize("num_decoders", [1, 2, 3])
@pytest.mark.parametrize("route", list(Route))
def test_bands_go_on_through_re_balances(
    models: WholeModels, route: Route, num_decoders: int
) -> None:
    chunks = in_chunks(toy_clip(61))
    params = [PARAMS] * len(chunks)
    plan = split_plan(route, 2, 4, num_decoders)
    total, behind = plan.num_items, [plan.num_items] * num_decoders
    plans = {
        call: RoutePlan(
            route, 2, NUM_BLOCKS, (0, *inner[: 4 - num_decoders], *behind), num_decoders
        )
        for call, inner in ((3, [0, 0, 0]), (5, [total] * 3), (8, [1, 2, 3]))
    }

    got = play(Stream(plan, toy_spec(), models, lanes_of(route)), chunks, params, plans)

    assert np.array_equal(got, single(models, toy_spec(), chunks, params, LAYOUTS[route]))


def test_changes_of_steps_and_prompts_and_cuts_that_see_the_past_reach_every_band(
    models: WholeModels,
) -> None:
    chunks = in_chunks(toy_clip(81))
    params = [
        PARAMS.model_copy(
            update={
                "steps": (2, 4, 1, 3)[index // 3 % 4],
                "prompt": ("neon outline", "watercolor")[index // 5 % 2],
                "recache": "window",
                "recache_frames": 3,
            }
        )
        for index in range(len(chunks))
    ]

    got = play(Stream(split_plan(Route.CHAIN, 2, 3, 2), toy_spec(), models), chunks, params)

    assert np.array_equal(got, single(models, toy_spec(), chunks, params))


def test_a_decoder_that_forgets_a_chunk_shows_in_its_band_alone(
    models: WholeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Exit._show

    def forgetful(self: Exit, chunk: object) -> None:
        before = [memory.clone() for memory in self._band.memories]
        show(self, chunk)  # type: ignore[arg-type]
        if self._rows.first > 0 and chunk.index == 3:  # type: ignore[attr-defined]
            self._band = self._band._replace(memories=before)

    chunks = in_chunks(toy_clip(41))
    params = [PARAMS] * len(chunks)
    monkeypatch.setattr(Exit, "_show", forgetful)

    got = play(Stream(split_plan(Route.CHAIN, 2, 3, 2), toy_spec(), models), chunks, params)

    expected = single(models, toy_spec(), chunks, params)
    assert np.array_equal(got[:, :16], expected[:, :16])
    assert not np.array_equal(got[:, 16:], expected[:, 16:])


def test_more_decoders_than_rows_of_latents_are_refused(models: WholeModels) -> None:
    rank = Rank(models, toy_spec(), lambda pictures: None)
    plan = split_plan(Route.CHAIN, 2, 5, 5)

    with pytest.raises(ValueError, match="5 decoders for pictures 32 pixels high"):
        rank.begin(1, 4, plan, 1)


def test_a_re_balance_cannot_change_the_number_of_decoders(models: WholeModels) -> None:
    rank = Rank(models, toy_spec(), lambda pictures: None)
    rank.begin(1, 0, RoutePlan.even(Route.CHAIN, 2, NUM_BLOCKS, 1), 1)
    other = split_plan(Route.CHAIN, 2, 2, 2)

    with pytest.raises(PacketError, match="num_decoders=2"):
        rank.rebalance(other)


@pytest.mark.parametrize(
    ("cuts", "num_decoders", "said"),
    [
        ((0, 3, 5), 0, "0 decoders: expected 1 to 2"),
        ((0, 3, 5), 3, "3 decoders: expected 1 to 2"),
        ((0, 3, 5), 2, "no block behind the first of them"),
        ((0, 2, 4, 5), 2, "no block behind the first of them"),
    ],
)
def test_what_comes_by_a_decoder_must_have_passed_every_block(
    cuts: tuple[int, ...], num_decoders: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        RoutePlan(Route.RING, 2, 5, cuts, num_decoders)


@pytest.mark.parametrize("route", list(Route))
def test_a_plan_keeps_its_decoders_on_the_way_and_with_other_steps(route: Route) -> None:
    plan = split_plan(route, 2, 4, 3)

    assert RoutePlan.from_json(plan.to_json()) == plan
    assert plan.with_steps(4).num_decoders == 3
    assert [plan.band(place) for place in range(4)] == [None, 0, 1, 2]


def band_of(index: int, rows: Rows) -> BandOfPictures:
    pixels = np.full((4, rows.num, 2, 4), index, np.uint8)
    pixels[..., 0] = np.arange(*rows)[:, None]
    return BandOfPictures(index, rows, pixels, {f"from {rows.first}": float(index)})


@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_bands_become_whole_pictures_in_order_whatever_comes_first(
    num_bands: int, num_chunks: int, data: st.DataObject
) -> None:
    rows = even_bands(64, num_bands)
    senders = [which for which in range(num_bands) for _ in range(num_chunks)]
    bands = PictureBands(rows)
    sent, came = [0] * num_bands, []

    for which in data.draw(st.permutations(senders)):
        whole = bands.add(band_of(sent[which], rows[which]))
        sent[which] += 1
        assert (whole is not None) == (min(sent) > len(came))
        came += [whole] if whole is not None else []

    assert [whole.index for whole in came] == list(range(num_chunks))
    for whole in came:
        assert whole.rows == Rows(0, 64)
        assert np.array_equal(whole.pixels, band_of(whole.index, Rows(0, 64)).pixels)
        assert whole.notes == {f"from {one.first}": float(whole.index) for one in rows}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([band_of(1, Rows(0, 32))], "chunk 1 came, expected those of 0"),
        ([band_of(0, Rows(0, 32)), band_of(0, Rows(0, 32))], "chunk 0 came, expected those of 1"),
        ([band_of(0, Rows(8, 32))], "rows 8 to 32 are no decoder's"),
    ],
)
def test_bands_that_cannot_be_are_refused(sent: list[BandOfPictures], said: str) -> None:
    bands = PictureBands(even_bands(64, 2))
    *before, last = sent
    for band in before:
        bands.add(band)

    with pytest.raises(ValueError, match=said):
        bands.add(last)
