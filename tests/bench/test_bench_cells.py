"""Cells of `bench model`: what they are built of, and the clip they are shown."""

from __future__ import annotations

import numpy as np
import torch

from sdv2_host.bench.model import NUM_CLIP_FRAMES, OWN_VAE, Cell, build, source_clip
from sdv2_host.gpu.wan_models import WanFamily
from sdv2_host.types import Size
from sdv2_host.wan.dims import WanVAEDims
from tests.toys import TOY_DIT, TOY_VAE

CPU = torch.device("cpu")
FAMILY = WanFamily(TOY_DIT, WanVAEDims(base=8), TOY_VAE)


def toy_cell(vae: str = "wan", steps: int = 2, seed: int = 0) -> Cell:
    return Cell("wan-1.3b", Size(64, 64), steps, vae, CPU, torch.float32, FAMILY, seed)


def test_the_seed_alone_decides_the_weights() -> None:
    first, again, other = (build(toy_cell(seed=seed)).models.dit for seed in (1, 1, 2))

    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two in pairs)
    assert not torch.equal(first.patch_embedding.weight, other.patch_embedding.weight)


def test_a_cell_has_a_row_of_cache_for_each_of_its_steps() -> None:
    built = build(toy_cell(steps=3))

    assert built.spec.num_rows == 3
    assert built.spec.width_px == built.spec.height_px == 64


def test_the_embedded_model_is_a_cell_too() -> None:
    cell = Cell("tiny", Size(96, 64), 2, OWN_VAE, CPU, torch.float32)

    built = build(cell)

    assert (built.spec.width_px, built.spec.height_px) == (96, 64)
    assert built.models.text.encode("neon").shape[0] == 1


def test_the_clip_pans_and_begins_anew_where_it_ended() -> None:
    clip = source_clip(toy_cell(), NUM_CLIP_FRAMES + 1)

    assert all(frame.pixels.shape == (64, 64, 4) for frame in clip)
    assert not np.array_equal(clip[0].pixels, clip[1].pixels)
    assert np.array_equal(clip[0].pixels, clip[NUM_CLIP_FRAMES].pixels)
    assert np.array_equal(np.roll(clip[0].pixels, 1, axis=1), clip[1].pixels)
