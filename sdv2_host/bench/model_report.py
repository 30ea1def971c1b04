"""The result of `bench model` as lines for a person, and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from sdv2_host.bench import against
from sdv2_host.bench.model_targets import MET
from sdv2_host.bench.plots import BACKGROUND, COLOURS, FAINT, INK, save

_WANTED = {
    "fps": "fps at least {:g}",
    "ttff_ms": "first picture within {:g} ms",
    "host_p99_ms": "host p99 under {:g} ms",
    "over_bare": "pipeline over bare calls under {:g}",
    "growth": "memory grown by {:g}",
}
BOUND = 0.4
"""Of a stage's time: what explains less does not hold it."""
_GAP_PX, _BAR_PX, _LEFT_PX, _RIGHT_PX, _WIDTH_PX = 14, 16, 250, 130, 1000
_LEGEND_PX = 30


def format_table(result: dict[str, Any]) -> str:
    """Devices, a line for each cell, then its stages, memory and targets."""
    rows: list[dict[str, Any]] = result["cells"]
    done = [row for row in rows if "failed" not in row]
    width = max((len(_name(row)) for row in rows), default=0)
    lines = [*_devices(result), "", _heading(width)]
    lines += [_line(row, width) for row in rows]
    for row in done:
        lines += ["", _name(row), *_stages(row), *_rest(row)]
        for rival in row.get("against", ()):
            lines += [f"  {line}" for line in against.format_lines(rival, row["dtype"])]
    return "\n".join(lines)


def _devices(result: dict[str, Any]) -> Iterator[str]:
    for one in result["devices"]:
        peak, here = one["peak"], one["measured"]
        yield (
            f"{one['name']} ({one['device']}), {one['dtype']}, torch {result['torch']}: "
            f"{peak['tflops']:.3g} TFLOP/s, {peak['tbps']:.3g} TB/s ({peak['source']})"
        )
        yield (
            f"  here by a large product and a large copy {here['tflops']:.3g} TFLOP/s, "
            f"{here['tbps']:.3g} TB/s; {one['launch_us']:.1f} us for the smallest operation"
        )


def _heading(width: int) -> str:
    return (
        f"{'':<{width}}{'fps':>8}{'roofline':>10}{'chunk ms':>10}{'p95':>8}{'p99':>8}{'first':>8}"
        f"{'latency':>9}{'p99':>8}{'host':>8}{'p99':>8}{'MiB':>8}  target"
    )


def _line(row: dict[str, Any], width: int) -> str:
    if "failed" in row:
        return f"{_name(row):<{width}}  {row['failed']}"
    chunk, latency, host, memory = (
        row[name] for name in ("chunk_ms", "latency_ms", "host_ms", "memory")
    )
    peak_mb = memory["peak_device_mb"] or memory["peak_host_mb"]
    return (
        f"{_name(row):<{width}}{row['fps']:>8.1f}{row['roofline_fps']:>10.0f}"
        f"{chunk['p50']:>10.1f}{chunk['p95']:>8.1f}{chunk['p99']:>8.1f}"
        f"{row['ttff_ms']['median']:>8.1f}{latency['p50']:>9.1f}{latency['p99']:>8.1f}"
        f"{_or_dash(host['p50']):>8}{_or_dash(host['p99']):>8}{peak_mb:>8.0f}  {_targets(row)}"
    )


def _name(row: dict[str, Any]) -> str:
    return str(row["name"])


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def _targets(row: dict[str, Any]) -> str:
    """All in one word, where they agree."""
    found = sorted({one["status"] for one in row["targets"]}, key=[MET].count)
    return ", ".join(found) or "none"


def _stages(row: dict[str, Any]) -> Iterator[str]:
    for name, stage in row["stages"].items():
        line = f"  {name:<9}{stage['ms']:>9.2f} ms"
        if "tflop" not in stage:
            yield line
            continue
        yield (
            f"{line} {stage['tflop']:>9.3g} TFLOP {stage['tflops']:>8.3g} TFLOP/s, "
            f"{100 * stage['roofline_share']:>5.1f} % of roofline; {_holds(stage)}"
        )


def _holds(stage: dict[str, Any]) -> str:
    share = stage["held_ms"] / stage["ms"]
    if share < BOUND:
        return (
            f"{stage['held_by']} explains {100 * share:.0f} % of its time, the most that one does"
        )
    return f"bound by {stage['held_by']}, {100 * share:.0f} % of its time"


