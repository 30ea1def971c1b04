"""The ring's bytes are the same in Python and in C: offsets, frames both ways, what is refused."""

from __future__ import annotations

import json
import mmap
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.errors import RingError
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter, RingStatus
from sdv2_host.ipc.ring_codec import (
    SegmentHeader,
    pack_segment_header,
    pack_slot_body,
    parse_segment_header,
    parse_slot_header,
)
from sdv2_host.ipc.ring_layout import (
    PIXEL_LAYOUTS,
    READY,
    SEGMENT_FIELDS,
    SEGMENT_HEADER_BYTES,
    SLOT_FIELDS,
    SLOT_HEADER_BYTES,
    Geometry,
)
from sdv2_host.types import (
    AlphaMode,
    FrameFlags,
    FrameMeta,
    Orientation,
    PixelFormat,
    StageTimes,
)
from tests.ipc import ring_process

INCLUDE = Path(__file__).parents[2] / "plugins" / "include"
PEER = Path(__file__).with_name("ring_peer.c")
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
FORMATS_AND_SIZES = [
    (PixelFormat.RGBA8, 64, 48),
    (PixelFormat.RGBA8_SRGB, 1, 1),
    (PixelFormat.BGRA8, 37, 21),
    (PixelFormat.RGBA32F, 33, 17),
    (PixelFormat.RGBA16F, 7, 5),
    (PixelFormat.RGBA16, 101, 3),
    (PixelFormat.R8, 13, 29),
]


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("no C compiler on this machine")
    return found


