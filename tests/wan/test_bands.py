"""Bands of a picture, decoded apart, are the rows of the whole one."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sdv2_host.wan.bands import Reach, Rows, even_bands, plan_band
from sdv2_host.wan.dims import TINY_VAE, TinyVAEDims, WanVAEDims
from sdv2_host.wan.streaming_vae import BandedVAE
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import HybridVAE, TaehvVAE, WanVAE

WAN = WanVAEDims(base=4, num_res_blocks=1)
TAEHV = TinyVAEDims(encoder_width=4, decoder_widths=(8, 6, 5, 4), num_mem_blocks=1)
CHUNKS = (1, 2, 1)
"""Latents of each chunk."""
EXACT = 1e-11
"""In double precision, with few channels to a norm."""
Make = Callable[[], BandedVAE]


pytestmark = pytest.mark.usefixtures("one_thread")


def wan(dims: WanVAEDims = WAN) -> WanVAE:
    vae = WanVAE(dims)
    for weight in vae.parameters():
        if weight.ndim == 1:
            weight.normal_(0, 0.1)
    return vae


def embedded() -> TinyVAE:
    return TinyVAE(TINY_VAE)


def taehv() -> TaehvVAE:
    return TaehvVAE(TinyVAE(TAEHV))


def hybrid() -> HybridVAE:
    return HybridVAE(wan(), TinyVAE(TAEHV))


def made(make: Make, dtype: torch.dtype) -> BandedVAE:
    torch.manual_seed(0)
    vae = make()
    assert isinstance(vae, nn.Module)
    vae.to(dtype).eval().requires_grad_(False)
    return vae


def latents(height_px: int, dtype: torch.dtype, num_rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (num_rows, sum(CHUNKS), 16, height_px // 8, 3)
    return torch.randn(shape, generator=generator, dtype=torch.double).to(dtype)


def chunked(z: Tensor) -> list[Tensor]:
    return [z[:, first:last] for first, last in pairwise(accumulate(CHUNKS, initial=0))]


@torch.inference_mode()
def whole(vae: BandedVAE, z: Tensor) -> Tensor:
    """Streamed, by one decoder."""
    height_px = z.shape[-2] * 8
    cache = vae.init_cache(z.shape[0], height_px, z.shape[-1] * 8, dtype=z.dtype)
    parts = []
    for index, part in enumerate(chunked(z)):
        frames_BTCHW, cache = vae.decode(part, cache, index == 0)
        parts.append(frames_BTCHW)
    return torch.cat(parts, 1)


@torch.inference_mode()
def banded(vae: BandedVAE, z: Tensor, rows: Rows) -> Tensor:
    """Streamed, these rows alone."""
    height_px = z.shape[-2] * 8
    band = vae.init_band(rows, z.shape[0], height_px, z.shape[-1] * 8, dtype=z.dtype)
    parts = []
    for index, part in enumerate(chunked(z)):
        frames_BTCHW, band = vae.decode_band(part, band, index == 0)
        parts.append(frames_BTCHW)
    return torch.cat(parts, 1)


def together(vae: BandedVAE, z: Tensor, num_bands: int) -> Tensor:
    bands = even_bands(z.shape[-2] * 8, num_bands)
    return torch.cat([banded(vae, z, rows) for rows in bands], dim=-2)


@pytest.mark.parametrize("num_bands", [1, 2, 3, 7])
@pytest.mark.parametrize("make", [wan, embedded, taehv, hybrid])
def test_bands_put_together_are_the_whole_stream(make: Make, num_bands: int) -> None:
    vae, z = made(make, torch.double), latents(136, torch.double, num_rows=2)

    expected = whole(vae, z)
    got = together(vae, z, num_bands)

    assert got.shape == expected.shape
    assert torch.allclose(got, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("make", [partial(wan, WanVAEDims(base=8)), embedded, taehv])
def test_in_float32_bands_differ_by_no_more_than_a_rounding(make: Make) -> None:
    vae, z = made(make, torch.float32), latents(256, torch.float32)

    assert torch.allclose(together(vae, z, 2), whole(vae, z), rtol=0, atol=1e-5)


@given(st.integers(2, 16).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
@settings(max_examples=5, deadline=None)
def test_any_number_of_bands_of_any_height_is_the_whole(sizes: tuple[int, int]) -> None:
    num_rows, num_bands = sizes
    z = latents(num_rows * 8, torch.double)
    for make in (wan, embedded):
        vae = made(make, torch.double)
        assert torch.allclose(together(vae, z, num_bands), whole(vae, z), rtol=0, atol=EXACT)


@pytest.mark.parametrize("make", [wan, embedded, taehv])
def test_a_row_less_of_halo_shows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, z = made(make, torch.double), latents(256, torch.double)
    expected = whole(vae, z)[..., 96:160, :]
    middle = Rows(96, 160)
    assert torch.allclose(banded(vae, z, middle), expected, rtol=0, atol=EXACT)

    def too_narrow(rows: Rows, height: int, reaches: object) -> object:
        *others, last = reaches  # type: ignore[misc]
        narrow = [Reach(max(0, one.neighbours - 1), one.scale) for one in others]
        return plan_band(rows, height, [*narrow, last])

    monkeypatch.setattr("sdv2_host.wan.vae_halves.plan_band", too_narrow)
    monkeypatch.setattr("sdv2_host.wan.tiny_vae.plan_band", too_narrow)

    assert not torch.allclose(banded(vae, z, middle), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("make", [wan, embedded, taehv])
def test_a_band_that_is_zeroed_is_fresh(make: Make) -> None:
    vae, z = made(make, torch.double), latents(64, torch.double)
    rows = Rows(16, 40)
    band = vae.init_band(rows, 1, 64, 24, dtype=torch.double)
    with torch.inference_mode():
        for part in chunked(z.flip(1)):
            _, band = vae.decode_band(part, band, is_first=False)
        for memory in band.memories:
            memory.zero_()

        again, _ = vae.decode_band(z[:, :1], band, is_first=True)

    assert torch.equal(again, banded(vae, z, rows)[:, :1])


@pytest.mark.parametrize("make", [wan, taehv])
def test_a_half_of_a_large_picture_is_remembered_in_little_more_than_half_the_memory(
    make: Make,
) -> None:
    vae = made(make, torch.float32)

    def num_bytes(rows: Rows) -> int:
        return sum(m.nbytes for m in vae.init_band(rows, 1, 512, 512).memories)

    assert 0.5 < num_bytes(Rows(0, 256)) / num_bytes(Rows(0, 512)) < 0.6


def test_a_third_in_the_middle_has_two_halos() -> None:
    vae = made(wan, torch.float32)
    first, middle, last = (vae.init_band(rows, 1, 768, 64) for rows in even_bands(768, 3))

    sizes = [sum(m.nbytes for m in band.memories) for band in (first, middle, last)]

    assert sizes[0] == sizes[2]
    assert sizes[0] < sizes[1] < 1.2 * sizes[0]


def seen(rows: set[int], height: int, reach: Reach) -> set[int]:
    """Rows that these are made of, one by one."""
    grown = {row + by for row in rows for by in range(-reach.neighbours, reach.neighbours + 1)}
    return {row // reach.scale for row in grown if 0 <= row < height}


@given(
    st.lists(st.builds(Reach, st.integers(0, 3), st.integers(1, 2)), min_size=1, max_size=6),
    st.integers(1, 12),
    st.data(),
)
def test_every_layer_is_given_the_rows_that_the_band_is_made_of_and_no_other(
    reaches: list[Reach], entry_height: int, data: st.DataObject
) -> None:
    height = entry_height
    for reach in reaches:
        height *= reach.scale
    first = data.draw(st.integers(0, height - 1))
    rows = Rows(first, data.draw(st.integers(first + 1, height)))

    plan = plan_band(rows, height, reaches)

    needed = set(range(*rows))
    for reach, given_rows, kept in reversed(
        list(zip(reaches, plan.inputs, plan.kept, strict=True))
    ):
        made_rows = range(given_rows.first * reach.scale, given_rows.last * reach.scale)
        assert set(made_rows[kept]) == needed
        needed = seen(needed, height, reach)
        assert set(range(*given_rows)) == needed
        height //= reach.scale


@given(st.integers(1, 90).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_even_bands_cover_the_picture_once_and_differ_by_a_latents_rows(
    sizes: tuple[int, int],
) -> None:
    num_rows, count = sizes

    bands = even_bands(num_rows * 8, count)

    assert [row for rows in bands for row in range(*rows)] == list(range(num_rows * 8))
    heights = {rows.num for rows in bands}
    assert max(heights) - min(heights) in {0, 8}


@pytest.mark.parametrize("count", [0, 9])
def test_more_bands_than_rows_of_latents_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=re.escape("64 pixels high: expected 1 to 8")):
        even_bands(64, count)


@pytest.mark.parametrize("rows", [Rows(0, 0), Rows(4, 16), Rows(0, 72), Rows(-8, 8), Rows(16, 8)])
@pytest.mark.parametrize("make", [wan, taehv])
def test_rows_that_are_not_those_of_latents_are_refused(make: Make, rows: Rows) -> None:
    with pytest.raises(ValueError, match="of 64: expected some of them"):
        made(make, torch.float32).init_band(rows, 1, 64, 64)
