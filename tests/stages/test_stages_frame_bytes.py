"""Frames and texts through bytes: the same bits come out, and sizes that are wrong are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.errors import ProtocolError
from sdv2_host.stages.frame_bytes import pack_frames, pack_text, unpack_frames, unpack_text
from sdv2_host.stages.messages import FrameHeader, Text
from sdv2_host.types import Frame
from tests.any_frames import any_frames

GREY = {"shape": (2, 3), "dtype": "uint8", "pixel_format": 9, "orientation": 0}


def seen(frame: Frame) -> object:
    """What a model is shown of it."""
    meta, pixels = frame.meta, frame.pixels
    return (
        (meta.width, meta.height, meta.pixel_format, meta.orientation, meta.alpha),
        (pixels.shape, pixels.dtype, pixels.tobytes()),
    )


@given(st.lists(any_frames(), min_size=1, max_size=3))
def test_frames_of_any_kind_come_out_as_they_went_in(frames: list[Frame]) -> None:
    headers, payload = pack_frames(frames)

    out = unpack_frames(headers, bytearray(payload))

    assert list(map(seen, out)) == list(map(seen, frames))


def test_rows_that_do_not_lie_side_by_side_come_out_as_they_are_seen() -> None:
    (header,), payload = pack_frames(unpack_frames([FrameHeader(**GREY)], bytearray(b"abcdef")))
    (frame,) = unpack_frames([header], bytearray(payload))
    flipped = Frame(frame.meta, frame.pixels[::-1])

    _, turned = pack_frames([flipped])

    assert turned == b"defabc"


@pytest.mark.parametrize(
    ("change", "num_bytes", "said"),
    [
        ({}, 5, "end early"),
        ({}, 7, "frames of 6 bytes in a payload of 7"),
        ({"shape": (2, 0)}, 0, "shape"),
        ({"shape": (-2, -3)}, 6, "shape"),
        ({"shape": (6,)}, 6, "shape"),
        ({"shape": (1, 2, 3, 1)}, 6, "shape"),
        ({"shape": (1 << 40, 1 << 40)}, 6, "shape"),
        ({"pixel_format": 1}, 6, "frame: 1 is not a valid PixelFormat"),
        ({"orientation": 2}, 6, "frame: 2 is not a valid Orientation"),
        ({"alpha": 3}, 6, "frame: 3 is not a valid AlphaMode"),
    ],
)
def test_frames_that_cannot_be_are_refused(
    change: dict[str, Any], num_bytes: int, said: str
) -> None:
    header = FrameHeader(**(GREY | change))

    with pytest.raises(ProtocolError, match=said):
        unpack_frames([header], bytearray(num_bytes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_text_comes_out_as_it_went_in(dtype: torch.dtype) -> None:
    wide_1LE = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    text_1LE = wide_1LE[:, :, ::2]

    header, payload = pack_text(7, text_1LE)

    assert header.text_id == 7
    assert torch.equal(unpack_text(header, bytearray(payload)), text_1LE)


@pytest.mark.parametrize(
    ("shape", "num_bytes"),
    [((1, 2, 3), 23), ((1, 2, 3), 25), ((1, 0, 3), 0), ((1, -2, -3), 24), ((1, 1 << 40, 3), 24)],
)
def test_a_text_of_another_size_is_refused(shape: tuple[int, int, int], num_bytes: int) -> None:
    header = Text(text_id=1, shape=shape, dtype="float32")

    with pytest.raises(ProtocolError, match="text of shape"):
        unpack_text(header, bytearray(num_bytes))
