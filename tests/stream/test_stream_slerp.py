"""Slerp of any number of prompts: of two it is the textbook's, and no look gets weaker by it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.blend import Part
from sdv2_host.stream.prompt import TextBank
from sdv2_host.stream.slerp import weighted_slerp
from tests.stream.conftest import Toy

NUM_TOKENS, DIM = 7, 24
SHARES = [0.0, 0.1, 0.5, 0.75, 1.0]


def rows(count: int, seed: int = 0) -> Tensor:
    """[P, L, E] that differ in length and lean to one side, as embeddings of words do."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.linspace(0.2, 9, count)[:, None, None]
    return lengths * (torch.randn(count, NUM_TOKENS, DIM, generator=generator) + 0.5)


def slerp_of_two(first: Tensor, second: Tensor, share: float) -> NDArray[np.float64]:
    """The formula of the textbook, token by token, in float64; the lengths go evenly."""
    out = []
    for a, b in zip(first.double().numpy(), second.double().numpy(), strict=True):
        length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
        angle = np.arccos(a @ b / (length_a * length_b))
        along = np.sin((1 - share) * angle) * a / length_a + np.sin(share * angle) * b / length_b
        out.append(((1 - share) * length_a + share * length_b) * along / np.sin(angle))
    return np.stack(out)


@pytest.mark.parametrize("share", SHARES)
def test_of_two_prompts_it_is_the_slerp_of_the_textbook(share: float) -> None:
    pair = rows(2)

    got = weighted_slerp(pair, [1 - share, share])

    assert got.dtype == torch.float32
    assert got.shape == (1, NUM_TOKENS, DIM)
    assert np.abs(got[0].numpy() - slerp_of_two(pair[0], pair[1], share)).max() < 1e-4


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_lengths_are_the_mean_of_the_prompts_lengths(count: int) -> None:
    many = rows(count)
    weights = torch.linspace(1, 2, count)
    weights = weights / weights.sum()

    got = weighted_slerp(many, weights.tolist())

    expected_L = (weights[:, None] * many.norm(dim=-1)).sum(dim=0)
    assert torch.allclose(got[0].norm(dim=-1), expected_L, rtol=1e-5)


@pytest.mark.parametrize("chosen", range(3))
def test_a_prompt_of_weight_one_is_itself(chosen: int) -> None:
    three = rows(3)
    weights = [float(index == chosen) for index in range(3)]

    assert torch.allclose(weighted_slerp(three, weights)[0], three[chosen], atol=1e-5)


def test_the_order_of_the_prompts_makes_no_difference() -> None:
    three, weights = rows(3), [0.5, 0.3, 0.2]
    expected = weighted_slerp(three, weights)

    for order in itertools.permutations(range(3)):
        got = weighted_slerp(three[list(order)], [weights[index] for index in order])
        assert torch.allclose(got, expected, atol=1e-5)


def test_no_other_direction_is_nearer_to_all_prompts() -> None:
    three, weights = rows(3), torch.tensor([0.5, 0.3, 0.2])
    unit = torch.nn.functional.normalize(three.double(), dim=-1)
    mean = torch.nn.functional.normalize(weighted_slerp(three, weights.tolist()).double(), dim=-1)
    generator = torch.Generator().manual_seed(1)

    def cost(direction_1LE: Tensor) -> Tensor:
        angle_PL = (unit * direction_1LE).sum(dim=-1).clamp(-1, 1).arccos()
        return (weights[:, None] * angle_PL.square()).sum(dim=0)

    for _ in range(50):
        nudge = 0.01 * torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        other = torch.nn.functional.normalize(mean + nudge, dim=-1)
        assert (cost(other) > cost(mean)).all()


def test_a_part_that_hardly_weighs_hardly_moves_the_others() -> None:
    three = rows(3)

    got = weighted_slerp(three, [0.4, 0.6 - 1e-6, 1e-6])

    assert np.abs(got[0].numpy() - slerp_of_two(three[0], three[1], 0.6)).max() < 1e-3


def test_equal_prompts_stay_as_they_are() -> None:
    one = rows(1)

    assert torch.allclose(weighted_slerp(one.repeat(3, 1, 1), [0.2, 0.3, 0.5]), one, atol=1e-5)


def test_a_token_that_only_one_prompt_has_fades_by_its_length() -> None:
    pair = rows(2)
    pair[1, 3:] = 0

    got = weighted_slerp(pair, [0.25, 0.75])[0]

    assert torch.allclose(got[3:], 0.25 * pair[0, 3:], atol=1e-5)
    assert np.abs(got[:3].numpy() - slerp_of_two(pair[0, :3], pair[1, :3], 0.75)).max() < 1e-4


def test_tokens_that_no_prompt_has_stay_zero() -> None:
    assert torch.equal(
        weighted_slerp(torch.zeros(3, NUM_TOKENS, DIM), [0.2, 0.3, 0.5]),
        torch.zeros(1, NUM_TOKENS, DIM),
    )


@pytest.mark.parametrize("share", SHARES)
def test_opposite_tokens_go_the_straight_way(share: float) -> None:
    one = rows(1)
    pair = torch.cat([one, -2 * one])

    got = weighted_slerp(pair, [1 - share, share])

    assert torch.allclose(got, (1 - 3 * share) * one, atol=1e-5)


def test_directions_that_cancel_each_other_go_the_straight_way() -> None:
    angles = torch.tensor([0.0, 2 * torch.pi / 3, 4 * torch.pi / 3])
    star_PLE = torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None, :]

    got = weighted_slerp(star_PLE, [1 / 3, 1 / 3, 1 / 3])

    assert torch.allclose(got, torch.zeros(1, 1, 2), atol=1e-6)


def test_a_bank_keeps_the_blend_of_each_mode_apart(toy: Toy) -> None:
    bank = TextBank()
    halves = (Part("red neon", 0.5), Part("blue watercolor", 0.5))
    pair = torch.cat([toy.text.encode(part.text) for part in halves])

    linear = bank.get(halves, toy.text, toy.dit, "linear")
    curved = bank.get(halves, toy.text, toy.dit, "slerp")

    expected = toy.dit.text_kv(weighted_slerp(pair, [0.5, 0.5]).double())
    assert torch.equal(curved[0].k_BKND, expected[0].k_BKND)
    assert not torch.allclose(linear[0].k_BKND, curved[0].k_BKND)
    assert bank.get(halves, toy.text, toy.dit, "slerp") is curved
