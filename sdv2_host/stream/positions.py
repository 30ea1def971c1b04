"""Where the frames of the KV cache stand in time, for rotary embedding. CPU integers only.

Keys are cached un-rotated, so a frame's position is chosen at each chunk anew and no rule here
can run past a table's end.

Source: StreamDiffusionV2, section 4.3 "RoPE refresh" (theta_{t - T_reset});
streamv2v/inference.py: t_refresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

RESET_AT_FRAME = 50
RESET_TO_FRAME = 5


class PositionMode(Enum):
    RELATIVE = "relative"
    """Rank by age among the cached frames: sinks 0..S-1, the window right behind them."""
    RESET = "reset"
    """The reference: the stream's frame index, which falls back to 5 whenever it reaches 50."""


def reset_index(frame: int) -> int:
    """0..49, then 5..49 over and over."""
    if frame < RESET_AT_FRAME:
        return frame
    period = RESET_AT_FRAME - RESET_TO_FRAME
    return RESET_TO_FRAME + (frame - RESET_AT_FRAME) % period


def key_positions(frames_held: Sequence[int], mode: PositionMode) -> tuple[int, ...]:
    """Temporal position of each cached frame, given the stream frame numbers the slots hold.

    RELATIVE: sinks are the oldest frames a cache holds, so ranking by age puts sink i at i and
    the newest frame at len - 1; once the cache is full nothing moves any more. A sink whose
    contents were refreshed keeps its place.
    """
    if mode is PositionMode.RESET:
        return tuple(reset_index(frame) for frame in frames_held)
    rank = {frame: position for position, frame in enumerate(sorted(frames_held))}
    return tuple(rank[frame] for frame in frames_held)