@pytest.fixture(scope="module")
def peer(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("peer") / "ring_peer"
    source = [compiler, "-std=c11", "-O2", *STRICT, f"-I{INCLUDE}", str(PEER), "-o", str(binary)]
    subprocess.run(source, check=True)
    return binary


def pattern(frame: int, num_bytes: int) -> bytes:
    """`pattern` of ring_peer.c."""
    index = np.arange(num_bytes, dtype=np.uint64)
    return (index * 31 + frame * 7 + (index >> 8)).astype(np.uint8).tobytes()


def test_every_offset_is_the_same_in_c(peer: Path) -> None:
    printed = subprocess.run([peer, "offsets"], capture_output=True, text=True, check=True).stdout
    in_c = {(struct, name): (int(offset), int(size))
            for struct, name, offset, size in map(str.split, printed.splitlines())}  # fmt: skip

    in_python = {("sdv2_ring_segment", name): at for name, at in SEGMENT_FIELDS.items()}
    in_python |= {("sdv2_ring_slot", name): at for name, at in SLOT_FIELDS.items()}

    assert in_c == in_python


@pytest.mark.parametrize(
    ("fields", "total"),
    [(SEGMENT_FIELDS, SEGMENT_HEADER_BYTES), (SLOT_FIELDS, SLOT_HEADER_BYTES)],
)
def test_fields_follow_each_other_without_gaps(
    fields: dict[str, tuple[int, int]], total: int
) -> None:
    end = 0
    for offset, num_bytes in fields.values():
        assert offset == end
        assert offset % min(num_bytes, 8) == 0 or num_bytes > 8
        end += num_bytes

    assert end == total


def test_the_codec_puts_every_field_at_its_offset() -> None:
    meta = FrameMeta(
        3, 5, PixelFormat.RGBA16F, AlphaMode.PREMULTIPLIED, Orientation.BOTTOM_FIRST, frame=99,
        dropped_before=12, capture_ts_ns=-13, publish_ts_ns=98, source_frame=15,
        source_capture_ts_ns=-16, user_tag=17, present_ts_ns=-18,
        times=StageTimes(19, 20 * 16, 21, 22, 23, 24 * 16),
    )  # fmt: skip
    slot = bytes(8) + pack_slot_body(meta, 11, 14, 24, 120)
    geometry = Geometry(4, 8192)
    segment = pack_segment_header(SegmentHeader(geometry, 21, b"u" * 16, "name", 22, 23, 24))

    slot_values = {"frame": 11, "payload_bytes": 120, "row_stride": 24, "width": 3, "height": 5,
                   "pixel_format": 97, "alpha": 2, "orientation": 1, "primaries": 1,
                   "transfer": 13, "matrix": 0, "full_range": 1, "dropped_before": 12,
                   "capture_ts_ns": -13 % 2**64, "publish_ts_ns": 14, "source_frame": 15,
                   "source_capture_ts_ns": -16 % 2**64, "user_tag": 17,
                   "present_ts_ns": -18 % 2**64, "wait_us": 19, "upload_16us": 20,
                   "encode_us": 21, "denoise_us": 22, "decode_us": 23,
                   "download_16us": 24}  # fmt: skip
    segment_values = {"abi_major": 1, "abi_minor": 0, "header_bytes": 4096,
                      "endian_tag": 0x01020304, "segment_bytes": 4096 + 4 * 8192,
                      "generation": 21, "ready": 0, "slot_count": 4, "slot_header_bytes": 128,
                      "slot_stride": 8192, "slots_offset": 4096, "slot_capacity": 8192 - 128,
                      "created_unix_ns": 24, "writer_pid": 22, "writer_start": 23}  # fmt: skip
    assert len(slot) == SLOT_HEADER_BYTES
    assert {name: _word(slot, SLOT_FIELDS[name]) for name in slot_values} == slot_values
    assert {name: _word(segment, SEGMENT_FIELDS[name]) for name in segment_values} == segment_values
    assert segment[0:8] == b"LFRING01"
    assert segment[0x28:0x38] == b"u" * 16
    assert segment[0x88:0xC8] == b"name".ljust(64, b"\0")


@pytest.mark.parametrize(("pixel_format", "width", "height"), FORMATS_AND_SIZES)
@pytest.mark.parametrize("padding", [0, 12])
def test_python_reads_what_c_writes(
    peer: Path, run_dir: Path, pixel_format: PixelFormat, width: int, height: int, padding: int
) -> None:
    arguments = [run_dir, "from-c", width, height, int(pixel_format), padding, 3]
    process = _start(peer, "write", *arguments)
    assert process.stdout.readline() == b"ready\n"

    with FrameReader("from-c", run_dir=run_dir) as reader:
        for expected in range(1, 6):
            _say(process, b"\n")
            assert process.stdout.readline() == b"%d\n" % expected
            frame = reader.read_next()
            assert frame is not None, reader.refusal
            assert frame.pixels.tobytes() == pattern(expected, frame.pixels.nbytes)
            assert frame.pixels.shape == (height, width, PIXEL_LAYOUTS[pixel_format].channels)
        meta = frame.meta
        assert (meta.pixel_format, meta.frame, meta.user_tag) == (pixel_format, 5, 77)
        assert (meta.capture_ts_ns, meta.present_ts_ns) == (-5, 123456789)
        assert (meta.alpha, meta.orientation) == (AlphaMode.STRAIGHT, Orientation.BOTTOM_FIRST)
        assert reader.status is RingStatus.LIVE
        process.communicate()
        assert reader.status is RingStatus.CLOSED
    assert list(run_dir.iterdir()) == []


@pytest.mark.parametrize(("pixel_format", "width", "height"), FORMATS_AND_SIZES)
def test_c_reads_what_python_writes(
    peer: Path, run_dir: Path, pixel_format: PixelFormat, width: int, height: int
) -> None:
    layout = PIXEL_LAYOUTS[pixel_format]
    row_bytes = width * layout.bytes_per_pixel
    with FrameWriter("to-c", slot_count=3, run_dir=run_dir) as writer:
        process = _start(peer, "read", run_dir, "to-c")
        for expected in range(1, 6):
            raw = np.frombuffer(pattern(expected, row_bytes * height), np.uint8)
            pixels = raw.view(layout.dtype).reshape(height, width, layout.channels)
            writer.publish(pixels, FrameMeta(width, height, pixel_format, user_tag=expected))
            _say(process, b"\n")
            assert process.stdout.read(1) == b"N"
            header = process.stdout.read(SLOT_HEADER_BYTES)
            meta = parse_slot_header(header, expected, 1 << 20).meta
            assert (meta.pixel_format, meta.user_tag) == (pixel_format, expected)
            assert process.stdout.read(len(raw)) == raw.tobytes()
        process.communicate()


def test_no_slot_header_can_harm_a_c_reader(peer: Path, run_dir: Path) -> None:
    rng = random.Random(4)
    with FrameWriter("hostile", slot_count=2, run_dir=run_dir) as writer:
        process = _start(peer, "read", run_dir, "hostile")
        name = json.loads((run_dir / "hostile.json").read_text())["segment"]
        with open(f"/dev/shm/{name}", "r+b") as file, mmap.mmap(file.fileno(), 0) as segment:
            answers = [_ask_about_disturbed(process, writer, segment, rng) for _ in range(500)]
        process.communicate()

    assert process.returncode == 0
    assert 20 < answers.count("N") < 480


def test_a_lapped_c_reader_never_sees_a_torn_frame(peer: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    writer = ring_process.start("burst", run_dir, "/dev/shm", "lap", 256, 256, 2)

    done = subprocess.run([peer, "lap", run_dir, "lap", "0.7"], capture_output=True, check=True)
    published, _ = writer.communicate()
    frames, torn, _retries = map(int, done.stdout.split())

    assert 0 < frames < int(published)
    assert torn == 0


def test_c_and_python_trust_the_same_segment_headers(peer: Path) -> None:
    rng = random.Random(1)
    packed = pack_segment_header(SegmentHeader(Geometry(4, 8192), 1, b"u" * 16, "s", 2, 3, 4))
    sound = packed[:0x38] + READY.to_bytes(8, "little") + packed[0x40:]
    headers = [_disturb(sound, rng, 0xC8) for _ in range(4000)]

    stdin = b"".join(header.ljust(SEGMENT_HEADER_BYTES, b"\0") for header in headers)
    done = subprocess.run([peer, "check"], input=stdin, capture_output=True, check=True)

    verdicts = [_is_trusted(header) for header in headers]
    assert done.stdout.decode() == "".join("01"[verdict] for verdict in verdicts)
    assert 100 < sum(verdicts) < 3900


def test_c_and_python_trust_the_same_slot_headers(peer: Path) -> None:
    rng = random.Random(2)
    capacity = 1 << 16
    sound = bytes(8) + pack_slot_body(FrameMeta(64, 64), 1, 0, 256, 64 * 256)
    headers = [_disturb(sound, rng, 0x34) for _ in range(4000)]

    done = subprocess.run(
        [peer, "check-slot", str(capacity)], input=b"".join(headers), capture_output=True,
        check=True,
    )  # fmt: skip

    verdicts = [_is_sound(header, capacity) for header in headers]
    assert done.stdout.decode() == "".join("01"[verdict] for verdict in verdicts)
    assert 100 < sum(verdicts) < 3900


@pytest.mark.parametrize("flags", [FrameFlags.LOCKSTEP, FrameFlags(0xFF00)])
def test_flags_that_a_reader_does_not_know_are_no_reason_to_refuse_a_frame(
    peer: Path, flags: FrameFlags
) -> None:
    header = bytes(8) + pack_slot_body(FrameMeta(64, 64, flags=flags), 1, 0, 256, 64 * 256)

    done = subprocess.run(
        [peer, "check-slot", str(1 << 16)], input=header, capture_output=True, check=True
    )

    assert done.stdout == b"1"
    assert parse_slot_header(header, 1, 1 << 16).meta.flags == flags


def test_a_picture_with_any_stage_times_is_taken_by_every_reader(peer: Path) -> None:
    rng = random.Random(5)
    sound = bytes(8) + pack_slot_body(FrameMeta(64, 64), 1, 0, 256, 64 * 256)
    headers = [
        sound[:0x64] + rng.randbytes(4) + sound[0x68:0x70] + rng.randbytes(16) for _ in range(200)
    ]

    done = subprocess.run(
        [peer, "check-slot", str(1 << 16)], input=b"".join(headers), capture_output=True, check=True
    )
    budgets = [parse_slot_header(header, 1, 1 << 16).meta.budget for header in headers]

    assert done.stdout == b"1" * 200
    # Captured, made and published at 0: the parts still add up.
    assert [budget.latency_us for budget in budgets] == [0] * 200


@given(st.tuples(*[st.integers(-(2**40), 2**40)] * 6), st.tuples(*[st.integers(0, 2**62)] * 3))
def test_times_of_any_length_fit_their_fields_and_still_add_up(
    times: tuple[int, ...], stamps_ns: tuple[int, ...]
) -> None:
    captured_ns, made_ns, published_ns = stamps_ns
    meta = FrameMeta(
        8, 8, capture_ts_ns=made_ns, source_capture_ts_ns=captured_ns, times=StageTimes(*times)
    )

    header = bytes(8) + pack_slot_body(meta, 1, published_ns, 32, 256)
    told = parse_slot_header(header, 1, 256).meta

    longest = (2**32 - 1, 0xFFFF * 16, *[2**32 - 1] * 3, 0xFFFF * 16)
    unit_us = (1, 16, 1, 1, 1, 16)
    assert told.times == tuple(
        min(max(us, 0), most) // unit * unit
        for us, most, unit in zip(times, longest, unit_us, strict=True)
    )
    assert told.budget.latency_us == published_ns // 1000 - captured_ns // 1000


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
def test_the_header_is_also_cpp(standard: str, tmp_path: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    source = tmp_path / "plugin.cpp"
    source.write_text('#include "sdv2_ring.h"\nint main() { return 0; }\n')

    subprocess.run(
        [compiler, f"-std={standard}", *STRICT, f"-I{INCLUDE}", "-c", source, "-o", tmp_path / "o"],
        check=True,
    )


def _ask_about_disturbed(
    process: subprocess.Popen[bytes], writer: FrameWriter, segment: mmap.mmap, rng: random.Random
) -> str:
    """The C reader's answer to a frame whose header was disturbed after it was published."""
    frame = writer.publish(np.zeros((64, 64, 4), np.uint8), FrameMeta(64, 64))
    size = segment.size()
    start = SEGMENT_HEADER_BYTES + (frame % 2) * ((size - SEGMENT_HEADER_BYTES) // 2)
    header = segment[start : start + SLOT_HEADER_BYTES]
    body = _disturb(header[16:], rng, 0x34 - 16)  # lock and frame number stay
    segment[start + 16 : start + SLOT_HEADER_BYTES] = body
    _say(process, b"\n")
    answer = process.stdout.read(1).decode()
    if answer == "N":
        meta = parse_slot_header(process.stdout.read(SLOT_HEADER_BYTES), frame, size).meta
        bytes_per_pixel = PIXEL_LAYOUTS[meta.pixel_format].bytes_per_pixel
        process.stdout.read(meta.width * meta.height * bytes_per_pixel)
    return answer


def _start(peer: Path, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [peer, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _say(process: subprocess.Popen[bytes], line: bytes) -> None:
    process.stdin.write(line)
    process.stdin.flush()


def _word(raw: bytes, at: tuple[int, int]) -> int:
    offset, num_bytes = at
    return int.from_bytes(raw[offset : offset + num_bytes], "little")


def _disturb(sound: bytes, rng: random.Random, end: int) -> bytes:
    raw = bytearray(sound)
    for _ in range(rng.randint(0, 2)):
        size = rng.choice([1, 1, 2, 4, 8])
        start = rng.randrange(end // size) * size
        value = rng.choice([0, 1, 2, 4, 37, 64, 4096, 8192, 2**31, 2**64 - 1, rng.getrandbits(64)])
        raw[start : start + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(raw[: len(sound)])


def _is_trusted(raw: bytes) -> bool:
    try:
        parse_segment_header(raw)
    except RingError:
        return False
    return True


def _is_sound(raw: bytes, capacity: int) -> bool:
    try:
        parse_slot_header(raw, 1, capacity)
    except RingError:
        return False
    return True
