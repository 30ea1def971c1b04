"""The work of one chunk as a list of items: encode, blocks of the model, decode.

What a stream over W devices does is a contiguous partition of such a list. Two lists are offered:

* `ring`: one item per block, which runs all n denoising steps of it as rows of one batch. A chunk
  goes round n times, and a clean latent falls out at every turn (StreamDiffusionV2, section 4.2
  "pipeline orchestration").
* `chain`: n times the blocks, one item per (step, block), each for one row. A chunk passes once,
  so its latency is one way instead of n turns, at the same rate; but a device whose segment is
  longer than the model holds every block.

Pure: no torch, no clock. All times are milliseconds per chunk, by device and item.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple


class Route(StrEnum):
    """In which order a chunk meets devices and steps."""

    RING = "ring"
    CHAIN = "chain"


class DeviceTimes(NamedTuple):
    """What one device takes, in ms for one chunk."""

    encode_ms: float
    block_ms: tuple[float, ...]
    """Each block for one row."""
    decode_ms: float
    row_saving: float = 0.0
    """Of a further row in the same call: 0 = costs as much as the first, 1 = nothing."""

    def scaled(self, factor: float) -> DeviceTimes:
        """Of a device that takes `factor` times as long for everything."""
        return DeviceTimes(
            self.encode_ms * factor,
            tuple(ms * factor for ms in self.block_ms),
            self.decode_ms * factor,
            self.row_saving,
        )


class Footprint(NamedTuple):
    """Memory of parts of the model, in bytes."""

    encoder: int = 0
    block: int = 0
    """Weights of one block."""
    row: int = 0
    """Keys and values of one block for one denoising step."""
    decoder: int = 0

    def with_rows(self, num_rows: int, num_steps: int) -> Footprint:
        """For work of `num_steps` in a ring, which holds `num_rows` whichever of them run."""
        return self._replace(row=-(-self.row * num_rows // num_steps))


UNCOUNTED = Footprint()
"""Where memory is never short."""


@dataclass(frozen=True, slots=True)
class Work:
    """Items in the order a chunk meets them, with their cost on every device."""

    route: Route
    num_steps: int
    num_blocks: int
    cost_ms: tuple[tuple[float, ...], ...]
    """[device][item]."""
    footprint: Footprint = UNCOUNTED
    room_bytes: tuple[int, ...] = ()
    """Memory of each device; () = all have enough."""

    @property
    def num_devices(self) -> int:
        return len(self.cost_ms)

    @property
    def num_items(self) -> int:
        return len(self.cost_ms[0])

    def upto_ms(self, device: int) -> list[float]:
        """Cost of the first 0, 1, 2... items on a device."""
        return list(accumulate(self.cost_ms[device], initial=0.0))

    def block_of(self, item: int) -> int | None:
        """The model's block that an item runs; None = encode or decode."""
        if item in {0, self.num_items - 1}:
            return None
        return (item - 1) % self.num_blocks

    def bytes_of(self, first: int, last: int) -> int:
        """Memory that a device needs for items first..last-1. Weights count once per block."""
        blocks = range(max(first, 1), min(last, self.num_items - 1))
        rows_each = self.num_steps if self.route is Route.RING else 1
        total = min(len(blocks), self.num_blocks) * self.footprint.block
        total += len(blocks) * rows_each * self.footprint.row
        total += self.footprint.encoder * (first == 0 < last)
        return total + self.footprint.decoder * (last == self.num_items > first)


def as_work(
    devices: list[DeviceTimes],
    num_steps: int,
    route: Route,
    footprint: Footprint = UNCOUNTED,
    room_bytes: tuple[int, ...] = (),
) -> Work:
    """The items of a stream of `num_steps` on these devices.

    Raises:
        ValueError: no device, or devices that disagree on the number of blocks.
    """
    sizes = {len(device.block_ms) for device in devices}
    if len(sizes) != 1:
        raise ValueError(f"{len(devices)} devices with {sorted(sizes)} blocks: expected one number")
    if room_bytes and len(room_bytes) != len(devices):
        raise ValueError(f"room for {len(room_bytes)} devices, {len(devices)} given")
    return Work(
        route=route,
        num_steps=num_steps,
        num_blocks=sizes.pop(),
        cost_ms=tuple(_costs(device, num_steps, route) for device in devices),
        footprint=footprint,
        room_bytes=room_bytes,
    )


def _costs(device: DeviceTimes, num_steps: int, route: Route) -> tuple[float, ...]:
    if route is Route.CHAIN:
        blocks = device.block_ms * num_steps
    else:
        rows = 1 + (num_steps - 1) * (1 - device.row_saving)
        blocks = tuple(ms * rows for ms in device.block_ms)
    return (device.encode_ms, *blocks, device.decode_ms)
