"""The header of a leaf, which is one latent frame of one row of one call, as bytes of a packet.

All numbers are little-endian; offsets are the packet's, whose prefix holds the epoch.

    offset  type   field
    24      u64    call
    32      u64    index
    40      u64    first_frame
    48      u64    text_id
    56      i64    seed
    64      f64    noise_hold, finite
    72      f64    sink_threshold, finite
    80      u16    num_rows 1..MAX_STEPS
    82      u16    row < num_rows
    84      u16    num_frames 1..MAX_FRAMES
    86      u16    frame < num_frames
    88      u16    block 0..MAX_BLOCKS
    90      u16    num_steps 1..MAX_STEPS
    92      u16    step 0..num_steps
    94      u16    flags: 1 refresh_sinks, 2 begins_anew, 4 is_shown, 8 has_tokens
    96      u32    num_cut
    100     u16    fills_from 0..MAX_STEPS
    102     u16    fills_to 0..MAX_STEPS
    104     u64    order

Pure: no I/O, no torch.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from sdv2_host.stages.route import MAX_STEPS

MAX_FRAMES = 1024
"""Latent frames of one call."""
MAX_BLOCKS = 1024

_LEAF = struct.Struct("<QQQQqddHHHHHHHHIHHQ")
_REFRESH_SINKS, _BEGINS_ANEW, _IS_SHOWN, _HAS_TOKENS = 1, 2, 4, 8
_ALL_FLAGS = _REFRESH_SINKS | _BEGINS_ANEW | _IS_SHOWN | _HAS_TOKENS


class PacketError(ValueError):
    """Bytes that are no packet of this link, or a packet that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Which frame of which call a leaf is, and all that its chunk was made with."""

    epoch: int
    call: int
    """Number of the call in its epoch."""
    num_rows: int
    """Of the call."""
    row: int
    num_frames: int
    """Latent frames of each row of the call."""
    frame: int
    block: int
    """The next block to run; the model's number of blocks = none is left of this step."""
    index: int
    """Of the chunk, in its epoch."""
    order: int
    """Of the chunk, among all that came to the model in its epoch."""
    seed: int
    """Any signed 64 bits."""
    text_id: int
    num_steps: int
    step: int
    """The row's denoising step; `num_steps` = all are done."""
    first_frame: int
    """Number in the stream of the row's first latent frame."""
    num_cut: int
    noise_hold: float
    sink_threshold: float
    fills_from: int
    fills_to: int
    """0 = none."""
    refresh_sinks: bool
    begins_anew: bool
    is_shown: bool
    has_tokens: bool
    """False: x_CHW only, which is so between two steps."""

    @property
    def is_done(self) -> bool:
        """The row has passed the model for the last time."""
        return self.step == self.num_steps


def write_header_(header: Header, raw: memoryview, offset: int) -> None:
    """The header, which has passed `check_header`, stands at this offset; see the table."""
    _LEAF.pack_into(raw, offset, *_numbers(header))


def read_header(epoch: int, raw: memoryview, offset: int) -> Header:
    """What `write_header_` was given; its epoch stands elsewhere. Not checked but for its flags.

    Raises:
        PacketError: unknown flags.
    """
    numbers = _LEAF.unpack_from(raw, offset)
    call, index, first_frame, text_id, seed = map(int, numbers[:5])
    num_rows, row, num_frames, frame = map(int, numbers[7:11])
    block, num_steps, step, flags, num_cut = map(int, numbers[11:16])
    fills_from, fills_to, order = map(int, numbers[16:])
    if flags & ~_ALL_FLAGS:
        raise PacketError(f"flags {flags:#x}: expected of {_ALL_FLAGS:#x}")
    return Header(
        epoch=epoch,
        call=call,
        num_rows=num_rows,
        row=row,
        num_frames=num_frames,
        frame=frame,
        block=block,
        index=index,
        order=order,
        seed=seed,
        text_id=text_id,
        num_steps=num_steps,
        step=step,
        first_frame=first_frame,
        num_cut=num_cut,
        noise_hold=numbers[5],
        sink_threshold=numbers[6],
        fills_from=fills_from,
        fills_to=fills_to,
        refresh_sinks=bool(flags & _REFRESH_SINKS),
        begins_anew=bool(flags & _BEGINS_ANEW),
        is_shown=bool(flags & _IS_SHOWN),
        has_tokens=bool(flags & _HAS_TOKENS),
    )


def check_header(header: Header) -> None:
    """
    Raises:
        PacketError: a number out of range.
    """
    spans = {
        "num_rows": (header.num_rows, 1, MAX_STEPS),
        "row": (header.row, 0, header.num_rows - 1),
        "num_frames": (header.num_frames, 1, MAX_FRAMES),
        "frame": (header.frame, 0, header.num_frames - 1),
        "block": (header.block, 0, MAX_BLOCKS),
        "num_steps": (header.num_steps, 1, MAX_STEPS),
        "step": (header.step, 0, header.num_steps),
        "fills_from": (header.fills_from, 0, MAX_STEPS),
        "fills_to": (header.fills_to, 0, MAX_STEPS),
    }
    for name, (value, low, high) in spans.items():
        if not low <= value <= high:
            raise PacketError(f"{name} {value}: expected {low} to {high}")
    floats = {"noise_hold": header.noise_hold, "sink_threshold": header.sink_threshold}
    for name, number in floats.items():
        if not math.isfinite(number):
            raise PacketError(f"{name} {number}: expected a number")


def _numbers(header: Header) -> tuple[int | float, ...]:
    """The fields in their order on the wire."""
    flags = (
        header.refresh_sinks * _REFRESH_SINKS
        | header.begins_anew * _BEGINS_ANEW
        | header.is_shown * _IS_SHOWN
        | header.has_tokens * _HAS_TOKENS
    )
    return (
        *(header.call, header.index, header.first_frame, header.text_id, header.seed),
        *(header.noise_hold, header.sink_threshold),
        *(header.num_rows, header.row, header.num_frames, header.frame),
        *(header.block, header.num_steps, header.step, flags),
        *(header.num_cut, header.fills_from, header.fills_to, header.order),
    )
