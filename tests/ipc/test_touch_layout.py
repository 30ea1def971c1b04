"""Laws of TouchDesigner's Shared Mem layout: all comes out as it went in, or is refused."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.errors import RingError
from sdv2_host.ipc.touch_layout import (
    DATA_MAGIC,
    FORMATS,
    GL_MAGIC,
    HEADER_BYTES,
    INFO_BYTES,
    INFO_MAGIC,
    MAX_HEADER_BYTES,
    TouchHeader,
    TouchInfo,
    data_name,
    info_names,
    lock_name,
    pack_header,
    pack_info,
    parse_header,
    parse_info,
)
from sdv2_host.types import PixelFormat

SIDES = st.integers(1, 16384)
ASPECTS = st.floats(0.0078125, 128, width=32)
U32 = st.integers(0, 2**32 - 1)
GOOD = TouchHeader(64, 32, 37)
ROOM = 48 + 64 * 32 * 4

OFFSETS = {
    # name: (offset, struct code), written down once more from the documentation
    "magic": (0, "<I"),
    "version": (4, "<I"),
    "width": (8, "<i"),
    "height": (12, "<i"),
    "aspect_x": (16, "<f"),
    "aspect_y": (20, "<f"),
    "pixel_format": (24, "<I"),
    "data_bytes": (32, "<q"),
    "data_offset": (40, "<i"),
    "gamut": (44, "<I"),
    "transfer": (48, "<I"),
}


def changed(raw: bytes, **fields: float) -> bytes:
    """The header with these fields overwritten."""
    block = bytearray(raw)
    for name, value in fields.items():
        offset, code = OFFSETS[name]
        struct.pack_into(code, block, offset, value)
    return bytes(block)


def padded(raw: bytes) -> bytes:
    return raw.ljust(MAX_HEADER_BYTES, b"\xaa")


@st.composite
def headers(draw: st.DrawFn) -> TouchHeader:
    version = draw(st.sampled_from([1, 2]))
    colours = [draw(U32) if version == 2 else 0 for _ in range(2)]
    return TouchHeader(
        draw(SIDES),
        draw(SIDES),
        draw(st.sampled_from(sorted(FORMATS))),
        version,
        HEADER_BYTES[version] + draw(st.integers(0, 4096)),
        draw(ASPECTS),
        draw(ASPECTS),
        *colours,
    )


@given(headers())
def test_a_header_read_equals_the_header_written(header: TouchHeader) -> None:
    raw = pack_header(header)

    assert len(raw) == HEADER_BYTES[header.version]
    assert parse_header(padded(raw), header.data_offset + header.data_bytes) == header


@given(headers())
def test_every_field_stands_where_the_documentation_has_it(header: TouchHeader) -> None:
    raw = padded(pack_header(header))

    found = {name: struct.unpack_from(code, raw, at)[0] for name, (at, code) in OFFSETS.items()}

    assert found.pop("magic") == DATA_MAGIC == 0xD95EF835
    for name in ("gamut", "transfer") if header.version == 1 else ():
        found.pop(name)  # not of this version
    assert found == {name: getattr(header, name) for name in found}


@pytest.mark.parametrize("number", sorted(FORMATS))
def test_a_format_is_carried_as_it_is_or_refused_with_what_to_set(number: int) -> None:
    found = FORMATS[number]
    header = TouchHeader(2, 2, number)

    if found.ring is None:
        with pytest.raises(RingError, match=r"Pixel Format is .*set Pixel Format to 8-bit fixed"):
            _ = header.ring_format
    else:
        assert header.ring_format is found.ring
    assert header.data_bytes == 4 * found.bytes_per_pixel
    assert found.bytes_per_pixel in (1, 2, 4, 8, 16)


def test_the_formats_of_rings_are_all_carried() -> None:
    assert {found.ring for found in FORMATS.values()} - {None} == set(PixelFormat)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"magic": 0}, "0x00000000, which is no picture"),
        ({"magic": INFO_MAGIC}, "0x56ed34ba, which is no picture"),
        ({"magic": GL_MAGIC}, "TouchDesigner 2021 or older"),
        ({"version": 0}, "header version 0, expected 1 or 2"),
        ({"version": 256}, "header version 256"),
        ({"version": 0xFFFFFFFF}, "header version 4294967295"),
        ({"width": 0}, "size 0x32, expected sides of 1 to 16384 px"),
        ({"height": -1}, "size 64x-1"),
        ({"width": 16385, "data_bytes": 16385 * 32 * 4}, "size 16385x32"),
        ({"width": 2**31 - 1, "height": 2**31 - 1}, "size 2147483647x2147483647"),
        ({"aspect_x": math.nan}, "aspect nan:1.0"),
        ({"aspect_y": math.inf}, "aspect 1.0:inf"),
        ({"aspect_x": 0.0}, "aspect 0.0:1.0"),
        ({"aspect_y": -1.0}, "aspect 1.0:-1.0"),
        ({"pixel_format": 38}, "pixel format 38 is none that TouchDesigner lists"),
        ({"pixel_format": 0xF0009}, "pixel format 983049"),
        ({"pixel_format": 109}, "8192 bytes of pixels for 64x32 32-bit float"),
        ({"data_bytes": 0}, "0 bytes of pixels for 64x32 8-bit fixed"),
        ({"data_bytes": -8192}, "-8192 bytes of pixels"),
        ({"data_bytes": 2**63 - 1}, "9223372036854775807 bytes of pixels"),
        ({"data_offset": 47}, "8192 bytes of pixels at 47 do not lie behind the header"),
        ({"data_offset": 49}, "8192 bytes of pixels at 49 do not lie"),
        ({"data_offset": -1}, "pixels at -1"),
        ({"data_offset": 2**31 - 1}, "pixels at 2147483647"),
        ({"version": 2}, "8192 bytes of pixels at 48 do not lie"),
    ],
)
def test_a_false_header_is_refused_with_what_was_found(
    fields: dict[str, float], reason: str
) -> None:
    raw = padded(changed(pack_header(GOOD), **fields))

    with pytest.raises(RingError) as refused:
        parse_header(raw, ROOM)

    assert reason in str(refused.value)


@pytest.mark.parametrize("num_bytes", range(MAX_HEADER_BYTES))
def test_a_short_mapping_is_refused(num_bytes: int) -> None:
    raw = pack_header(replace(GOOD, version=2, data_offset=56))[:num_bytes]

    with pytest.raises(RingError, match="too few for a header"):
        parse_header(raw, num_bytes)


def test_a_newer_header_is_read_as_far_as_it_is_known() -> None:
    newer = changed(pack_header(replace(GOOD, version=2, data_offset=64)), version=3)

    assert parse_header(newer, ROOM + 16).width == 64


@settings(max_examples=500)
@given(
    st.binary(min_size=MAX_HEADER_BYTES, max_size=MAX_HEADER_BYTES),
    st.integers(1, 9) | st.just(255),
    st.sampled_from(sorted(FORMATS)),
    st.sets(st.sampled_from(sorted(OFFSETS)), max_size=4),
    st.integers(0, 2**20),
)
def test_what_is_accepted_lies_in_the_mapping(
    noise: bytes, version: int, code: int, noisy: set[str], mapping_bytes: int
) -> None:
    raw = bytearray(padded(pack_header(replace(GOOD, version=2, pixel_format=code))))
    struct.pack_into("<I", raw, 4, version)
    for name in noisy:
        offset, field_code = OFFSETS[name]
        end = offset + struct.calcsize(field_code)
        raw[offset:end] = noise[offset:end]

    try:
        header = parse_header(bytes(raw), mapping_bytes)
    except RingError:
        return

    assert header.data_offset >= HEADER_BYTES[1]
    assert header.data_offset + header.data_bytes <= mapping_bytes


@given(st.text("abcdefghijklmnopqrstuvwxyz", max_size=31), st.booleans(), st.booleans())
def test_an_info_read_equals_the_info_written(
    postfix: str, is_supported: bool, is_detached: bool
) -> None:
    info = TouchInfo(postfix, is_supported, is_detached)

    raw = pack_info(info)

    assert len(raw) == INFO_BYTES == 76
    assert struct.unpack_from("<II?", raw) == (0x56ED34BA, 2, is_supported)
    assert raw[10 : 10 + 2 * len(postfix)].decode("utf-16-le") == postfix
    assert raw[74] == is_detached
    assert parse_info(raw) == info


def test_an_info_of_version_1_knows_no_detach() -> None:
    raw = bytearray(pack_info(TouchInfo("abc", is_detached=True)))
    raw[4] = 1

    assert parse_info(bytes(raw)) == TouchInfo("abc")


@pytest.mark.parametrize("postfix", ["..\\x", "a b", "é", "a" * 32, "\\"])
def test_a_postfix_that_names_no_memory_is_refused(postfix: str) -> None:
    raw = bytearray(pack_info(TouchInfo()))
    raw[10 : 10 + 2 * len(postfix)] = postfix.encode("utf-16-le")

    with pytest.raises(RingError, match="postfix"):
        parse_info(bytes(raw))


@given(st.binary(max_size=200), st.booleans())
def test_no_info_can_harm_a_reader(noise: bytes, has_magic: bool) -> None:
    raw = struct.pack("<I", INFO_MAGIC) + noise if has_magic else noise

    try:
        postfix = parse_info(raw).postfix
    except RingError:
        return

    assert len(postfix) <= 31
    assert "\\" not in postfix


def test_names_are_those_of_touchdesigner() -> None:
    assert data_name("show-out") == "TouchSHMshow-out"
    assert data_name("show-out", "xyz") == "TouchSHMshow-outxyz"
    assert lock_name(data_name("show-out")) == "TouchSHMshow-outMutex"
    assert info_names("show-out") == (
        "TouchSHMTouchSHMshow-out4jhd783h",
        "TouchSHMshow-out4jhd783h",
    )
