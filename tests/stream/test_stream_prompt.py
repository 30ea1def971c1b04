"""TextBank: the last prompts' keys and values, never more of them than there is room for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sdv2_host.blend import Part, mixed, parse_blend
from sdv2_host.stream.prompt import LookMemory, TextBank
from sdv2_host.wan.model import TextKV
from tests.stream.conftest import Toy


class Counting:
    """An encoder that notes what the bank holds whenever it is asked."""

    def __init__(self, toy: Toy, bank: TextBank) -> None:
        self._toy, self._bank = toy, bank
        self.held: list[list[str]] = []

    def encode(self, prompt: str) -> Tensor:
        self.held.append(list(self._bank.entries))
        return self._toy.text.encode(prompt)


def test_there_is_room_for_a_prompt_before_it_is_computed(toy: Toy) -> None:
    bank = TextBank(capacity=2)
    text = Counting(toy, bank)

    for prompt in ("a", "b", "a", "c", "a", "b"):
        bank.get(parse_blend(prompt), text, toy.dit)

    assert text.held == [[], ["a"], ["a"], ["a"]]
    assert list(bank.entries) == ["a", "b"]


def test_a_bank_of_one_prompt_holds_the_newest(toy: Toy) -> None:
    bank = TextBank(capacity=1)
    text = Counting(toy, bank)

    kept = [bank.get(parse_blend(prompt), text, toy.dit) for prompt in ("a", "b", "b")]

    assert kept[2] is kept[1]
    assert list(bank.entries) == ["b"]


def same(first: list[TextKV], second: list[TextKV]) -> bool:
    return all(
        torch.equal(a.k_BKND, b.k_BKND) and torch.equal(a.v_BKND, b.v_BKND)
        for a, b in zip(first, second, strict=True)
    )


def test_a_blend_is_the_weighted_sum_of_the_embeddings(toy: Toy) -> None:
    got = TextBank().get((Part("a", 0.25), Part("b", 0.75)), toy.text, toy.dit)

    summed = 0.25 * toy.text.encode("a") + 0.75 * toy.text.encode("b")
    expected = toy.dit.text_kv(summed)
    for kv, wanted in zip(got, expected, strict=True):
        assert torch.allclose(kv.k_BKND, wanted.k_BKND, atol=1e-5)
        assert torch.allclose(kv.v_BKND, wanted.v_BKND, atol=1e-5)


def test_one_part_is_bit_equal_to_the_prompt_alone(toy: Toy) -> None:
    alone = toy.dit.text_kv(toy.text.encode("a"))

    assert same(TextBank().get((Part("a", 1.0),), toy.text, toy.dit), alone)


def test_a_transition_leaves_the_prompts_in_the_bank(toy: Toy) -> None:
    bank = TextBank(capacity=3)
    for prompt in ("a", "b"):
        bank.get(parse_blend(prompt), toy.text, toy.dit)

    for step in range(1, 20):
        bank.get((Part("a", 1 - step / 20), Part("b", step / 20)), toy.text, toy.dit)

    assert list(bank.entries) == ["a", "b"]
    assert bank.mixture is not None


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_prompts_and_blend_together_never_take_more_room_than_planned(
    toy: Toy, capacity: int
) -> None:
    bank = TextBank(capacity)

    for prompt in ("a", "a | b", "c", "d", "c | d", "c:2 | d", "a"):
        bank.get(parse_blend(prompt), toy.text, toy.dit)
        assert len(bank.entries) + (bank.mixture is not None) <= capacity


def test_a_new_prompt_refreshes_the_sinks_once() -> None:
    look = LookMemory()
    a, b = parse_blend("a"), parse_blend("b")

    refreshed = [look.see(blend, False).is_new_look for blend in (a, a, b, b, b, a)]

    assert refreshed == [False, False, True, False, False, True]


def test_a_slow_transition_refreshes_halfway_and_when_it_has_arrived() -> None:
    look = LookMemory()
    steps = [mixed(parse_blend("a"), parse_blend("b"), n / 10) for n in range(11)]
    steps += [parse_blend("b")] * 3

    refreshed = [n for n, blend in enumerate(steps) if look.see(blend, False).is_new_look]

    assert refreshed[0] == 5
    assert refreshed[-1] in (10, 11)
    assert len(refreshed) == 2


def test_a_crossfader_that_stops_anywhere_has_arrived() -> None:
    look = LookMemory()
    third = parse_blend("a:2 | b:1")

    refreshed = [
        look.see(blend, False).is_new_look for blend in (parse_blend("a"), third, third, third)
    ]

    assert refreshed == [False, False, True, False]


def test_a_change_of_half_the_look_within_a_chunk_is_a_cut() -> None:
    look = LookMemory()
    a, b = parse_blend("a"), parse_blend("b")
    blends = [a, a, mixed(a, b, 0.4), mixed(a, b, 0.9), b, b, a]

    cuts = [look.see(blend, False).is_cut for blend in blends]

    assert cuts == [False, False, False, True, False, False, True]


def test_new_weights_refresh_too() -> None:
    look = LookMemory()
    a = parse_blend("a")

    assert [look.see(a, False).is_new_look, look.see(a, True).is_new_look] == [False, True]
