"""What the OBS source shows of a host's output ring."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from sdv2_host.types import AlphaMode, Orientation, PixelFormat
from tests.hosts import unique_name
from tests.obs.numbered import number_of, numbered
from tests.obs.obs_process import Stage, needs_obs
from tests.obs.toy_host import ToyHost

pytestmark = needs_obs

PICTURE = numbered(0xA5C3F1, 640, 480)
EVEN = PICTURE.copy()
EVEN[..., 3] = 255


def as_format(rgba: NDArray[np.uint8], pixel_format: PixelFormat) -> NDArray[np.generic]:
    """The same picture in another format of the ring."""
    if pixel_format is PixelFormat.BGRA8:
        return np.ascontiguousarray(rgba[..., [2, 1, 0, 3]])
    if pixel_format is PixelFormat.RGBA16:
        return rgba.astype(np.uint16) * 257
    if pixel_format is PixelFormat.RGBA16F:
        return (rgba / 255).astype(np.float16)
    if pixel_format is PixelFormat.RGBA32F:
        return (rgba / 255).astype(np.float32)
    return rgba


@pytest.mark.parametrize("pixel_format", [f for f in PixelFormat if f is not PixelFormat.R8])
def test_every_pixel_is_shown_as_it_was_sent(stage: Stage, pixel_format: PixelFormat) -> None:
    with ToyHost(unique_name()) as host:
        host.show(as_format(PICTURE, pixel_format), pixel_format=pixel_format)

        source = stage.add_source(host.name)

        assert stage.picture(source, PICTURE) == 0
        assert stage.picture(stage.scene, PICTURE) == 0


def test_grey_is_shown_as_grey(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        host.show(PICTURE[..., 1:2], pixel_format=PixelFormat.R8)

        source = stage.add_source(host.name)

        grey = np.repeat(PICTURE[..., 1:2], 3, axis=2)
        assert stage.picture(source, np.dstack([grey, PICTURE[..., 3]])) == 0


def test_a_picture_that_is_upside_down_in_the_ring_is_upright(stage: Stage) -> None:
    with ToyHost(unique_name()) as host:
        host.show(PICTURE[::-1].copy(), orientation=Orientation.BOTTOM_FIRST)

        source = stage.add_source(host.name)

        assert stage.picture(source, PICTURE) == 0
