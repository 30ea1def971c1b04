"""`sdv2-host bench`: runs a measurement, prints its table, writes its JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sdv2_host.bench import (
    ablation,
    control,
    fault_report,
    faults,
    hour,
    hour_report,
    measured_report,
    multi,
    multi_measured,
    multi_report,
    overlap,
    pipeline,
    precision,
    quality,
    quality_report,
    replay,
    ring,
    shared_cores,
    slo,
    slo_report,
    swap,
    two_hosts,
    video,
    video_report,
)
from sdv2_host.bench.multi_simulation import Traffic
from sdv2_host.bench.paper_score import Judges
from sdv2_host.commands.kept_report import report_rows
from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.report import check_writable, hardware, write_json
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.compile_choice import chosen_calls
from sdv2_host.gpu.cpu_threads import set_threads
from sdv2_host.gpu.device import resolve_device
from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.host_memory import keep_freed_memory
from sdv2_host.gpu.tiny_engine import Past, build_tiny_engine, models_on_cpu, tiny_spec
from sdv2_host.gpu.wan_models import Placement, WanFamily, load_models, random_models
from sdv2_host.gpu.wan_spec import WAN_DIMS, wan_spec
from sdv2_host.models import store
from sdv2_host.models.compiled_store import CompiledStore, compiled_dir
from sdv2_host.params import Params, SloMode
from sdv2_host.stages.work import DeviceTimes
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import ProgressFn, Size


def bench_ring(json_path: Path | None) -> None:
    """Cost of the frame rings beside plain memcpy, and torn frames under lapped readers."""
    _report(ring.run, ring.format_table, json_path)


def bench_pipeline(config: Config, params: Params, seconds: float, json_path: Path | None) -> None:
    """Speed of the tiny engine, where its time goes, and what the pipeline adds to the models; what
    overlap gives, if that is on."""
    set_threads(config.threads)
    keep_freed_memory()

    def measure(progress: ProgressFn) -> dict[str, Any]:
        calls_of = partial(chosen_calls, config.compile, progress, CompiledStore(compiled_dir()))
        result = pipeline.run(config.size, params.steps, seconds, progress, calls_of=calls_of)
        if config.overlap == "on":
            result["overlap"] = overlap.of_tiny(
                config.size, params.steps, seconds, progress, calls_of=calls_of
            )
        return result

    def table(result: dict[str, Any]) -> str:
        return "\n".join([pipeline.format_table(result), *overlap.rows_of(result)])

    _report(measure, table, json_path)


def bench_cores(config: Config, params: Params, seconds: float, json_path: Path | None) -> None:
    """Speed of the tiny engine while others use the same cores."""
    keep_freed_memory()
    measure = partial(shared_cores.run, config.size, params.steps, seconds)
    _report(measure, shared_cores.format_table, json_path)


def bench_quality(
    plan: quality.QualityPlan, threads: int, json_path: Path | None, out: Path | None
) -> None:
    """Style recognition, warp error, PSNR, the table of sinks and motion-aware noise, a trace."""

    def build(past: Past, side_px: int) -> StreamEngine:
        return build_tiny_engine(Size(side_px, side_px), threads, past)

    autoencode = partial(ablation.round_trip, models_on_cpu().vae)
    _report(
        lambda progress: quality.run(build, autoencode, plan, progress, out),
        quality_report.format_table,
        json_path,
    )


def bench_video(
    pair: video.VideoPair, judges: Judges, json_path: Path | None, out: Path | None
) -> None:
    """A video and its styled copy: flicker, drift, and what the judges say."""
    _report_drawn(
        "video",
        lambda progress: video.run(pair, judges, progress),
        video_report.format_table,
        video_report.draw,
        json_path,
        out,
    )


def bench_precision(
    config: Config, params: Params, frames: int, weights: str, json_path: Path | None
) -> None:
    """What bfloat16 costs in each stage, in decoded frames against float32."""
    set_threads(config.threads)

    def measure(progress: ProgressFn) -> dict[str, Any]:
        models, spec = _precision_models(config, weights, progress)
        result = precision.run(models, spec, params, frames, progress)
        return {"model": config.engine, "weights": weights, **result}

    _report(measure, precision.format_table, json_path)


def _precision_models(
    config: Config, weights: str, progress: ProgressFn
) -> tuple[StreamModels, StreamSpec]:
    """Models in float32 and their stream.

    Raises:
        ConfigError: the engine is not made of models.
    """
    if config.engine not in ("tiny", *WAN_DIMS):
        raise ConfigError(f"--engine {config.engine}: it has no models to measure")
    if config.engine == "tiny":
        tiny = models_on_cpu()
        return StreamModels(tiny.dit, tiny.vae, tiny.text), tiny_spec(tiny.card, config.size)
    place = Placement(resolve_device(config.device), torch.float32)
    family = WanFamily(WAN_DIMS[config.engine])
    if weights == "random":
        models = random_models(config.vae, family, place)
    else:
        models_dir = store.models_dir(config.models_dir)
        files = store.locate(config.engine, models_dir, needs=store.needed_parts(config))
        models = load_models(config.vae, files, family, place, progress)
    text = precision.OneText(family.dit)
    return models._replace(text=text), wan_spec(config, place.device, place.dtype)


def bench_replay(plan: replay.ReplayPlan, json_path: Path | None) -> None:
    """Pictures of a recorded show beside those of its replay."""
    _report(partial(replay.run, plan), replay.format_table, json_path)


def _report(
    measure: Callable[[ProgressFn], dict[str, Any]],
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


def _report_drawn(
    name: str,
    measure: Callable[[ProgressFn], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    draw: Callable[[Path, dict[str, Any]], object],
    json_path: Path | None,
    out: Path | None,
) -> None:
    """The same; in the folder `out`, if any, NAME.png, and NAME.json where no other is named."""
    if out is None:
        _report(measure, table, json_path)
        return
    picture = out / f"{name}.png"
    check_writable(picture)

    def measure_and_draw(progress: ProgressFn) -> dict[str, Any]:
        result = measure(progress)
        draw(picture, result)
        return result

    _report(measure_and_draw, table, json_path or out / f"{name}.json")


def bench_control(
    config: Config, seconds: float, rounds: int, rate_hz: float, json_path: Path | None
) -> None:
    """What a storm of OSC does to the host. Raises: HostError."""

    def measure(progress: ProgressFn) -> dict[str, Any]:
        storm = control.measure_storm(
            config.engine, config.size, seconds, rounds, rate_hz, progress
        )
        return asyncio.run(storm).to_json()

    _report(measure, control.format_table, json_path)


def bench_swap(plan: swap.SwapPlan, json_path: Path | None) -> None:
    """What a change of size costs a running stream. Raises: HostError."""
    _report(
        lambda progress: asyncio.run(swap.measure_swap(plan, progress)),
        swap.format_table,
        json_path,
    )


def bench_slo(seconds: float, mode: SloMode, json_path: Path | None, out: Path | None) -> None:
    """The scheduler on models of GPUs, beside fixed batches, an unbounded queue and an oracle."""
    _report_drawn(
        "slo",
        lambda progress: slo.run(seconds, mode, progress),
        slo_report.format_table,
        slo_report.write_picture,
        json_path,
        out,
    )


def bench_multi(
    devices: list[DeviceTimes],
    num_steps: int,
    traffic: Traffic,
    json_path: Path | None,
    out: Path | None,
) -> None:
    """Many devices in simulated time: routes, placements, balancing, and the paper's figures."""
    _report_drawn(
        "multi",
        lambda progress: multi.run(devices, num_steps, traffic, progress),
        multi_report.format_table,
        multi_report.write_picture,
        json_path,
        out,
    )


