"""Pictures for the control page."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from sdv2_host.control.pictures import HEADER, INPUT, MAX_SIDE_PX, PictureFeed, encode_picture
from sdv2_host.ipc.frame_ring import FrameWriter
from sdv2_host.types import Frame, FrameMeta
from tests.hosts import unique_name


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (1919, 1081), (256, 256)])
def test_pictures_are_small_jpegs_of_the_same_proportions(size: tuple[int, int]) -> None:
    width, height = size
    frame = Frame(FrameMeta(width, height, frame=5), np.full((height, width, 4), 200, np.uint8))

    message = encode_picture(1, frame)

    assert HEADER.unpack_from(message) == (1, width, height, 5)
    tmp = Image.open(io.BytesIO(message[HEADER.size :]))
    assert max(tmp.size) <= MAX_SIDE_PX
    assert tmp.size[0] / tmp.size[1] == pytest.approx(width / height, rel=0.05, abs=0.01)


def test_each_frame_is_a_picture_once() -> None:
    async def run() -> list[list[int]]:
        name = unique_name()
        with FrameWriter(f"{name}-in") as ring:
            ring.publish(np.zeros((16, 16, 4), np.uint8), FrameMeta(16, 16))
            feed = PictureFeed(f"{name}-in", f"{name}-out")
            kinds = [[kind for kind, _ in await feed.newest()] for _ in range(2)]
            feed.close()
        return kinds

    assert asyncio.run(run()) == [[INPUT], []]
