"""`bench video` from the command line: files in, files out, faults in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from sdv2_host.bench.raft import PUBLISHED, Raft
from sdv2_host.cli import main
from tests.bench.raft_recording import formula_weights
from tests.bench.tiny_clip import write_tiny_clip
from tests.sources.clips import write_clip


@pytest.fixture(scope="module")
def raft_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raft") / PUBLISHED
    torch.save(formula_weights(Raft().state_dict()), path)
    return path


def _run(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    monkeypatch.setattr(sys, "argv", ["sdv2-host", "bench", "video", *map(str, args)])
    return main()


def test_weights_of_ones_own_are_loaded_named_and_used(
    tmp_path: Path,
    raft_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_tiny_clip(tmp_path / "my-clip")
    source = write_clip(tmp_path / "source.mp4", 2)
    weights = ("--clip", tmp_path / "my-clip", "--raft", raft_file, "--device", "cpu")

    code = _run(monkeypatch, source, source, *weights, "--prompt", "neon", "--out", tmp_path / "d")

    seen = capsys.readouterr()
    assert code == 0
    assert f"RAFT-large of {PUBLISHED}, on cpu" in seen.err
    assert "CLIP: my-clip (patches of 8 px of 32), on cpu" in seen.err
    result = json.loads((tmp_path / "d" / "video.json").read_text())
    assert (result["clip"], result["flow"]) == (
        "my-clip (patches of 8 px of 32)",
        f"RAFT-large of {PUBLISHED}",
    )
    assert result["scores"]["styled"] == result["scores"]["source"]
    assert result["scores"]["styled"]["clip_prompt"] != 0
    assert (tmp_path / "d" / "video.png").stat().st_size > 500


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("none.mp4", "none.mp4"), "none.mp4 does not exist"),
        (("source.mp4", "source.mp4", "--raft", "no.pth"), "--raft no.pth: No such file"),
        (("source.mp4", "source.mp4", "--clip", "no"), "--clip no/config.json"),
        (("source.mp4", "source.mp4", "--frames", "0"), "--frames 0"),
    ],
)
def test_a_fault_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    said: str,
) -> None:
    write_clip(tmp_path / "source.mp4", 2)
    monkeypatch.chdir(tmp_path)

    code = _run(monkeypatch, *args)

    error = capsys.readouterr().err.replace("\\", "/")
    assert code != 0
    assert said in error
    assert "Traceback" not in error
