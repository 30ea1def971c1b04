"""`bench model --against`: turns, agreement, what must be installed, and the parts of diffusers."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdv2_host.bench.against import DIFFUSERS, REFERENCE, beside, format_lines
from sdv2_host.bench.agreement import Made, agreement
from sdv2_host.bench.alternation import MAX_UNITS, MIN_PAIRS, Pair, alternate, compared
from sdv2_host.bench.device_peaks import DeviceLimits, Peak
from sdv2_host.bench.diffusers_parts import common_parts
from sdv2_host.bench.model import Cell, LastBuilt, build
from sdv2_host.bench.model_cell import RunLength
from sdv2_host.bench.model_matrix import run
from sdv2_host.bench.model_report import format_table
from sdv2_host.bench.reference_package import PACKAGE, VERSION, require_package
from sdv2_host.bench.reference_stream import EveryBfloat16AsFloat32, SharedDraws
from sdv2_host.cli import main
from sdv2_host.errors import ConfigError
from sdv2_host.types import Layout, Size
from tests.bench.test_bench_cells import toy_cell

LIMITS = DeviceLimits("made up", Peak(100.0, 1.0, ""), Peak(80.0, 0.9, ""), launch_us=10.0)
pytestmark = pytest.mark.usefixtures("one_thread")


def cell_of(vae: str = "wan") -> Cell:
    return replace(toy_cell(vae), size=Size(32, 48))


def no_progress(text: str, fraction: float) -> None:
    assert text
    assert 0 <= fraction <= 1


def is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_turns_alternate_and_each_goes_first_in_turn() -> None:
    order: list[tuple[str, int]] = []

    result = alternate(
        lambda units: order.append(("ours", units)),
        lambda units: order.append(("theirs", units)),
        0.05,
        no_progress,
        "turns",
    )

    names = [name for name, units in order if units > 1]
    assert names[:4] == ["ours", "theirs", "theirs", "ours"]
    assert names.count("ours") == names.count("theirs") == result["pairs"] >= MIN_PAIRS
    assert result["units_per_turn"] == MAX_UNITS


def test_a_ratio_is_of_pairs_so_that_a_machine_that_slows_down_does_not_move_it() -> None:
    slowing = [Pair(ms, 3 * ms) for ms in (1.0, 2.0, 4.0, 8.0)]

    result = compared([*slowing, Pair(1.0, 100.0)], units_per_turn=1)

    assert result["ratio"] == result["ratio_low"] == result["ratio_high"] == pytest.approx(3.0)
    assert result["ours_ms"] == 2.0


def test_in_float32_both_must_agree_to_the_limit() -> None:
    wanted = torch.tensor([0.0, 1.0, -2.0])

    near = agreement(Made(wanted, wanted + 0.0019), limit=1e-3)
    far = agreement(Made(wanted, wanted + 0.0021), limit=1e-3)

    assert near["is_equal"]
    assert not far["is_equal"]


def test_in_a_smaller_format_ours_may_be_no_further_from_float32_than_theirs() -> None:
    exact = torch.linspace(0, 1, 1000)
    same = Made(exact, exact)

    as_near = agreement(same, 1e-3, Made(exact + 1e-2, exact - 1e-2))
    further = agreement(same, 1e-3, Made(exact + 1e-2, exact + 2e-2))

    assert as_near["is_equal"]
    assert as_near["theirs_to_float32_db"] == pytest.approx(40.0, abs=0.01)
    assert as_near["psnr_db"] == pytest.approx(34.0, abs=0.1)
    assert not further["is_equal"]


def test_draws_are_replayed_at_the_chunk_that_made_them() -> None:
    """In a batch chunk 1 takes its step 2 while chunk 2 is the newest; a row that began the batch
    full, as chunk -1 at step 1, takes its step 2 with the first."""
    draws, like = SharedDraws(), torch.empty(1, 2)
    drawn = []
    for _ in range(4):
        with draws.of_next_chunk():
            drawn.append([torch.randn_like(like) for _ in range(3)])

    batch, serial = draws.noise_for(Layout.BATCH), draws.noise_for(Layout.SERIAL)

    assert torch.equal(batch(0, 0, 2, like), drawn[0][2])
    assert torch.equal(batch(1, 0, 0, like), drawn[1][0])
    assert torch.equal(batch(1, 0, 1, like), drawn[1][1])
    assert torch.equal(batch(1, 0, 2, like), drawn[2][2])
    assert torch.equal(batch(-1, 0, 2, like), drawn[1][2])
    assert torch.equal(serial(1, 0, 2, like), drawn[1][2])


def test_draws_are_the_same_in_every_number_format_and_only_inside() -> None:
    made = []
    for dtype in (torch.float32, torch.bfloat16):
        with SharedDraws().of_next_chunk():
            made.append(torch.randn_like(torch.empty(2, 3, dtype=dtype)))

    assert made[1].dtype is torch.bfloat16
    assert torch.equal(made[0].bfloat16(), made[1])
    assert not torch.equal(torch.randn_like(made[0]), torch.randn_like(made[0]))


def test_whoever_asks_for_bfloat16_gets_float32_inside_and_bfloat16_after() -> None:
    with EveryBfloat16AsFloat32():
        moved = nn.Linear(2, 2).to(dtype=torch.bfloat16).weight
        made = torch.zeros(2, dtype=torch.bfloat16)
        cast = torch.zeros(2, dtype=torch.float64).to(torch.bfloat16)

    assert {moved.dtype, made.dtype, cast.dtype} == {torch.float32}
    assert torch.zeros(2, dtype=torch.bfloat16).dtype is torch.bfloat16


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    return beside(DIFFUSERS, cell_of(), LastBuilt(), 1e-3, no_progress)


def test_our_parts_make_what_those_of_diffusers_make(parts: dict[str, Any]) -> None:
    for row in parts["parts"]:
        print(row["part"], row["float32_difference"])
        assert row["float32_difference"] < 2e-5, row["part"]
        assert row["is_equal"]
        assert row["ours_ms"] > 0
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert [row["part"].split(",")[0] for row in parts["parts"]] == ["encode", "decode", "denoise"]
    assert json.loads(json.dumps(parts)) == parts


def test_the_table_has_every_part(parts: dict[str, Any]) -> None:
    lines = "\n".join(format_lines(parts, "float32"))

    assert all(row["part"] in lines for row in parts["parts"])
    assert lines.count("equal: in float32") == 3
    assert "NOT" not in lines


def test_a_part_with_other_weights_is_not_called_equal() -> None:
    built = build(cell_of())
    with torch.inference_mode():
        encode, decode, _ = common_parts(cell_of(), built)
        next(built.models.vae.decoder.parameters()).mul_(1.1)  # type: ignore[attr-defined]
        made = {
            part.name: Made(part.theirs(part.inputs[0]), part.ours(part.inputs[0]))
            for part in (encode, decode)
        }

    assert agreement(made["encode"], 1e-4)["is_equal"]
    assert not agreement(made["decode"], 1e-4)["is_equal"]


@pytest.mark.parametrize(
    ("vae", "expected"), [("hybrid", ["encode", "denoise"]), ("taehv", ["denoise"])]
)
def test_what_diffusers_has_not_got_is_left_out(vae: str, expected: list[str]) -> None:
    cell = cell_of(vae)

    with torch.inference_mode():
        found = common_parts(cell, build(cell))

    assert [part.name.split(",")[0] for part in found] == expected


def test_a_cell_says_why_it_is_not_beside_the_reference() -> None:
    taehv = beside(REFERENCE, cell_of("taehv"), LastBuilt(), 1e-3, no_progress)
    tiny = beside(
        REFERENCE, replace(cell_of(), engine="tiny", vae="own"), LastBuilt(), 1e-3, no_progress
    )

    assert format_lines(taehv, "float32") == [
        "beside streamdiffusionv2: not compared, it has no VAE taehv; wan is its default, hybrid "
        "its --use_taehv"
    ]
    assert "no model tiny, only wan-1.3b and wan-14b" in tiny["failed"]


def test_rivals_are_rows_of_the_cell_in_table_and_result() -> None:
    cells: list[Cell] = [cell_of("taehv")]

    result = run(
        cells,
        RunLength(0.01),
        no_progress,
        lambda _: None,
        lambda *_: LIMITS,
        rivals=(REFERENCE, DIFFUSERS),
    )

    row = result["cells"][0]
    assert [one["against"] for one in row["against"]] == [REFERENCE, DIFFUSERS]
    table = format_table(result)
    assert "beside streamdiffusionv2: not compared" in table
    assert "denoise, one step of one frame alone" in table


def bench_model(monkeypatch: pytest.MonkeyPatch, against: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sdv2-host", "bench", "model", "--against", against])
    return main()


@pytest.mark.skipif(is_installed(PACKAGE), reason="the reference's package is installed here")
def test_without_the_package_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = bench_model(monkeypatch, PACKAGE)

    assert code == 2
    assert f"pip install --no-deps {PACKAGE}=={VERSION} einops omegaconf" in capsys.readouterr().err


def test_an_unknown_rival_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = bench_model(monkeypatch, "scope")

    said = capsys.readouterr().err
    assert code == 2
    assert "--against scope" in said
    assert REFERENCE in said


def test_another_release_of_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / f"{PACKAGE}-0.2.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0.2.0\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match=re.escape("version 0.2.0 is installed, expected 0.1.1")):
        require_package()
