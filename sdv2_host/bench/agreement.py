"""Whether two programs make the same of the same input, to rounding.

In float32 they must agree. In a smaller number format two right answers differ, so there each is
compared with the other's float32: ours may be no further from it than theirs is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

SLACK_DB = 2.0
"""How much further than their own rounding ours may be from float32."""
CEILING_DB = 150.0
"""What equal numbers score: infinity does not fit JSON."""


class Made(NamedTuple):
    """By both of the same input: float32, on the host, of one shape."""

    theirs: Tensor
    ours: Tensor


def agreement(exact: Made, limit: float, rounded: Made | None = None) -> dict[str, Any]:
    """How far apart they are, in parts of the largest number; and whether that is rounding.

    `exact` was made in float32, where `limit` holds, `rounded` in a smaller format.
    """
    apart = float((exact.ours - exact.theirs).abs().max() / exact.theirs.abs().max())
    result = {
        "float32_difference": apart,
        "float32_limit": limit,
        "is_equal": apart <= limit,
    }
    if rounded is None:
        return result
    theirs_db = peak_snr_db(rounded.theirs, exact.theirs)
    ours_db = peak_snr_db(rounded.ours, exact.theirs)
    return result | {
        "psnr_db": peak_snr_db(rounded.ours, rounded.theirs),
        "theirs_to_float32_db": theirs_db,
        "ours_to_float32_db": ours_db,
        "is_equal": result["is_equal"] and ours_db >= theirs_db - SLACK_DB,
    }


def peak_snr_db(got: Tensor, want: Tensor) -> float:
    """Of the largest wanted number, 1 for pictures, to the mean error."""
    mean_squared = float((got - want).square().mean())
    ratio = float(want.abs().max()) ** 2 / max(mean_squared, 1e-30)
    return min(10 * math.log10(max(ratio, 1e-30)), CEILING_DB)


def agreement_text(result: dict[str, Any], dtype: str) -> str:
    """The result as a line for a person."""
    text = (
        f"{'equal' if result['is_equal'] else 'NOT EQUAL'}: in float32 at most "
        f"{result['float32_difference']:.1e} of the largest apart (limit "
        f"{result['float32_limit']:.0e})"
    )
    if "psnr_db" in result:
        text += (
            f"; in {dtype} PSNR {result['psnr_db']:.1f} dB, and to float32 theirs "
            f"{result['theirs_to_float32_db']:.1f}, ours {result['ours_to_float32_db']:.1f} dB"
        )
    return text


@contextmanager
def exact_float32() -> Iterator[None]:
    """Inside, convolutions in float32 keep all their digits on CUDA; matrix products do anyway."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
