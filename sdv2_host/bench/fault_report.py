"""The matrix of faults for people: a table, and what the output did around each fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from sdv2_host.bench.fault_verdicts import AFTER_S, BEFORE_S, MAX_GAP_INTERVALS
from sdv2_host.bench.plots import BACKGROUND, COLOURS, FAINT, INK, save

WIDTH_PX, ROW_PX, TOP_PX = 1060, 24, 40
LEFT_PX, RIGHT_PX = 310, 20
MARK_PX = 3
HEADINGS = (
    *(("", 12), ("gap, intervals", 16), ("metronome", 14), ("held after ms", 16)),
    *(("recovered ms", 18), ("frames lost", 14)),
)


def format_table(report: dict[str, Any]) -> str:
    """The report for people."""
    cadence = f"{report['output_fps']:g} fps" if report["output_fps"] else "that of the source"
    lines = [
        f"{report['engine']} {report['size']}, source {report['fps']:g} fps, output {cadence}; "
        f"each fault {report['times']} times at random moments, seed {report['seed']}; "
        f"a worker counts as hung after {report['silence_s']:g} s",
        "".join(f"{text:>{width}}" for text, width in HEADINGS),
    ]
    for row in report["rows"]:
        if "skipped" in row:
            lines.append(f"{row['name']:12}skipped: {row['skipped']}")
            continue
        cells = (
            f"{_pair(row['gap_intervals'], 2):>16}{_pair(row['pause_intervals'], 2):>14}"
            f"{_pair(row['held_ms'], 0):>16}{_pair(row['recovered_ms'], 0):>18}"
            f"{_pair(row['lost'], 0):>14}"
        )
        verdict = "; ".join(row["verdicts"]) or "ok"
        lines.append(f"{row['name']:12}{cells}  {row['recovered']}/{row['rounds']} {verdict}")
    lines.append(
        f"Median / worst. Allowed gap: {MAX_GAP_INTERVALS:g} intervals. What of it is the machine: "
        "row calm, without a fault; the metronome, a process that only ticks meanwhile."
    )
    return "\n".join(lines)


def draw(path: Path, report: dict[str, Any]) -> Path:
    """Writes what was published around the first of each fault: fresh pictures above, held ones
    below the line.

    Raises:
        ConfigError: the file cannot be written.
    """
    rows = [row for row in report["rows"] if "skipped" not in row]
    image = Image.new("RGB", (WIDTH_PX, TOP_PX + ROW_PX * len(rows) + 30), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    scale = (WIDTH_PX - LEFT_PX - RIGHT_PX) / (BEFORE_S + AFTER_S)

    def x_of(second: float) -> float:
        return LEFT_PX + (second + BEFORE_S) * scale

    canvas.text((10, 10), "fresh", fill=COLOURS[2])
    canvas.text((60, 10), "held", fill=COLOURS[1])
    canvas.text((110, 10), "each mark is a picture on the output; the line is the fault", fill=INK)
    for index, row in enumerate(rows):
        middle = TOP_PX + index * ROW_PX + ROW_PX // 2
        colour = INK if not row["verdicts"] else COLOURS[3]
        canvas.text((10, middle - 6), row["what"], fill=colour)
        canvas.line((LEFT_PX, middle, WIDTH_PX - RIGHT_PX, middle), fill=FAINT)
        for second, is_fresh in row["timeline"]:
            x, top = x_of(second), middle - 8 if is_fresh else middle + 2
            canvas.line((x, top, x, top + 6), fill=COLOURS[2] if is_fresh else COLOURS[1])
    bottom = TOP_PX + len(rows) * ROW_PX
    canvas.line((x_of(0), TOP_PX - 4, x_of(0), bottom), fill=INK)
    for second in range(int(AFTER_S) + 1):
        canvas.text((x_of(second) - MARK_PX, bottom + 6), f"{second} s", fill=INK)
    return save(image, path)


def _pair(measure: dict[str, float] | None, digits: int) -> str:
    if measure is None:
        return "-"
    return f"{measure['median']:.{digits}f} / {measure['worst']:.{digits}f}"
