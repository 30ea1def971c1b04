"""Frames and texts come back as they were; anything else is a protocol error, whatever it says."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.errors import ProtocolError
from sdv2_host.stages.frame_bytes import pack_frames, pack_text, unpack_frames, unpack_text
from sdv2_host.stages.messages import FrameHeader, Text
from sdv2_host.types import Frame, FrameMeta, Orientation, PixelFormat

DTYPES = ["uint8", "uint16", "float16", "float32"]


def test_frames_of_any_size_and_format_come_back_as_they_were() -> None:
    random = np.random.default_rng(1)
    frames = [
        Frame(
            FrameMeta(7, 5, pixel_format=PixelFormat.BGRA8, orientation=Orientation.BOTTOM_FIRST),
            random.integers(0, 255, (5, 7, 4), dtype=np.uint8)[:, ::1],
        ),
        Frame(
            FrameMeta(3, 2, pixel_format=PixelFormat.RGBA32F),
            random.random((4, 3, 4), dtype=np.float32)[::2],
        ),
        Frame(FrameMeta(6, 4, pixel_format=PixelFormat.R8), np.ones((4, 6), np.uint8)),
    ]

    headers, payload = pack_frames(frames)
    back = unpack_frames(headers, bytearray(payload))

    for one, other in zip(frames, back, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert one.pixels.dtype == other.pixels.dtype
        assert one.meta == other.meta


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_text_comes_back_to_the_bit(dtype: torch.dtype) -> None:
    embedding = torch.randn(1, 6, 8).to(dtype).transpose(1, 2)

    header, payload = pack_text(3, embedding)

    assert torch.equal(unpack_text(header, bytearray(payload)), embedding)


@given(
    st.lists(
        st.builds(
            FrameHeader,
            shape=st.lists(st.integers(-2, 6), max_size=4).map(tuple),
            dtype=st.sampled_from(DTYPES),
            pixel_format=st.sampled_from([37, 44, 109, -1, 5]),
            orientation=st.integers(-1, 2),
        ),
        min_size=1,
        max_size=3,
    ),
    st.binary(max_size=400),
)
def test_headers_that_lie_are_refused(headers: list[FrameHeader], payload: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        frames = unpack_frames(headers, bytearray(payload))
        assert sum(frame.pixels.nbytes for frame in frames) == len(payload)


@given(
    st.tuples(st.integers(-1, 3), st.integers(-1, 3), st.integers(-1, 3)),
    st.sampled_from(["float32", "bfloat16"]),
    st.binary(max_size=60),
)
def test_texts_that_lie_are_refused(shape: tuple[int, int, int], dtype: str, raw: bytes) -> None:
    header = Text.model_validate({"text_id": 0, "shape": shape, "dtype": dtype})

    with contextlib.suppress(ProtocolError):
        assert unpack_text(header, bytearray(raw)).nbytes == len(raw)


def test_a_picture_larger_than_any_is_refused_whatever_follows() -> None:
    header = FrameHeader(shape=(10**9, 10**9, 4), dtype="uint8", pixel_format=37, orientation=0)

    with pytest.raises(ProtocolError, match="frame of shape"):
        unpack_frames([header], bytearray(8))
