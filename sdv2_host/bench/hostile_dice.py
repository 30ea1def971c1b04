"""What hostile input is made with: reproducible dice, numbers that programs stumble over, and the
flaw that a fuzzer reports."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")

STUMBLING_BLOCKS = tuple(
    sorted(
        {
            (base + near) & (1 << bits) - 1
            for bits in (8, 16, 32, 64)
            for base in (0, 64, 128, 4096, 8192, 16384, 1 << 31, 1 << (bits - 1), (1 << bits) - 1)
            for near in (-1, 0, 1)
        }
    )
)


class FlawError(Exception):
    """A reader did what it must never do."""


class Dice(random.Random):
    """Seeded; a batch of cases made with equal dice is the same batch."""

    def below(self, sides: int) -> int:
        """0 to sides - 1; sides up to 2^53."""
        return int(self.random() * sides)

    def pick(self, of: Sequence[T]) -> T:
        return of[int(self.random() * len(of))]

    def is_one_in(self, sides: int) -> bool:
        return self.random() * sides < 1


class Cases(Protocol):
    """One kind of hostile input and the reader it is given to."""

    def attempt(self, dice: Dice) -> str:
        """One case; how it came out: ACCEPTED, or what it was refused for.

        Raises:
            FlawError: the reader took what it must not take.
        """

    def close(self) -> None:
        """Nothing of the cases is left."""


ACCEPTED = "accepted"


def insist(is_so: bool, what: str) -> None:
    if not is_so:
        raise FlawError(what)


def boundaries(num_bytes: int, *near: int) -> tuple[int, ...]:
    """Values for a field of that size: of everywhere, and around the numbers given."""
    top = 1 << 8 * num_bytes
    close = {value + step for value in near for step in (-1, 0, 1)}
    return tuple(sorted({value % top for value in (*STUMBLING_BLOCKS, *close)}))
