"""Setups in their order, and what one says of another's cost."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.params import MAX_SIDE_PX, SIDE_MULTIPLE, SloMode
from sdv2_host.stream.setups import (
    SAME_ASPECT,
    VAE_LADDER,
    Coding,
    Cost,
    Setup,
    ladder_of,
    predicted,
    smaller_sizes,
)
from sdv2_host.stream.slo import StepTable
from sdv2_host.types import Layout, Shape, Size

LAW = settings(deadline=None, max_examples=60)
SERIAL = Layout.SERIAL
sides = st.integers(4, MAX_SIDE_PX // SIDE_MULTIPLE).map(lambda count: count * SIDE_MULTIPLE)
sizes = st.builds(Size, sides, sides)
setups = st.builds(Setup, st.sampled_from(VAE_LADDER), sizes)
WAN = Setup("wan", Size(512, 512))


def cost_of(encode_ms: float, decode_ms: float, call_ms: float) -> Cost:
    """Chunks of 4 and 8 with 1 and 2 steps, of an autoencoder's frame and a model's latent."""
    step_ms = {
        Shape(4 * k, SERIAL, steps): k * (4 * (encode_ms + decode_ms) + steps * call_ms)
        for k in (1, 2)
        for steps in (1, 2)
    }
    return Cost(StepTable(Shape(4, SERIAL, 2), step_ms), Coding(encode_ms, decode_ms))


positive = st.floats(0.1, 100)
costs = st.builds(cost_of, positive, positive, positive)


@given(setups, st.sets(st.sampled_from(VAE_LADDER)))
@LAW
def test_a_mode_allows_what_those_before_it_do_and_then_more(asked: Setup, vaes: set[str]) -> None:
    ladders = [ladder_of(asked, sorted(vaes), mode) for mode in get_args(SloMode)]

    for fewer, more in itertools.pairwise(ladders):
        assert more[: len(fewer)] == fewer
    assert ladders[2] == (asked,)
    assert {setup.size for setup in ladders[3]} == {asked.size}
    assert {setup.vae for setup in ladders[3]} <= {asked.vae, *vaes}
    assert {setup.vae for setup in ladders[4][len(ladders[3]) :]} <= {ladders[3][-1].vae}


@given(setups)
@LAW
def test_a_ladder_costs_less_with_each_rung(asked: Setup) -> None:
    ladder = ladder_of(asked, VAE_LADDER, "size")
    cost = cost_of(1.0, 1.0, 10.0)

    frames_ms = [predicted(cost, asked, one).table.ms(Shape(4, SERIAL, 1)) for one in ladder]

    assert frames_ms == sorted(frames_ms, reverse=True)
    assert len(set(ladder)) == len(ladder)


@given(sizes)
@LAW
def test_smaller_sizes_show_the_same_part_and_end_at_half(size: Size) -> None:
    for smaller in smaller_sizes(size):
        assert smaller.width % SIDE_MULTIPLE == smaller.height % SIDE_MULTIPLE == 0
        aspect = smaller.width * size.height / (smaller.height * size.width)
        assert aspect == pytest.approx(1, abs=SAME_ASPECT)
        assert min(smaller) >= min(size) / 2


def test_the_sizes_of_a_wide_picture() -> None:
    sizes = [str(size) for size in smaller_sizes(Size(832, 480))]

    assert sizes == ["752x432", "688x400", "624x352", "560x320", "512x288", "448x256"]


def test_a_cheaper_autoencoder_takes_its_own_part_and_leaves_the_models() -> None:
    cost = cost_of(encode_ms=5.27, decode_ms=8.88, call_ms=40.0)

    other = predicted(cost, WAN, WAN._replace(vae="taehv"))

    assert other.coding == pytest.approx((0.16, 0.36))
    assert other.table.ms(Shape(4, SERIAL, 2)) == pytest.approx(4 * 0.52 + 80)
    assert other.table.ms(Shape(8, SERIAL, 1)) == pytest.approx(8 * 0.52 + 80)


@given(costs, setups, setups, setups, st.floats(0.5, 2))
@LAW
def test_by_way_of_a_third_the_prediction_is_the_same(
    cost: Cost, first: Setup, second: Setup, third: Setup, factor: float
) -> None:
    slower = cost.slower(factor)

    direct = predicted(slower, first, third)
    indirect = predicted(predicted(slower, first, second), second, third)

    assert indirect.coding == pytest.approx(direct.coding)
    for shape, ms in direct.table.step_ms.items():
        assert indirect.table.ms(shape) == pytest.approx(ms, rel=1e-6, abs=1e-6)
        assert predicted(slower, first, first).table.ms(shape) == pytest.approx(
            cost.table.ms(shape) * factor
        )


def test_a_sentence_names_what_differs() -> None:
    smaller = Setup("taehv", Size(416, 416))

    assert smaller.beside(WAN) == "VAE taehv at 416x416"
    assert WAN._replace(vae="taehv").beside(WAN) == "VAE taehv"
    assert smaller.beside(smaller._replace(size=WAN.size)) == "416x416"
    assert WAN.beside(WAN) == "512x512"
