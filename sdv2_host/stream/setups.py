"""Setups: the autoencoder and the size that an engine works with, best first, and what each costs.

Pure: no torch, no clock. What ran is measured; what did not is predicted from what did: all of a
step goes with the pixels, its autoencoder also with the work of the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sdv2_host.params import MIN_SIDE_PX, SIDE_MULTIPLE, SloMode, allows
from sdv2_host.stream.slo import Load, StepTable, knee, latency_limit_ms
from sdv2_host.types import Size

VAE_LADDER = ("wan", "hybrid", "taehv")
"""`Config.vae`, best first."""
SMALLEST = 0.5
"""Of each side: below it a picture has a quarter of what was asked for."""
SAME_ASPECT = 0.04
"""Relative difference of aspects that counts as none."""
STEP_PIXELS = 0.85
"""The next smaller size has so much of the pixels at most: a change takes seconds."""
_WAN_TFLOP, _TAE_TFLOP = (5.27, 8.88), (0.16, 0.36)
VAE_TFLOP = {
    "wan": _WAN_TFLOP,
    "hybrid": (_WAN_TFLOP[0], _TAE_TFLOP[1]),
    "taehv": _TAE_TFLOP,
}
"""To encode and to decode a latent of 512x512: what one autoencoder takes of another's time."""


class Setup(NamedTuple):
    """What cannot change between two chunks: an engine is prepared for it beside the one at work.

    The engine that has one autoencoder only is of whatever `vae` its configuration names.
    """

    vae: str
    size: Size

    def beside(self, other: Setup) -> str:
        """What of it differs from `other`, for a sentence; its size where nothing does."""
        parts = [f"VAE {self.vae}"] if self.vae != other.vae else []
        if self.size != other.size or not parts:
            parts.append(str(self.size))
        return " at ".join(parts)


class Coding(NamedTuple):
    """Milliseconds that a frame spends in the autoencoder."""

    encode_ms: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What steps take in one setup."""

    table: StepTable
    coding: Coding

    def slower(self, factor: float) -> Cost:
        """The same on a device that has become so much slower."""
        coding = Coding(*(ms * factor for ms in self.coding))
        return Cost(replace(self.table, slowdown=self.table.slowdown * factor), coding)

    def fps(self, load: Load) -> float:
        """The rate that the scheduler finds for the load, the highest where none meets it."""
        return self.table.fps(knee(self.table, load))

    def meets(self, load: Load, spare: float) -> bool:
        """Whether an allowed shape has so much to spare, in rate and in latency."""
        shape = knee(self.table, load, spare)
        limit_ms = latency_limit_ms(self.table, load) / spare
        is_in_time = self.table.latency_ms(shape, load.fps) <= limit_ms
        return is_in_time and self.table.fps(shape) >= spare * load.fps


def predicted(cost: Cost, setup: Setup, other: Setup) -> Cost:
    """What `other` will cost, from what `setup` does."""
    pixels = other.size.num_pixels / setup.size.num_pixels
    work = zip(VAE_TFLOP[other.vae], VAE_TFLOP[setup.vae], cost.coding, strict=True)
    coding = Coding(*(ms * pixels * ours / theirs for ours, theirs, ms in work))
    table = cost.table
    step_ms = {
        shape: max(table.ms(shape) - shape.chunk_frames * sum(cost.coding), 0.0) * pixels
        + shape.chunk_frames * sum(coding)
        for shape in table.step_ms
    }
    return Cost(StepTable(table.as_started, step_ms), coding)


def ladder_of(asked: Setup, vaes: Sequence[str], mode: SloMode) -> tuple[Setup, ...]:
    """The setups that may be chosen, best first: as asked, then cheaper autoencoders of `vaes`,
    then smaller sizes with the cheapest of them."""
    ladder = [asked]
    if allows(mode, "vae"):
        cheaper = VAE_LADDER[VAE_LADDER.index(asked.vae) + 1 :]
        ladder += [asked._replace(vae=vae) for vae in cheaper if vae in vaes]
    if allows(mode, "size"):
        ladder += [Setup(ladder[-1].vae, size) for size in smaller_sizes(asked.size)]
    return tuple(ladder)


def smaller_sizes(size: Size) -> Iterator[Size]:
    """Sizes of the same aspect, as nearly as sides that are multiples allow: largest first.

    A cross-fade between two of them shows about the same part of the input.
    """
    last = size
    for width in range(size.width - SIDE_MULTIPLE, 0, -SIDE_MULTIPLE):
        height = round(width * size.height / size.width / SIDE_MULTIPLE) * SIDE_MULTIPLE
        smaller = Size(width, height)
        if min(smaller) < max(MIN_SIDE_PX, SMALLEST * min(size)):
            return
        is_alike = abs(width * size.height / (height * size.width) - 1) <= SAME_ASPECT
        if is_alike and smaller.num_pixels <= STEP_PIXELS * last.num_pixels:
            last = smaller
            yield smaller
