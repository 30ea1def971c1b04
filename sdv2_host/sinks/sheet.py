"""The comparison sheet: input frames beside what became of them, at several times, labelled."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sdv2_host.sinks.video_file import cannot_write
from sdv2_host.types import Size

CELL_SIDE_PX = 256
GAP_PX = 8
LABEL_PX = 22
BACKGROUND, INK, DIM_INK = (18, 19, 24), (236, 238, 244), (150, 156, 170)


class Pair(NamedTuple):
    """An input picture, the output made from it, both uint8 [H, W, 4] RGBA, and its label."""

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    label: str


def write_sheet(path: Path, pairs: list[Pair], title: str, columns: int = 3) -> None:
    """Writes the pairs as a PNG, left to right and top to bottom, input left of output.

    Raises:
        ConfigError: the file cannot be written.
    """
    assert pairs, "a sheet needs at least one pair"
    cell = _cell_size(pairs[0].after)
    columns = min(columns, len(pairs))
    rows = -(-len(pairs) // columns)
    pair_width = 2 * cell.width + GAP_PX
    width = columns * (pair_width + 2 * GAP_PX) + GAP_PX
    height = LABEL_PX + GAP_PX + rows * (cell.height + LABEL_PX + GAP_PX)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(LABEL_PX - 8)
    draw.text((GAP_PX, GAP_PX // 2), title, INK, font)
    for index, pair in enumerate(pairs):
        x = GAP_PX + index % columns * (pair_width + 2 * GAP_PX)
        y = LABEL_PX + GAP_PX + index // columns * (cell.height + LABEL_PX + GAP_PX)
        draw.text((x, y), f"input, {pair.label}", DIM_INK, font)
        draw.text((x + cell.width + GAP_PX, y), "output", INK, font)
        sheet.paste(_fit(pair.before, cell), (x, y + LABEL_PX))
        sheet.paste(_fit(pair.after, cell), (x + cell.width + GAP_PX, y + LABEL_PX))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def _cell_size(pixels: NDArray[np.uint8]) -> Size:
    height, width = pixels.shape[:2]
    scale = CELL_SIDE_PX / max(width, height)
    return Size(max(1, round(width * scale)), max(1, round(height * scale)))


def _fit(pixels: NDArray[np.uint8], cell: Size) -> Image.Image:
    """The whole picture inside the cell, centred, its proportions kept."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    scale = min(cell.width / image.width, cell.height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    framed = Image.new("RGB", cell, BACKGROUND)
    corner = ((cell.width - size[0]) // 2, (cell.height - size[1]) // 2)
    framed.paste(image.resize(size, Image.Resampling.LANCZOS), corner)
    return framed
