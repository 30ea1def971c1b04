"""`sdv2-host bench`: runs a measurement, prints its table, writes its JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdv2_host.bench import pipeline, quality, quality_report, ring
from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.report import check_writable, hardware, write_json
from sdv2_host.config import Config
from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.tiny_engine import build_tiny_engine
from sdv2_host.params import Params
from sdv2_host.types import Size


def bench_ring(json_path: Path | None) -> None:
    """Cost of the frame rings beside plain memcpy, and torn frames under lapped readers."""
    _report(ring.run, ring.format_table, json_path)


def bench_pipeline(config: Config, params: Params, seconds: float, json_path: Path | None) -> None:
    """Speed of the tiny engine, where its time goes, and what the pipeline adds to the models."""
    _report(
        lambda progress: pipeline.run(config.size, params.steps, seconds, progress, config.threads),
        pipeline.format_table,
        json_path,
    )


def bench_quality(
    config: Config, params: Params, clips: int, json_path: Path | None, out: Path | None
) -> None:
    """Style recognition, warp error, PSNR, and the table of sinks and motion-aware noise."""
    plan = quality.QualityPlan(clips=clips, params=params)

    def build(use_sink: bool) -> StreamEngine:
        size = Size(plan.size_px, plan.size_px)
        return build_tiny_engine(size, config.threads, use_sink=use_sink)

    _report(
        lambda progress: quality.run(build, plan, progress, out),
        quality_report.format_table,
        json_path,
    )


def _report(
    measure: Callable[[Callable[[str, float], None]], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    json_path: Path | None,
) -> None:
    """Measures, prints and writes; an unwritable file shows before the minutes are spent."""
    narrator = Narrator()
    if json_path is not None:
        check_writable(json_path)
    result = measure(narrator.progress)
    narrator.close()
    print(table(result))
    if json_path is not None:
        write_json(json_path, {**result, "hardware": hardware()})
