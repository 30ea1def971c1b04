"""TextBank: the last prompts' keys and values, never more of them than there is room for."""

from __future__ import annotations

from torch import Tensor

from sdv2_host.stream.prompt import TextBank
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
        bank.get(prompt, text, toy.dit)

    assert text.held == [[], ["a"], ["a"], ["a"]]
    assert list(bank.entries) == ["a", "b"]


def test_a_bank_of_one_prompt_holds_the_newest(toy: Toy) -> None:
    bank = TextBank(capacity=1)
    text = Counting(toy, bank)

    kept = [bank.get(prompt, text, toy.dit) for prompt in ("a", "b", "b")]

    assert kept[2] is kept[1]
    assert list(bank.entries) == ["b"]
