"""Which slots a call of the model writes and sees: counted on the CPU, so no layer asks the device.

A cache row holds `num_sinks` sink frames, then `window` rolling ones, the newest included. The
slots are a pure function of the number of frames written.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from sdv2_host.stream.positions import PositionMode, key_positions


class CacheGeometry(NamedTuple):
    """Latent frames a row holds: sinks first, then the rolling window."""

    num_sinks: int
    window: int

    @property
    def num_slots(self) -> int:
        return self.num_sinks + self.window

    def slot_of(self, frame: int) -> int:
        """Slot that stream frame number `frame` is written to."""
        if frame < self.num_sinks:
            return frame
        return self.num_sinks + (frame - self.num_sinks) % self.window

    def frames_held(self, num_written: int) -> tuple[int, ...]:
        """Stream frame number in each filled slot, after `num_written` frames.

        A rolling slot s holds the newest frame f < num_written with f = s (mod window), because
        slot_of(f) = s means f - num_sinks = s - num_sinks (mod window).
        """
        num_filled = min(num_written, self.num_slots)
        newest = num_written - 1
        return tuple(
            slot if slot < self.num_sinks else newest - (newest - slot) % self.window
            for slot in range(num_filled)
        )


class RowCall(NamedTuple):
    """What one call of the model brings to one row."""

    row: int
    num_new: int
    """Latent frames."""
    first_frame: int
    """Number in the stream of the first of them."""
    refresh_sinks: bool = False
    """The newest frame also overwrites all sinks."""
    reanchors: Tensor | None = None
    """The same, as a 0-dim boolean that only the device knows; None = no."""
    begins_anew: bool = False
    """The row forgets all it has seen before. The reference's cache cannot."""
    sink_threshold: float = -1.0
    """Adaptive sinks: replace where the similarity -1..1 is below this; -1 = never."""


class RowPlan(NamedTuple):
    """What one call does to one row: all plain numbers, made before the call."""

    row: int
    write_slots: tuple[int, ...]
    """Slot of each new frame."""
    num_filled: int
    """Slots attended to, the new frames' included."""
    key_positions: tuple[int, ...]
    """Temporal position of each filled slot."""
    query_positions: tuple[int, ...]
    """Temporal position of each new frame."""


def plan_row(
    geometry: CacheGeometry,
    mode: PositionMode,
    row: int,
    num_written: int,
    num_new: int,
) -> RowPlan:
    """The plan for `num_new` frames that follow `num_written` earlier ones in this row."""
    assert 0 < num_new <= geometry.window, f"{num_new} new frames, window {geometry.window}"
    frames_held = geometry.frames_held(num_written + num_new)
    positions = key_positions(frames_held, mode)
    write_slots = tuple(geometry.slot_of(num_written + index) for index in range(num_new))
    return RowPlan(
        row=row,
        write_slots=write_slots,
        num_filled=len(frames_held),
        key_positions=positions,
        query_positions=tuple(positions[slot] for slot in write_slots),
    )
