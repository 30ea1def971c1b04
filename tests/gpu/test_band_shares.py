"""What each of several decoders computes, counted without computing it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sdv2_host.config import Config
from sdv2_host.gpu.band_shares import MOST_DECODERS, band_shares, planned_shares
from sdv2_host.types import Size
from sdv2_host.wan.bands import even_bands
from sdv2_host.wan.dims import WanVAEDims
from sdv2_host.wan.vae import WanVAE

DIMS = WanVAEDims(base=4, num_res_blocks=1)
SIZE = Size(24, 160)


def counted(count: int) -> float:
    """The most of one band over the whole, by decoding for real."""
    vae = WanVAE(DIMS)
    z_BFCHW = torch.zeros(1, 1, 16, SIZE.height // 8, SIZE.width // 8)

    def flops(rows: object) -> int:
        band = vae.init_band(rows, 1, SIZE.height, SIZE.width)  # type: ignore[arg-type]
        with FlopCounterMode(display=False) as counter:
            vae.decode_band(z_BFCHW, band, is_first=False)
        return int(counter.get_total_flops())

    cache = vae.init_cache(1, SIZE.height, SIZE.width)
    with FlopCounterMode(display=False) as counter:
        vae.decode(z_BFCHW, cache, is_first=False)
    return max(map(flops, even_bands(SIZE.height, count))) / counter.get_total_flops()


def test_shares_are_those_of_a_real_decoding() -> None:
    with torch.device("meta"):
        vae = WanVAE(DIMS)

    shares = band_shares(vae, SIZE)

    # Attention is another kernel on meta.
    real = [counted(count) for count in range(1, MOST_DECODERS + 1)]
    assert shares == pytest.approx(real, rel=0.005)


@pytest.mark.parametrize(("engine", "half"), [("tiny", 0.616), ("wan-1.3b", 0.543)])
def test_more_decoders_do_less_each_and_more_together(engine: str, half: float) -> None:
    config = Config.model_validate({"engine": engine, "width": 512, "height": 512})

    shares = planned_shares(config)

    assert shares[1] == pytest.approx(half, abs=0.001)
    assert shares[0] == 1
    assert list(shares) == sorted(shares, reverse=True)
    totals = [share * count for count, share in enumerate(shares, 1)]
    assert totals == sorted(totals)


def test_a_picture_of_few_rows_has_no_more_decoders_than_rows_of_latents() -> None:
    with torch.device("meta"):
        vae = WanVAE(DIMS)

    assert len(band_shares(vae, Size(64, 16))) == 2
