"""What a bench of a live host cannot measure is refused before a host is started for it."""

from __future__ import annotations

import sys

import pytest

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
    ],
)
def test_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdv2-host", "bench", *args])

    code = main()

    assert code == 2
    assert said in capsys.readouterr().err
