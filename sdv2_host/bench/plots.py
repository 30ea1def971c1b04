"""Charts of `bench quality` as pictures: lines over time, and values with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from sdv2_host.errors import ConfigError

INK, FAINT, BACKGROUND = (236, 238, 244), (70, 74, 88), (18, 19, 24)
COLOURS = ((110, 190, 255), (255, 180, 90), (130, 220, 140), (240, 130, 170))
WIDTH_PX, PANEL_PX, ROW_PX, TOP_PX = 900, 150, 24, 26
LEFT_PX, RIGHT_PX = 250, 110


class Panel(NamedTuple):
    """One line over time, on its own scale."""

    title: str
    values: Sequence[float]
    low: float
    high: float


class Bar(NamedTuple):
    """A value and its interval."""

    label: str
    value: float
    low: float
    high: float


def draw_lines(path: Path, times_s: Sequence[float], panels: Sequence[Panel]) -> Path:
    """Writes the panels one above the other over one axis of time, held from chunk to chunk.

    Raises:
        ConfigError: the file cannot be written.
    """
    image = Image.new("RGB", (WIDTH_PX, TOP_PX + len(panels) * PANEL_PX), BACKGROUND)
    draw = ImageDraw.Draw(image)
    left, right = 60, WIDTH_PX - 20
    span_s = max(times_s[-1], 1e-9)
    x_of = [left + (right - left) * time / span_s for time in times_s]
    for index, panel in enumerate(panels):
        colour = COLOURS[index % len(COLOURS)]
        top = TOP_PX + index * PANEL_PX
        bottom = top + PANEL_PX - 40
        height = bottom - top
        scale = height / max(panel.high - panel.low, 1e-9)
        draw.text((left, top - 16), panel.title, fill=colour)
        for y, value in ((bottom, panel.low), (top, panel.high)):
            draw.line((left, y, right, y), fill=FAINT)
            draw.text((8, y - 6), f"{value:.2f}", fill=INK)
        y_of = [bottom - (value - panel.low) * scale for value in panel.values]
        steps = [(x_of[0], y_of[0])]
        for i in range(1, len(x_of)):
            steps += [(x_of[i], y_of[i - 1]), (x_of[i], y_of[i])]
        draw.line(steps, fill=colour, width=2)
    draw.text((right - 60, image.height - 18), f"{times_s[-1]:.1f} s", fill=INK)
    draw.text((left, image.height - 18), "0 s", fill=INK)
    return save(image, path)


def draw_bars(path: Path, groups: Sequence[tuple[str, Sequence[Bar]]]) -> Path:
    """Writes groups of values with their intervals, each group on its own scale; a line marks 0
    where the scale has it.

    Raises:
        ConfigError: the file cannot be written.
    """
    heights = [TOP_PX + len(bars) * ROW_PX + 10 for _, bars in groups]
    image = Image.new("RGB", (WIDTH_PX, sum(heights)), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for index, (title, bars) in enumerate(groups):
        top = sum(heights[:index])
        colour = COLOURS[index % len(COLOURS)]
        draw.text((10, top + 8), title, fill=colour)
        _draw_group(draw, bars, top + TOP_PX, colour)
    return save(image, path)


def _draw_group(
    draw: ImageDraw.ImageDraw, bars: Sequence[Bar], top: int, colour: tuple[int, int, int]
) -> None:
    low, high = min(bar.low for bar in bars), max(bar.high for bar in bars)
    if min(abs(low), abs(high)) < high - low:
        low, high = min(low, 0.0), max(high, 0.0)
    margin = max(high - low, 1e-9) * 0.05
    scale = (WIDTH_PX - LEFT_PX - RIGHT_PX) / (high - low + 2 * margin)

    def x_of(value: float) -> float:
        return LEFT_PX + (value - low + margin) * scale

    if low <= 0 <= high:
        draw.line((x_of(0), top, x_of(0), top + len(bars) * ROW_PX), fill=FAINT, width=2)
    for index, bar in enumerate(bars):
        middle = top + index * ROW_PX + ROW_PX // 2
        draw.text((24, middle - 6), bar.label, fill=INK)
        draw.line((x_of(bar.low), middle, x_of(bar.high), middle), fill=colour, width=3)
        x = x_of(bar.value)
        draw.ellipse((x - 5, middle - 5, x + 5, middle + 5), fill=INK)
        draw.text((WIDTH_PX - RIGHT_PX + 10, middle - 6), f"{bar.value:.4f}", fill=INK)


def save(image: Image.Image, path: Path) -> Path:
    """Writes the picture, and its folder if need be; the path.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    return path
