"""What a bench of a live host cannot measure is refused before a host is started for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from sdv2_host.cli import main


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("swap", "--size", "128x128", "--to", "128x128"), "--to 128x128: the size it begins with"),
        (("swap", "--to", "100x96"), "--to 100x96: sides must be multiples of 16"),
        (("swap", "--fps", "0"), "--fps 0.0: expected 1..240"),
        (("swap", "--fade", "-1"), "--fade -1.0: expected 0..10"),
        (("two-hosts", "--lanes", "4", "--lanes", "0"), "--lanes 0: expected 1..64"),
        (("two-hosts", "--delay-ms", "-1"), "--delay-ms -1.0: expected 0..400"),
        (("two-hosts", "--chunks", "5"), "--chunks 5: expected 20..10000"),
        (("control", "--rounds", "0"), "--rounds 0: expected 1..1000"),
        (("control", "--rate", "nan"), "--rate nan: expected 1..100000"),
        (("faults", "--only", "kill,fire"), "--only fire: no such fault, there are calm, kill"),
        (("faults", "--times", "0"), "--times 0: expected 1..10000"),
        (("faults", "--engine", "wan-1.3b"), "--engine wan-1.3b: expected tiny or passthrough"),
        (("looks", "--out", "."), "--out .: the sheet is one picture"),
        (("looks", "--out", "sheets"), "a name that ends in .jpg, .jpeg or .png"),
        (("looks", "--out", "sheet.txt"), "--out sheet.txt: the sheet is one picture"),
        (("looks", "--out", f"{__file__}/sheet.jpg"), "cannot write "),
        (("looks", "nope"), "nope: no such folder of presets"),
        (("looks", "."), ".: no preset of engine tiny among its *.json"),
    ],
)
def test_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    args: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdv2-host", "bench", *args])
    monkeypatch.chdir(tmp_path)

    code = main()

    fault = capsys.readouterr().err
    assert code == 2
    assert said in fault
    assert fault.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_looks_without_a_folder_are_those_that_come_with_the_product(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdv2-host", "bench", "looks", "--size", "64x64"])
    monkeypatch.chdir(tmp_path)

    code = main()

    assert code == 0
    with Image.open(tmp_path / "looks.jpg") as sheet:
        assert sheet.height > 2 * 64 + 3 * 8, "more than a row"
