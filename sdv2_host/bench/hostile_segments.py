"""Hostile segment headers, given to ReaderSegment, and whole peers, given to FrameReader."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

from sdv2_host.bench.guarded_memory import GuardedStore, SegmentFile
from sdv2_host.bench.hostile_descriptors import disturbed_descriptor, sound_fields
from sdv2_host.bench.hostile_dice import ACCEPTED, Dice, boundaries, insist
from sdv2_host.bench.hostile_slots import (
    GEOMETRY,
    SEGMENT,
    STREAM,
    UUID,
    disturb_slot,
    judge_shape,
    segment_start,
    sound_slot,
)
from sdv2_host.errors import RingError
from sdv2_host.ipc.ring_descriptor import Descriptor, descriptor_path, pack_descriptor
from sdv2_host.ipc.ring_layout import (
    MAX_SEGMENT_BYTES,
    PUBLISH_SEQ_WORD,
    SEGMENT_FIELDS,
    SEGMENT_HEADER_BYTES,
    SLOT_HEADER_BYTES,
    Geometry,
)
from sdv2_host.ipc.ring_reader import FrameReader, RingStatus
from sdv2_host.ipc.ring_segment import ReaderSegment
from sdv2_host.types import Frame

_CODES = {2: "<H", 4: "<I", 8: "<Q"}
_SIZES = ("segment_bytes", "slot_count", "slot_stride", "slots_offset", "slot_capacity")
_FIXED_BYTES = SEGMENT_FIELDS["reserved3"][0]
"""Of the header, those that never change."""
_FIELDS = tuple(
    name
    for name, (offset, size) in SEGMENT_FIELDS.items()
    if size in _CODES and offset < _FIXED_BYTES
)
_FOREVER = ("magic", "abi_major", "header_bytes", "endian_tag", "ready", "slot_header_bytes",
            "slots_offset")  # fmt: skip
"""All rings of this ABI have the same there."""
_VALUES = {
    name: boundaries(
        SEGMENT_FIELDS[name][1],
        GEOMETRY.segment_bytes,
        GEOMETRY.slot_stride,
        GEOMETRY.slot_capacity,
        MAX_SEGMENT_BYTES,
    )
    for name in _FIELDS
}
# Bytes that are really there, by name of the file: the sound one first.
_LENGTHS = tuple(
    (f"lfr.{index:020x}", length)
    for index, length in enumerate(
        (
            GEOMETRY.segment_bytes,
            0,
            1,
            SEGMENT_HEADER_BYTES - 1,
            SEGMENT_HEADER_BYTES,
            SEGMENT_HEADER_BYTES + SLOT_HEADER_BYTES,
            GEOMETRY.segment_bytes - 4096,
            GEOMETRY.segment_bytes - 1,
            GEOMETRY.segment_bytes + 4096,
        )
    )
)
_STRIDES = (4096, 8192, 12288, 4097, 8191, 0, 128, 1 << 20, 1 << 31, 1 << 63)
_COUNTS = (0, 1, 2, 3, 4, 6, 63, 64, 65, 1 << 16, (1 << 32) - 1)


def disturb_header(raw: bytearray, dice: Dice) -> None:
    """Fields of the segment header say something else; some lies agree with each other."""
    if dice.is_one_in(4):  # a geometry that is sound in itself, of another size than the memory
        geometry = Geometry(dice.pick(_COUNTS), dice.pick(_STRIDES))
        for name in ("slot_count", "slot_stride", "slot_capacity", "segment_bytes"):
            _set(raw, name, getattr(geometry, name))
    for _ in range(dice.pick((0, 0, 1, 1, 1, 2, 3))):
        name = dice.pick(_FIELDS if dice.is_one_in(2) else _SIZES)
        way = dice.below(4)
        offset, size = SEGMENT_FIELDS[name]
        near = struct.unpack_from(_CODES[size], raw, offset)[0] + dice.pick((-1, 1))
        _set(raw, name, near if way == 0 else dice.pick(_VALUES[name]))
    if dice.is_one_in(12):
        at = dice.below(_FIXED_BYTES)
        raw[at] = dice.below(256)


def _set(raw: bytearray, name: str, value: int) -> None:
    offset, size = SEGMENT_FIELDS[name]
    struct.pack_into(_CODES[size], raw, offset, value % (1 << 8 * size))


class HeaderCases:
    """Segment headers that lie, in files of the right and of wrong lengths."""

    def __init__(self, folder: Path) -> None:
        """Works in `folder`, an empty directory 0700."""
        self._store = GuardedStore(folder)
        self._files = [SegmentFile(folder / name, length) for name, length in _LENGTHS]
        self._sound = bytes(segment_start()[:_FIXED_BYTES])

    def attempt(self, dice: Dice) -> str:
        file = self._files[0] if dice.below(8) else dice.pick(self._files)
        raw = bytearray(self._sound)
        disturb_header(raw, dice)
        room = min(_FIXED_BYTES, file.num_bytes)
        file.map[:room] = raw[:room]
        uuid = UUID if dice.below(32) else bytes(16)
        named = Descriptor(STREAM, file.path.name, 1, uuid.hex(), 1, "fuzz", 1)
        try:
            segment = ReaderSegment(named, self._store)
        except RingError as error:
            return _reason(str(error))
        self._judge(segment, file, uuid)
        segment.release()
        return ACCEPTED

    def _judge(self, segment: ReaderSegment, file: SegmentFile, uuid: bytes) -> None:
        """The slots lie behind the header, do not overlap and end before the memory does."""
        geometry = segment.header.geometry
        insist(segment.header.uuid == uuid == UUID, "a segment of another uuid was accepted")
        insist(segment.header.stream == STREAM, "a segment of another stream was accepted")
        for name in _FOREVER:
            offset, size = SEGMENT_FIELDS[name]
            found = segment.map[offset : offset + size]
            insist(found == self._sound[offset : offset + size], f"{name} {found!r} was accepted")
        offset, size = SEGMENT_FIELDS["segment_bytes"]
        says = int.from_bytes(segment.map[offset : offset + size], "little")
        insist(says == geometry.segment_bytes, f"{says} bytes were accepted for {geometry}")
        insist(2 <= geometry.slot_count <= 64, f"{geometry.slot_count} slots were accepted")
        starts = {geometry.slot_offset(frame) for frame in range(geometry.slot_count)}
        ends = [start + geometry.slot_stride for start in starts]
        insist(len(starts) == geometry.slot_count, f"slots overlap: {geometry}")
        insist(min(starts) >= SEGMENT_HEADER_BYTES, f"a slot lies in the header: {geometry}")
        insist(max(ends) <= file.num_bytes, f"{geometry} was accepted of {file.num_bytes} bytes")
        for end in ends:  # a guard page is behind the last one
            _ = segment.map[end - 1 : end]

    def close(self) -> None:
        for file in self._files:
            file.close()


def _reason(message: str) -> str:
    """Without the numbers of this case."""
    if message.startswith("segment lfr."):
        return "length of the file" if " bytes" in message else "uuid or stream"
    return message.partition(" = ")[0]


class PeerCases:
    """A fresh reader per case and everything hostile at once, in real files of any mode."""

    def __init__(self, folder: Path) -> None:
        """Works in `folder`, an empty directory 0700."""
        self._folder = folder
        self._store = GuardedStore(folder)
        self._path = descriptor_path(folder, STREAM)

    def attempt(self, dice: Dice) -> str:
        file = SegmentFile(self._folder / SEGMENT, _length(dice))
        try:
            self._write_segment(file, dice)
            self._leave_descriptor(dice)
            return self._read(dice)
        finally:
            self._path.unlink(missing_ok=True)
            self._folder.chmod(0o700)
            file.path.chmod(0o600)
            file.close()

    def _write_segment(self, file: SegmentFile, dice: Dice) -> None:
        raw = segment_start()
        frame = 1 + dice.below(9)
        struct.pack_into("<Q", raw, 8 * PUBLISH_SEQ_WORD, frame)
        slot = sound_slot(dice, frame)
        if dice.is_one_in(2):
            disturb_header(raw, dice)
        if dice.is_one_in(2):
            disturb_slot(slot, dice)
        whole = bytearray(GEOMETRY.segment_bytes)
        whole[: len(raw)] = raw
        offset = GEOMETRY.slot_offset(frame)
        whole[offset : offset + len(slot)] = slot
        room = min(len(whole), file.num_bytes)
        file.map[:room] = bytes(whole[:room])
        if dice.is_one_in(32):
            file.path.chmod(dice.pick((0o644, 0o660, 0o606)))

    def _leave_descriptor(self, dice: Dice) -> None:
        fields = sound_fields(SEGMENT)
        named = Descriptor(STREAM, SEGMENT, 1, UUID.hex(), 1, "fuzz", 1)
        raw = pack_descriptor(named) if dice.below(4) else disturbed_descriptor(fields, dice)
        way = dice.below(40)
        if way == 0 and sys.platform != "win32":
            os.mkfifo(self._path, 0o600)
        elif way == 1:
            self._path.symlink_to(dice.pick(("/dev/zero", "/etc/passwd", "nowhere", SEGMENT)))
        elif way == 2:
            raw = raw.ljust(dice.pick((4096, 4097, 65536)))
        if way > 1:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644 if way == 3 else 0o600)
            os.write(fd, raw)
            os.close(fd)
        if way == 4:
            self._folder.chmod(0o755)

    def _read(self, dice: Dice) -> str:
        with FrameReader(STREAM, run_dir=self._folder, segments=self._store) as reader:
            frame = reader.read_newest() if dice.is_one_in(2) else reader.read_next()
            insist(reader.status in RingStatus, "no status")
            if frame is not None:
                self._judge(frame)
                return ACCEPTED
            if reader.refused:
                return "refused"
            return "nothing"

    def _judge(self, frame: Frame) -> None:
        raw = (self._folder / SEGMENT).read_bytes()
        stride = int.from_bytes(raw[0x48:0x50], "little")
        count = int.from_bytes(raw[0x40:0x44], "little")
        at = SEGMENT_HEADER_BYTES + frame.meta.frame % count * stride
        judge_shape(frame, raw[at : at + SLOT_HEADER_BYTES], stride - SLOT_HEADER_BYTES)

    def close(self) -> None:
        """Each case has removed what it made."""


def _length(dice: Dice) -> int:
    return GEOMETRY.segment_bytes if dice.below(8) else dice.pick(_LENGTHS)[1]