def bench_multi_measured(
    plan: multi_measured.MeasurePlan, json_path: Path | None, out: Path | None
) -> None:
    """The ring over these devices; in `out` also times.json, which simulations can take."""

    def measure(progress: ProgressFn) -> dict[str, Any]:
        result = multi_measured.run(plan, progress)
        if out is not None:
            result["times_file"] = str(out / "times.json")
            write_json(out / "times.json", result["times"])
        return result

    _report_drawn(
        "multi",
        measure,
        measured_report.format_table,
        measured_report.write_picture,
        json_path,
        out,
    )


def bench_hour(
    plan: hour.HourPlan, from_folder: Path | None, json_path: Path | None, out: Path | None
) -> None:
    """Hours of stream: drift, memory, new looks, RoPE resets. Or what kept traces say of them."""
    if out is not None:
        check_writable(out / "hour-steps.png")
        json_path = json_path or out / "hour.json"

    def measure(progress: ProgressFn) -> dict[str, Any]:
        began_s = time.monotonic()
        if from_folder is None:
            traces = hour.in_processes(plan.streams, progress)
        else:
            traces = hour.kept(from_folder, plan)
        if out is not None:
            for name, trace in traces.items():
                trace.save(hour.trace_path(out, name))
        result = hour.judge(plan, traces, time.monotonic() - began_s)
        if out is not None:
            hour_report.draw(out, plan, traces, result)
        return result

    _report(measure, hour_report.format_table, json_path)


def bench_two_hosts(plan: two_hosts.WayPlan, json_path: Path | None) -> None:
    """A stream over two machines: near, far, and with a cable that is cut. Raises: HostError."""
    _report(lambda progress: two_hosts.run(plan, progress), two_hosts.format_table, json_path)


def bench_faults(plan: faults.FaultsPlan, json_path: Path | None, png: Path | None) -> None:
    """What everything that can go wrong does to a show; what is done is kept. Raises: HostError."""
    report_rows(
        lambda narrator, keep: faults.run(plan, narrator.progress, keep),
        fault_report.format_table,
        fault_report.draw,
        json_path,
        png,
    )
