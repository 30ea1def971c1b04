"""Hostile slots: headers that lie, given to the real FrameReader; what it takes is judged naively.

A reader looks at shared memory five times for a frame: at publish_seq, at the slot's lock, at the
slot's header, at the pixels and at the lock again. The first three it sees once each, so memory
that contradicts itself is all that a writer can do to it there (`SlotCases`). `RacingSlotCases`
are of a writer that changes slot and segment between the copy of the header and what follows.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

from sdv2_host.bench.guarded_memory import GUARD_BYTES, GuardedStore, SegmentFile, protect_end
from sdv2_host.bench.hostile_dice import ACCEPTED, Dice, boundaries, insist
from sdv2_host.ipc.ring_codec import SegmentHeader, pack_segment_header
from sdv2_host.ipc.ring_descriptor import Descriptor, descriptor_path, pack_descriptor
from sdv2_host.ipc.ring_layout import (
    PUBLISH_SEQ_WORD,
    READY,
    READY_WORD,
    SEGMENT_HEADER_BYTES,
    SLOT_FIELDS,
    SLOT_HEADER_BYTES,
    STATE_LIVE,
    STATE_WORD,
    Geometry,
)
from sdv2_host.ipc.ring_reader import FrameReader
from sdv2_host.ipc.run_dir import write_private_file
from sdv2_host.types import Frame

STREAM = "fuzz-in"
SEGMENT = "lfr.00112233445566778899"
UUID = bytes(range(16))
GEOMETRY = Geometry(slot_count=3, slot_stride=8192)
CAPACITY = GEOMETRY.slot_capacity

BYTES_PER_PIXEL = {9: 1, 37: 4, 43: 4, 44: 4, 91: 8, 97: 8, 109: 16}
CHANNELS = {9: 1, 37: 4, 43: 4, 44: 4, 91: 4, 97: 4, 109: 4}
"""By VkFormat number, written down once more: the reader's own table is on trial."""
MAX_SIDE_PX = 16384

