"""Our mode `reference` beside the reference's published package, where it is installed.

`.ci/run` installs it into `build/reference_package`, away from the tested set, whose pins its own
would replace: `pip install --no-deps --target build/reference_package streamdiffusionv2==0.1.1
einops==0.8.2 omegaconf==2.4.0`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sdv2_host.bench import against_reference
from sdv2_host.bench.against import format_lines
from sdv2_host.bench.model import Cell, LastBuilt, build
from sdv2_host.bench.reference_equality import pictures
from sdv2_host.bench.reference_package import PACKAGE, require_package
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.wan_models import WanFamily
from sdv2_host.types import Layout, Size
from sdv2_host.wan.dims import TinyVAEDims, WanDims, WanVAEDims

FOLDER = Path(__file__).parents[2] / "build" / "reference_package"
DIT = WanDims(dim=256, num_heads=2, ffn_dim=128, num_layers=2, text_dim=32)
"""Heads of 128 and 512 rows of text, which the reference's caches are made for."""
CELL = Cell(
    "wan-1.3b",
    Size(48, 32),
    3,
    "wan",
    torch.device("cpu"),
    torch.float32,
    WanFamily(DIT, WanVAEDims(base=4), TinyVAEDims()),
)
NUM_CHUNKS = 11
"""The cache is full after six."""
CLOSE = 2e-5


def no_progress(text: str, fraction: float) -> None:
    assert text
    assert 0 <= fraction <= 1


@pytest.fixture(scope="module", autouse=True)
def _package(one_thread: None) -> Iterator[None]:
    del one_thread
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        try:
            require_package()
        except ConfigError as error:
            pytest.skip(str(error))
        yield


@pytest.mark.parametrize("layout", [Layout.BATCH, Layout.SERIAL])
def test_our_pictures_are_those_of_the_package(layout: Layout) -> None:
    made = pictures(CELL, build(CELL), layout, NUM_CHUNKS)

    num_late = CELL.steps - 1 if layout is Layout.BATCH else 0
    num_frames = 1 + 4 * (NUM_CHUNKS - num_late)
    assert made.ours.shape == made.theirs.shape == (num_frames, 3, 32, 48)
    assert made.theirs.std() > 0.05
    difference = float((made.ours - made.theirs).abs().max())
    print(f"{layout.value}: {difference:.1e}")
    assert difference < CLOSE


def test_a_stream_with_another_rule_is_not_that_of_the_package() -> None:
    built = build(CELL)
    other_rule = built._replace(spec=replace(built.spec, timestep_offset=99.0))

    made = pictures(CELL, other_rule, Layout.SERIAL, 2)

    assert float((made.ours - made.theirs).abs().max()) > 10 * CLOSE


def test_the_comparison_has_both_forms_and_every_stage() -> None:
    cell = replace(CELL, steps=2, dtype=torch.bfloat16)

    result = against_reference.run(cell, LastBuilt(), 0.01, no_progress, equal_chunks=2)

    assert [one["layout"] for one in result["equality"]] == ["batch", "serial"]
    assert all(one["is_equal"] for one in result["equality"])
    assert [one["layout"] for one in result["speed"]] == ["batch", "serial"]
    for speed in result["speed"]:
        assert set(speed["stages"]) == {"encode", "denoise", "decode"}
        assert sum(stage["theirs_ms"] for stage in speed["stages"].values()) > 0
    lines = "\n".join(format_lines(result, "bfloat16"))
    assert lines.count("pictures, its") == 2
    assert lines.count("frames per second: theirs") == 2
    assert json.loads(json.dumps(result)) == result


def test_with_taehv_its_fast_mode_is_timed_and_not_compared() -> None:
    cell = replace(CELL, steps=1, vae="hybrid")

    result = against_reference.run(cell, LastBuilt(), 0.01, no_progress)

    assert result["equality"] == []
    assert [one["layout"] for one in result["speed"]] == ["batch"]
    assert "pictures: not compared" in "\n".join(format_lines(result, "float32"))
    assert result["against"] == PACKAGE
