"""The comparison sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdv2_host.errors import HostError
from sdv2_host.sinks.sheet import Pair, write_sheet


def plain(value: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.full((height, width, 4), value, np.uint8)


def extent(path: Path, value: int) -> tuple[range, range]:
    """Rows and columns that hold long runs of `value`: a picture, not the edge of a letter."""
    is_value = np.asarray(Image.open(path))[..., 0] == value
    rows, columns = (np.flatnonzero(is_value.sum(axis) > 100) for axis in (1, 0))
    return range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1)


def test_input_is_left_of_its_output_and_beside_it(tmp_path: Path) -> None:
    pairs = [Pair(plain(60 + n), plain(200 + n), f"{n} s") for n in range(4)]

    write_sheet(tmp_path / "sheet.png", pairs, "title", columns=2)

    for n in range(4):
        rows, columns = extent(tmp_path / "sheet.png", 60 + n)
        after_rows, after_columns = extent(tmp_path / "sheet.png", 200 + n)
        assert rows == after_rows
        assert columns.stop <= after_columns.start
        assert len(rows) == len(columns) == 256


def test_pictures_of_another_shape_keep_their_proportions(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", [Pair(plain(60, 90, 160), plain(200), "")], "")

    rows, columns = extent(tmp_path / "sheet.png", 60)
    assert len(columns) / len(rows) == pytest.approx(16 / 9, rel=0.02)


def test_an_unwritable_sheet_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(HostError, match="cannot write"):
        write_sheet(tmp_path / "file" / "sheet.png", [Pair(plain(1), plain(2), "")], "")