def _rest(row: dict[str, Any]) -> Iterator[str]:
    host, memory = row["host_ms"], row["memory"]
    if host["device_ms"] is not None:
        yield f"  device at work {host['device_ms']:.2f} ms of each chunk, by {host['by']}"
    else:
        yield f"  what the host adds is {host['by']}"
    early, end = memory["early"], memory["end"]
    yield (
        f"  from chunk {early['chunk']} to {end['chunk']}: device memory grew by "
        f"{memory['device_growth_mb']:.1f} MiB and {memory['device_growth_allocations']} "
        f"allocations ({memory['allocations_per_chunk']:.0f} made a chunk), the process by "
        f"{memory['host_growth_mb']:.1f} MiB"
    )
    yield (
        f"  at {row['input_fps']:g} frames a second {row['dropped']} frames were dropped; "
        f"{row['chunks']} chunks in {row['seconds']:.1f} s, warm after {row['warm_up_s']:.1f} s"
    )
    for one in row["targets"]:
        wanted = _WANTED[one["what"]].format(one["wanted"])
        yield f"  wanted: {wanted}; it is {one['got']:.4g}: {one['status']}"


def draw(path: Path, result: dict[str, Any]) -> Path:
    """Writes a picture: of every cell its frames a second beside the roofline's, and a chunk's time
    by stages.

    Raises:
        ConfigError: the file cannot be written.
    """
    rows = [row for row in result["cells"] if "failed" not in row]
    row_px = 2 * _BAR_PX + _GAP_PX
    image = Image.new("RGB", (_WIDTH_PX, 2 * _LEGEND_PX + max(len(rows), 1) * row_px), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    stages = list(dict.fromkeys(name for row in rows for name in row["stages"]))
    _legend(canvas, stages)
    most_fps = max((max(row["fps"], row["roofline_fps"]) for row in rows), default=1.0)
    most_ms = max((_chunk_ms(row) for row in rows), default=1.0)
    for index, row in enumerate(rows):
        top = 2 * _LEGEND_PX + index * row_px
        canvas.text((10, top + 8), _name(row), fill=INK)
        _draw_fps(canvas, row, top, most_fps)
        _draw_stages(canvas, row, stages, top + _BAR_PX, most_ms)
    return save(image, path)


def _chunk_ms(row: dict[str, Any]) -> float:
    return sum(float(stage["ms"]) for stage in row["stages"].values())


def _x(value: float, most: float) -> float:
    return _LEFT_PX + (_WIDTH_PX - _LEFT_PX - _RIGHT_PX) * value / most


def _legend(canvas: ImageDraw.ImageDraw, stages: list[str]) -> None:
    said = "above: frames a second, and the roofline's; below: milliseconds of a chunk"
    canvas.text((10, 8), said, fill=INK)
    for index, name in enumerate(stages):
        left = _LEFT_PX + index * 110
        canvas.rectangle((left, _LEGEND_PX + 8, left + 10, _LEGEND_PX + 18), fill=_colour(index))
        canvas.text((left + 16, _LEGEND_PX + 7), name, fill=INK)


def _colour(index: int) -> tuple[int, int, int]:
    return COLOURS[index % len(COLOURS)]


def _draw_fps(canvas: ImageDraw.ImageDraw, row: dict[str, Any], top: int, most_fps: float) -> None:
    reach, roof = _x(row["fps"], most_fps), _x(row["roofline_fps"], most_fps)
    canvas.rectangle((_LEFT_PX, top + 2, max(reach, roof), top + _BAR_PX - 2), outline=FAINT)
    canvas.rectangle((_LEFT_PX, top + 2, reach, top + _BAR_PX - 2), fill=INK)
    said = f"{row['fps']:.1f} of {row['roofline_fps']:.0f} fps"
    canvas.text((_WIDTH_PX - _RIGHT_PX + 8, top + 2), said, fill=INK)


def _draw_stages(
    canvas: ImageDraw.ImageDraw, row: dict[str, Any], stages: list[str], top: int, most_ms: float
) -> None:
    done_ms = 0.0
    for index, name in enumerate(stages):
        ms = float(row["stages"].get(name, {"ms": 0.0})["ms"])
        left, right = _x(done_ms, most_ms), _x(done_ms + ms, most_ms)
        canvas.rectangle((left, top + 2, right, top + _BAR_PX - 2), fill=_colour(index))
        done_ms += ms
    canvas.text((_WIDTH_PX - _RIGHT_PX + 8, top + 2), f"{done_ms:.1f} ms", fill=INK)
