"""Frames as a ring may hold them, drawn for property tests: every format, size and value."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from sdv2_host.ipc.ring_layout import PIXEL_LAYOUTS
from sdv2_host.types import AlphaMode, Frame, FrameMeta, Orientation, PixelFormat, Size

SIZES = st.one_of(
    st.sampled_from([Size(1, 1), Size(1, 2048), Size(2047, 1), Size(2048, 3), Size(63, 65)]),
    st.builds(Size, st.integers(1, 90), st.integers(1, 90)),
)
ODD_VALUES = (np.nan, np.inf, -np.inf, -0.0, 1e30, -1e30, 1e-40)
"""Where a format has floats."""


@st.composite
def any_frames(draw: st.DrawFn) -> Frame:
    size, pixel_format = draw(SIZES), draw(st.sampled_from(PixelFormat))
    layout = PIXEL_LAYOUTS[pixel_format]
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (size.height, size.width, layout.channels)
    if layout.dtype.kind == "u":
        pixels = random.integers(0, np.iinfo(layout.dtype).max, shape, layout.dtype, endpoint=True)
    else:
        pixels = random.normal(0.5, 0.5, shape)
        is_odd = random.random(shape) < draw(st.sampled_from([0.0, 0.1, 1.0]))
        pixels = np.where(is_odd, random.choice(ODD_VALUES, shape), pixels)
        with np.errstate(over="ignore"):  # half floats have no 1e30
            pixels = pixels.astype(layout.dtype)
    meta = FrameMeta(
        *size, pixel_format, draw(st.sampled_from(AlphaMode)), draw(st.sampled_from(Orientation))
    )
    return Frame(meta, pixels)
