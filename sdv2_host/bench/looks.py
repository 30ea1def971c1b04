"""Every preset of the embedded model on one sheet: to look at, and to see what a change did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sdv2_host.commands.report import check_writable
from sdv2_host.control.preset_file import Look
from sdv2_host.control.presets import PresetShelf
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.tiny_engine import build_tiny_engine
from sdv2_host.host.output_mix import Picture, mixed
from sdv2_host.param_values import apply
from sdv2_host.params import Params
from sdv2_host.sinks.video_file import cannot_write
from sdv2_host.sources.pattern import TestPattern
from sdv2_host.types import Frame, FrameMeta, ProgressFn, Size

NUM_CHUNKS = 10
"""As long as the cache needs to fill, and a little more."""
COLUMNS = 4
LABEL_PX = 26
GAP_PX = 8
QUALITY = 82
SUFFIXES = (".jpg", ".jpeg", ".png")
INK, GROUND = (226, 230, 240), (16, 18, 24)


def looks_sheet(folder: Path, target: Path, size: Size, progress: ProgressFn) -> list[str]:
    """Writes the sheet; the presets on it. What it cannot do shows before the model is loaded.

    Raises:
        ConfigError: a preset is wrong, there is none, or the sheet cannot be written.
    """
    if target.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"--out {target}: the sheet is one picture, give it a name that ends in "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
    looks = _read_looks(folder)
    check_writable(target)
    engine = build_tiny_engine(size, threads=0)
    frames = _frames(size)
    cells = [("Input", frames[-1].pixels)]
    for index, look in enumerate(looks):
        params = apply(Params(), look.values)
        engine.reset()
        styled = engine.step(frames[:1], params)
        for at in range(1, len(frames), engine.chunk_frames):
            styled = engine.step(frames[at : at + engine.chunk_frames], params)
        cells.append((look.name, mixed(frames[-1].pixels, styled.frames[-1], params.mix)))
        progress(f"rendering {look.name}", (index + 1) / len(looks))
    try:
        _sheet(cells, size).save(target, quality=QUALITY)
    except OSError as error:
        raise cannot_write(target, error) from error
    return [look.name for look in looks]


def _read_looks(folder: Path) -> list[Look]:
    """The presets in the folder that the embedded model can show, one at least."""
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder of presets; name one that has them, or none for those that "
            "come with sdv2-host"
        )
    shelf = PresetShelf(folder, folder, "tiny")
    if problems := shelf.scan():
        raise ConfigError("; ".join(dict.fromkeys(problems)))  # the shelf reads it as two folders
    looks = [look for look in shelf.looks.values() if look.engine in ("tiny", "")]
    if not looks:
        raise ConfigError(
            f"{folder}: no preset of engine tiny among its *.json; name a folder that has one, or "
            "none for those that come with sdv2-host"
        )
    return looks


def _frames(size: Size) -> list[Frame]:
    pattern = TestPattern(size, 30.0)
    pictures = [pattern.draw(index) for index in range(1 + 4 * NUM_CHUNKS)]
    return [Frame(FrameMeta(size.width, size.height), picture) for picture in pictures]


def _sheet(cells: list[tuple[str, Picture]], size: Size) -> Image.Image:
    rows = -(-len(cells) // COLUMNS)
    step_x, step_y = size.width + GAP_PX, size.height + LABEL_PX + GAP_PX
    sheet = Image.new("RGB", (COLUMNS * step_x + GAP_PX, rows * step_y + GAP_PX), GROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for index, (name, picture) in enumerate(cells):
        x, y = GAP_PX + index % COLUMNS * step_x, GAP_PX + index // COLUMNS * step_y
        sheet.paste(Image.fromarray(np.ascontiguousarray(picture[..., :3])), (x, y))
        draw.text((x + 2, y + size.height + 3), name, INK, font)
    return sheet
