"""`bench model`: cells measured, set beside their roofline, judged, drawn; what fails is a row."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.bench.device_peaks import DeviceLimits, Peak, device_limits, published_peak
from sdv2_host.bench.memory_watch import MemoryWatch
from sdv2_host.bench.model import OWN_VAE, Cell, LastBuilt, build
from sdv2_host.bench.model_cell import RunLength, roofline_fps, stage_row, what_holds
from sdv2_host.bench.model_matrix import Matrix, TimeLeft, about, run
from sdv2_host.bench.model_report import draw, format_table
from sdv2_host.bench.model_targets import ELSEWHERE, H200, MET, NOT_MET, verdicts
from sdv2_host.bench.stage_costs import StageCost
from sdv2_host.cli import main
from sdv2_host.clock import NS_PER_S
from sdv2_host.commands.kept_report import KeepFn, until_interrupted
from sdv2_host.gpu.wan_models import WanFamily
from sdv2_host.types import Size
from tests.bench.test_bench_cells import CPU, toy_cell
from tests.toys import TOY_DIT

LIMITS = DeviceLimits("made up", Peak(100.0, 1.0, ""), Peak(80.0, 0.9, ""), launch_us=10.0)
TOO_LARGE = WanFamily(replace(TOY_DIT, ffn_dim=1 << 45))
STAGES = ["upload", "encode", "denoise", "decode", "download"]


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """Of a toy, of one that no memory holds, and of the embedded model."""
    tiny = Cell("tiny", Size(64, 64), 1, OWN_VAE, CPU, torch.float32)
    toy = replace(toy_cell("hybrid", 1), settings=(("attention", "math"),))
    cells = [toy, replace(toy_cell(), family=TOO_LARGE), tiny]
    return run(cells, RunLength(0.05), lambda *_: None, lambda _: None, lambda *_: LIMITS)


def test_a_cell_says_all_that_was_measured(result: dict[str, Any]) -> None:
    row = result["cells"][0]

    assert row["fps"] > 0
    assert list(row["stages"]) == STAGES
    assert row["chunk_ms"]["p50"] <= row["chunk_ms"]["p95"] <= row["chunk_ms"]["p99"]
    assert 0 < row["ttff_ms"]["median"] <= row["ttff_ms"]["worst"]
    assert row["latency_ms"]["p50"] > 0
    assert row["host_ms"]["device_ms"] > 0
    assert row["memory"]["peak_host_mb"] > 0
    assert row["memory"]["early"]["chunk"] <= row["memory"]["end"]["chunk"] == row["chunks"]
    assert json.loads(json.dumps(result)) == result


def test_a_cell_that_does_not_fit_is_a_row_and_the_rest_goes_on(result: dict[str, Any]) -> None:
    toy, too_large, tiny = result["cells"]

    assert "failed" not in toy
    assert set(too_large) == {"name", "engine", "size", "steps", "vae", "device", "dtype", "failed"}
    assert tiny["stages"]["denoise"]["tflop"] > 0


def test_the_table_and_the_picture_have_every_cell(result: dict[str, Any], tmp_path: Path) -> None:
    table = format_table(result)
    picture = draw(tmp_path / "new" / "model.png", result)

    for row in result["cells"]:
        assert row["name"] in table
    assert result["cells"][1]["failed"] in table
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_there_is_is_kept_after_every_cell() -> None:
    kept: list[int] = []
    too_large = replace(toy_cell(), family=TOO_LARGE)

    run(
        [too_large, too_large],
        RunLength(0.05),
        lambda *_: None,
        lambda result: kept.append(len(result["cells"])),
        lambda *_: LIMITS,
    )

    assert kept == [1, 2]


def test_the_models_of_the_last_cell_serve_the_next_that_needs_the_same() -> None:
    last = LastBuilt()
    first = last.build(toy_cell("wan", steps=2))
    again = last.build(replace(toy_cell("wan", steps=1), size=Size(96, 64)))
    other = last.build(toy_cell("taehv"))

    assert again.models is first.models
    assert again.spec == build(replace(toy_cell("wan", steps=1), size=Size(96, 64))).spec
    assert other.models.dit is not first.models.dit


@given(
    st.floats(1, 100),
    st.builds(StageCost, *[st.integers(1, 10**12)] * 3, st.integers(1, 10**5)),
)
def test_a_stage_is_held_by_its_largest_cost_that_was_paid(ms: float, cost: StageCost) -> None:
    parts = {
        "compute": cost.flop / 100e9,
        "memory": cost.moved_bytes / 1e9,
        "launches": cost.num_kernels / 100,
    }

    name, held_ms = what_holds(ms, cost, LIMITS)

    paid = {part: part_ms for part, part_ms in parts.items() if part_ms <= 1.1 * ms}
    assert held_ms == pytest.approx(max(paid.values())) if paid else name == "memory"
    assert not paid or parts[name] == pytest.approx(held_ms)


def test_the_roofline_is_the_slower_of_multiplying_and_of_moving_what_is_kept() -> None:
    multiplies = StageCost(flop=10**12, kept_bytes=10**9)
    moves = StageCost(flop=10**11, kept_bytes=5 * 10**9)

    assert stage_row(20.0, multiplies, LIMITS)["roofline_share"] == pytest.approx(10 / 20)
    assert stage_row(20.0, moves, LIMITS)["roofline_share"] == pytest.approx(5 / 20)
    both = {"encode": multiplies, "decode": moves}
    assert roofline_fps(4, both, LIMITS) == pytest.approx(4000 / (10 + 5))


def test_a_card_is_known_by_its_exact_name_and_anything_else_is_measured() -> None:
    h200 = published_peak(H200, torch.bfloat16)

    assert h200 is not None
    assert (h200.tflops, h200.tbps) == (990.0, 4.8)
    assert published_peak(H200, torch.float32) is None
    assert published_peak("NVIDIA GeForce RTX 4090 Laptop GPU", torch.bfloat16) is None
    here = device_limits(CPU, torch.float32)
    assert here.peak is here.measured
    assert min(here.peak.tflops, here.peak.tbps, here.launch_us) > 0


def test_memory_is_compared_from_a_tenth_of_the_run_to_its_end() -> None:
    watch = MemoryWatch(CPU)

    for chunk in range(1, 31):
        watch.see(chunk, chunk / 30)

    result = watch.result()
    assert (result["early"]["chunk"], result["end"]["chunk"]) == (3, 30)
    assert result["peak_host_mb"] >= result["end"]["host_mb"] > 0
    grown_mb = result["end"]["host_mb"] - result["early"]["host_mb"]
    assert result["host_growth_mb"] == pytest.approx(grown_mb)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_card_the_hosts_part_is_known_and_its_memory_stays() -> None:
    cell = replace(toy_cell("taehv"), device=torch.device("cuda:0"), dtype=torch.bfloat16)

    result = run([cell], RunLength(10.0, chunks=200), lambda *_: None, lambda _: None)

    (row,) = result["cells"]
    assert row["host_ms"]["by"] == "profile of the device"
    assert 0 < row["host_ms"]["device_ms"] < row["chunk_ms"]["p50"]
    assert row["memory"]["device_growth_mb"] == row["memory"]["device_growth_allocations"] == 0
    assert row["memory"]["peak_device_mb"] > 0
    assert all(row["stages"][name]["ms"] > 0 for name in STAGES)


def measured(fps: float, ttff_ms: float, host_p99_ms: float) -> dict[str, Any]:
    end = {"chunk": 10_000}
    grown = {"device_growth_mb": 0.0, "device_growth_allocations": 3}
    return {
        "fps": fps,
        "ttff_ms": {"worst": ttff_ms},
        "host_ms": {"p99": host_p99_ms},
        "memory": {"end": end, **grown},
    }


def test_targets_are_judged_on_their_own_hardware_only() -> None:
    cell = Cell("wan-1.3b", Size(512, 512), 2, "wan", torch.device("cuda"), torch.bfloat16)
    row = measured(fps=81.0, ttff_ms=140.0, host_p99_ms=0.4)

    here, elsewhere = (verdicts(cell, name, row) for name in (H200, "NVIDIA H100 PCIe"))

    assert [one.status for one in here] == [MET, NOT_MET, MET, NOT_MET]
    assert [one.what for one in here] == ["fps", "ttff_ms", "host_p99_ms", "growth"]
    assert [one.status for one in elsewhere] == [ELSEWHERE] * 3 + [NOT_MET]


def test_the_time_left_is_told_after_a_while_and_not_at_every_step() -> None:
    told: list[str] = []
    now_s = [0.0]
    left = TimeLeft(lambda text, _: told.append(text), 4, lambda: int(now_s[0] * NS_PER_S))

    for seconds, fraction in ((1.0, 0.5), (4.0, 0.1), (10.0, 0.5), (11.0, 0.6), (20.0, 1.0)):
        now_s[0] = seconds
        left.of_cell(0, "cell")("chunks", fraction)

    assert [text.removeprefix("1 of 4: cell, chunks") for text in told] == [
        *("", "", ", about 70 s left", ", about 70 s left", ", about 60 s left")
    ]
    assert about(600) == "about 10 min"


def test_cells_with_the_same_models_come_one_after_another() -> None:
    place = (torch.device("cuda"), torch.bfloat16)
    sizes = [Size(512, 512), Size(832, 480)]
    engines = ["tiny", "wan-1.3b"]

    cells = Matrix(engines, sizes, [1, 2], ["wan", "taehv"], *place, RunLength(1.0)).cells()

    assert len(cells) == 2 * 2 + 2 * 2 * 2
    assert {(cell.device, cell.dtype) for cell in cells[:4]} == {(CPU, torch.float32)}
    models = [(cell.engine, cell.vae) for cell in cells]
    assert (
        models == [("tiny", OWN_VAE)] * 4 + [("wan-1.3b", "wan")] * 4 + [("wan-1.3b", "taehv")] * 4
    )


def test_what_is_ended_leaves_what_was_done_until_then() -> None:
    kept: list[dict[str, Any]] = []

    def measure(keep: KeepFn) -> dict[str, Any]:
        keep({"cells": 1})
        keep({"cells": 2})
        raise KeyboardInterrupt

    assert until_interrupted(measure, kept.append) == ({"cells": 2}, False)
    assert kept == [{"cells": 1}, {"cells": 2}]
    assert until_interrupted(lambda _: {"cells": 3}, kept.append) == ({"cells": 3}, True)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--engine", "tiny,wan"), "--engine wan: expected tiny or wan-1.3b or wan-14b"),
        (("--engine", "tiny,,tiny"), "--engine 'tiny,,tiny': expected values with a comma"),
        (("--steps", "2,x"), "--steps x: expected 1..4"),
        (("--steps", "5"), "--steps 5: expected 1..4"),
        (("--size", "100x96"), "--size 100x96: sides must be multiples of 16"),
        (("--engine", "tiny", "--vae", "wan"), "--vae wan: the embedded model has one of its own"),
        (("--engine", "wan-1.3b", "--vae", "own"), "--vae own: expected wan or hybrid or taehv"),
        (("--engine", "tiny", "--graphs", "off"), "--graphs off: of the Wan engines only"),
        (("--engine", "wan-1.3b", "--attention", "own"), "--attention own: expected 'auto'"),
        (("--seconds", "0"), "--seconds 0.0: expected 0.1..3600"),
        (("--chunks", "2"), "--chunks 2: expected 3..10000000"),
        (("--input-fps", "0"), "--input-fps 0.0: expected 1..1000"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdv2-host", "bench", "model", *args])

    code = main()

    assert code == 2
    assert said in capsys.readouterr().err


def test_the_command_writes_table_picture_and_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    args = ("--engine", "tiny", "--size", "64x64", "--steps", "1", "--chunks", "3")
    monkeypatch.setattr(
        sys,
        "argv",
        ["sdv2-host", "bench", "model", *args, "--threads", "1", "--out", str(tmp_path)],
    )

    code = main()

    assert code == 0
    assert "tiny 64x64 1 step own" in capsys.readouterr().out
    assert (tmp_path / "model.png").exists()
    written = json.loads((tmp_path / "model.json").read_text())
    assert written["cells"][0]["chunks"] == 3
    assert written["hardware"]["torch"]
