"""What is done about chunks whose numbers are not finite: a fault of the model, or of the device.

What a stream remembers such a chunk by makes every later one the same, so the stream begins anew.
Prompts, LoRAs and looks are not of the stream and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sdv2_host.errors import ModelError
from sdv2_host.gpu.chunk_work import Finished

MAX_IN_A_ROW = 3
"""Streams begun anew in vain: what three did not help against is in the weights."""
CALM_CHUNKS = 16
"""That come out well until the next fault is no repetition: a cache has been filled by then."""


class Sifted(NamedTuple):
    """Of the chunks that are done."""

    sound: list[Finished]
    """Those before the first that is not."""
    is_broken: bool
    """There is one that is not: neither it nor any after it is to be shown."""


class NumberGuard:
    """Fields, per process: what it is of; the faults in a row, and the chunks that came out well
    since the newest; the LoRAs of the newest step that is out; whether a fault is not the end at
    once."""

    def __init__(self, name: str) -> None:
        self.problem = ""
        """What happened, for a person; '' once chunks come out well again."""
        self._name = name
        self._num_in_a_row = 0
        self._num_well = 0
        self._loras = ""
        self._is_patient = False

    def warmed(self) -> None:
        """Until then nothing can have gone wrong but the model itself."""
        self._is_patient = True

    def sift(self, finished: Sequence[Finished]) -> Sifted:
        """What of these can be shown, and whether the stream has to begin anew.

        Raises:
            ModelError: another stream would not help.
        """
        num_sound = next((i for i, one in enumerate(finished) if not one.is_sound), len(finished))
        is_broken = num_sound < len(finished)
        self._count_well(num_sound)
        for told in (one.told for one in finished[: num_sound + 1]):
            self._loras = told.params.lora if told is not None else self._loras
        if is_broken:
            self._count_fault(_chunk_of(finished[num_sound]))
        return Sifted(list(finished[:num_sound]), is_broken)

    def _count_well(self, num_chunks: int) -> None:
        self._num_well += num_chunks
        if self._num_in_a_row and self._num_well >= CALM_CHUNKS:
            self._num_in_a_row = 0
            self.problem = ""

    def _count_fault(self, which: str) -> None:
        self._num_in_a_row += 1
        self._num_well = 0
        suspect = f"; LoRAs in use: {self._loras}, try without" if self._loras else ""
        what = f"{self._name}: {which} came out as numbers that are not finite (NaN)"
        if not self._is_patient:
            raise ModelError(
                f"{what} while it was warmed up: its files may be damaged, "
                f"sdv2-host models verify tells{suspect}"
            )
        if self._num_in_a_row > MAX_IN_A_ROW:
            raise ModelError(
                f"{what}, and so after beginning anew {MAX_IN_A_ROW} times: weights in memory are "
                f"damaged, or a parameter is too much for the model{suspect}"
            )
        self.problem = (
            f"{what}: they are not shown, and the stream began anew, "
            f"{self._num_in_a_row} of {MAX_IN_A_ROW} times in a row{suspect}"
        )


def _chunk_of(broken: Finished) -> str:
    return f"chunk {broken.told.chunk_index}" if broken.told is not None else "a chunk"