_CODES = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
# Those that decide where is read are lied about as often as all the others together.
_SHAPE = ("payload_bytes", "row_stride", "width", "height", "pixel_format")
_FIELDS = _SHAPE * 4 + tuple(name for name in SLOT_FIELDS if not name.startswith("reserved"))
_VALUES = {
    name: (
        *boundaries(size, CAPACITY, 2 * CAPACITY, CAPACITY // 2, SLOT_HEADER_BYTES),
        *(BYTES_PER_PIXEL if name == "pixel_format" else ()),
    )
    for name, (_, size) in SLOT_FIELDS.items()
    if size in _CODES
}
_MODEST = tuple(range(1, 130))
_LOCK_BYTES = SLOT_FIELDS["lock"][1]


def segment_start(geometry: Geometry = GEOMETRY, stream: str = STREAM) -> bytearray:
    """A sound segment header without a frame, all SEGMENT_HEADER_BYTES of it."""
    header = SegmentHeader(geometry, 1, UUID, stream, os.getpid(), 1, 1)
    raw = bytearray(pack_segment_header(header).ljust(SEGMENT_HEADER_BYTES, b"\0"))
    struct.pack_into("<Q", raw, 8 * READY_WORD, READY)
    struct.pack_into("<Q", raw, 8 * STATE_WORD, STATE_LIVE)
    return raw


def sound_slot(dice: Dice, frame: int) -> bytearray:
    """The header of a frame of some shape that fits a slot of GEOMETRY."""
    raw = bytearray(SLOT_HEADER_BYTES)
    code = dice.pick(tuple(BYTES_PER_PIXEL))
    width = 1 + dice.below(16)
    row = width * BYTES_PER_PIXEL[code]
    stride = row + dice.pick((0, 0, 1, 16))
    height = 1 + dice.below(min(24, CAPACITY // stride))
    wanted = {"lock": 2 * frame, "frame": frame, "row_stride": stride, "width": width,
              "payload_bytes": stride * height, "height": height, "pixel_format": code}  # fmt: skip
    for name, value in wanted.items():
        set_field(raw, name, value)
    return raw


def set_field(raw: bytearray, name: str, value: int) -> None:
    offset, size = SLOT_FIELDS[name]
    struct.pack_into(_CODES[size], raw, offset, value)


def disturb_slot(raw: bytearray, dice: Dice) -> None:
    """Up to three fields of the header say something else."""
    for _ in range(dice.pick((0, 1, 1, 1, 2, 2, 3))):
        name = dice.pick(_FIELDS)
        offset, size = SLOT_FIELDS[name]
        if size not in _CODES:
            continue
        near = struct.unpack_from(_CODES[size], raw, offset)[0] + dice.pick((-1, 1))
        top = 1 << 8 * size
        way = dice.below(8)
        value = near if way == 0 else dice.pick(_MODEST if way < 4 else _VALUES[name])
        struct.pack_into(_CODES[size], raw, offset, value % top)


class SlotCases:
    """One attached reader, and slots written by somebody who may write anything.

    Fields, for all cases: the segment's file, a reader for the newest frame. For
    read_next: a second reader, replaced when a frame number has gone so high that it waits.
    """

    keeps_sound_frames = True
    """What nobody has disturbed must be taken."""

    def __init__(self, folder: Path) -> None:
        """Works in `folder`, an empty directory 0700."""
        self._folder = folder
        self._file = SegmentFile(folder / SEGMENT, GEOMETRY.segment_bytes)
        self._file.map[: GEOMETRY.segment_bytes] = os.urandom(GEOMETRY.segment_bytes)
        self._file.map[:SEGMENT_HEADER_BYTES] = segment_start()
        self._words = memoryview(self._file.map).cast("Q")
        write_private_file(
            descriptor_path(folder, STREAM),
            pack_descriptor(Descriptor(STREAM, SEGMENT, 1, UUID.hex(), os.getpid(), "fuzz", 1)),
        )
        self._number = 0
        self._newest = self._attached()
        self._oldest = self._attached()

    def store(self) -> GuardedStore:
        """What the readers open segments with."""
        return GuardedStore(self._folder)

    def _attached(self) -> FrameReader:
        reader = FrameReader(STREAM, run_dir=self._folder, segments=self.store())
        self._words[PUBLISH_SEQ_WORD] = 0
        reader.read_newest()
        insist(reader.writer_pid != 0, f"a sound segment was refused: {reader.refusal}")
        return reader

    def attempt(self, dice: Dice) -> str:
        """Writes one slot, reads it by `read_newest` or `read_next`, judges what came."""
        self._number += 1
        frame = self._number
        raw = sound_slot(dice, frame)
        before = bytes(raw)
        disturb_slot(raw, dice)
        is_sound = raw == before
        if dice.is_one_in(50):
            frame = dice.pick(_VALUES["frame"])
            is_sound = False
        offset = GEOMETRY.slot_offset(frame)
        self._file.map[offset : offset + SLOT_HEADER_BYTES] = bytes(raw)
        self._words[PUBLISH_SEQ_WORD] = frame
        is_newest = dice.below(4) != 0
        if not is_newest and frame < self._number:
            return "an older number"  # `_oldest` has been there
        reader = self._newest if is_newest else self._oldest
        seen = (reader.refused, reader.retries)
        taken = reader.read_newest() if is_newest else reader.read_next()
        if taken is not None:
            self._judge(taken)
        outcome = ACCEPTED if taken is not None else _reason(reader, seen)
        if is_newest and taken is not None:
            insist(taken.meta.frame == frame, f"frame {taken.meta.frame} was given out as {frame}")
        if is_newest and is_sound and self.keeps_sound_frames:
            insist(outcome == ACCEPTED, f"a sound frame was refused: {outcome}")
        went_too_far = frame > self._number or outcome == "nothing new"
        if not is_newest and went_too_far:
            self._oldest.close()
            self._oldest = self._attached()
        return outcome

    def _judge(self, taken: Frame) -> None:
        """What was taken is what its slot says, byte by byte, and lies in the slot."""
        offset = GEOMETRY.slot_offset(taken.meta.frame)
        raw = self._file.map[offset : offset + SLOT_HEADER_BYTES]
        insist(read_field(raw, "lock") == 2 * taken.meta.frame, "an unfinished slot was accepted")
        judge_shape(taken, raw, CAPACITY)
        says = {name: read_field(raw, name) for name in ("row_stride", "width", "height")}
        row = says["width"] * BYTES_PER_PIXEL[read_field(raw, "pixel_format")]
        starts = range(0, says["row_stride"] * says["height"], says["row_stride"])
        at = offset + SLOT_HEADER_BYTES
        rows = [self._file.map[at + start : at + start + row] for start in starts]
        insist(taken.pixels.tobytes() == b"".join(rows), f"pixels are not the slot's: {says}")

    def close(self) -> None:
        self._newest.close()
        self._oldest.close()
        self._words.release()
        self._file.close()
        descriptor_path(self._folder, STREAM).unlink()


def _reason(reader: FrameReader, seen: tuple[int, int]) -> str:
    """Why nothing was taken; `seen` are the reader's counts before."""
    if reader.refused > seen[0]:
        said = reader.refusal.partition(": ")[2]
        return said.partition(" = ")[0]
    return "lock" if reader.retries > seen[1] else "nothing new"


def read_field(raw: bytes, name: str) -> int:
    offset, size = SLOT_FIELDS[name]
    return int.from_bytes(raw[offset : offset + size], "little")


def judge_shape(taken: Frame, raw: bytes, capacity: int) -> None:
    """The array has the shape that the slot header `raw` says, and that fits the slot."""
    width, height = read_field(raw, "width"), read_field(raw, "height")
    stride, payload = read_field(raw, "row_stride"), read_field(raw, "payload_bytes")
    code = read_field(raw, "pixel_format")
    frame = read_field(raw, "frame")
    insist(frame == taken.meta.frame, f"frame {frame} was accepted as {taken.meta.frame}")
    insist(code in BYTES_PER_PIXEL, f"pixel format {code} was accepted")
    insist(0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX, f"{width}x{height} was accepted")
    row = width * BYTES_PER_PIXEL[code]
    insist(payload <= capacity, f"payload of {payload} bytes was accepted, room is {capacity}")
    insist(row <= stride, f"rows of {row} bytes, {stride} apart, were accepted")
    insist(
        stride * (height - 1) + row <= payload,
        f"{height} rows of {row} bytes, {stride} apart, were accepted in {payload} bytes",
    )
    insist(
        taken.pixels.shape == (height, width, CHANNELS[code]),
        f"shape {taken.pixels.shape} was given out for {width}x{height}, format {code}",
    )


class RacingMap(mmap.mmap):
    """Calls `meanwhile` after each copy that is made of a part of it."""

    meanwhile: Callable[[int, bytes], None]

    def __getitem__(self, key: int | slice) -> bytes:  # type: ignore[override]
        assert isinstance(key, slice), "readers copy ranges"
        copy = super().__getitem__(key)
        self.meanwhile(key.start or 0, copy)
        return copy


class RacingStore(GuardedStore):
    """Its mappings are RacingMaps, guarded as those of GuardedStore."""

    def __init__(self, folder: Path, meanwhile: Callable[[int, bytes], None]) -> None:
        super().__init__(folder)
        self._folder = folder
        self._meanwhile = meanwhile

    def attach(self, name: str, num_bytes: int) -> mmap.mmap:
        fd = os.open(self._folder / name, os.O_RDONLY)
        try:
            mapping = RacingMap(fd, num_bytes + GUARD_BYTES, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        protect_end(mapping, num_bytes)
        mapping.meanwhile = self._meanwhile
        return mapping


class RacingSlotCases(SlotCases):
    """The same, and the writer changes everything as soon as the header was copied.

    What is taken is still of the shape that one of the headers said, and lies in the slot; its
    pixels may be anything.
    """

    keeps_sound_frames = False

    def __init__(self, folder: Path) -> None:
        self._dice: Dice | None = None
        self._copied = b""
        self._start = bytes(segment_start())
        super().__init__(folder)

    def store(self) -> GuardedStore:
        return RacingStore(self._folder, self._race)

    def attempt(self, dice: Dice) -> str:
        self._dice = dice
        try:
            outcome = super().attempt(dice)
        finally:
            self._dice = None
        self._file.map[:SEGMENT_HEADER_BYTES] = self._start
        return outcome

    def _race(self, offset: int, copied: bytes) -> None:
        """Other header, other lock, other geometry: whatever a reader may look at a second time."""
        dice = self._dice
        if dice is None or len(copied) != SLOT_HEADER_BYTES:
            return
        self._copied = copied
        if dice.is_one_in(4):
            return
        raw = bytearray(copied)
        for _ in range(3):
            disturb_slot(raw, dice)
        if dice.below(3):
            raw[:_LOCK_BYTES] = copied[:_LOCK_BYTES]  # the writer hides it
        self._file.map[offset : offset + SLOT_HEADER_BYTES] = bytes(raw)
        at = 8 * dice.below(SEGMENT_HEADER_BYTES // 8)
        self._file.map[at : at + 8] = struct.pack("<Q", dice.pick(_VALUES["frame"]))

    def _judge(self, taken: Frame) -> None:
        judge_shape(taken, self._copied, CAPACITY)
        offset = GEOMETRY.slot_offset(taken.meta.frame)
        lock = self._file.map[offset : offset + _LOCK_BYTES]
        insist(lock == self._copied[:_LOCK_BYTES], "a slot that was overwritten was accepted")
