"""The state of the host in the text format that Prometheus reads. Pure.

Source: prometheus.io, exposition formats, text format 0.0.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import psutil

from sdv2_host import __version__
from sdv2_host.status import HostState, HostStatus, Percentiles, StageMs, StagesMs

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: samples are (labels, value)."""

    name: str
    kind: str
    """'gauge' or 'counter'."""
    help: str
    samples: tuple[tuple[dict[str, str], float], ...]


def _gauge(name: str, help_: str, value: float) -> Metric:
    return Metric(f"sdv2_{name}", "gauge", help_, (({}, value),))


def _counter(name: str, help_: str, value: float) -> Metric:
    return Metric(f"sdv2_{name}_total", "counter", help_, (({}, value),))


def _labelled(
    name: str, kind: str, help_: str, label: str, values: Iterable[tuple[str, float]]
) -> Metric:
    samples = tuple(({label: key}, value) for key, value in values)
    return Metric(f"sdv2_{name}", kind, help_, samples)


def exposition(status: HostStatus, name: str, uptime_s: float) -> str:
    """The page that a scraper reads."""
    info = {"name": name, "engine": status.engine, "version": __version__}
    families = (
        Metric("sdv2_info", "gauge", "Who this is.", ((info, 1),)),
        *_health(status, uptime_s),
        *_frames(status),
        *_counts(status),
    )
    return "".join(_text(metric) for metric in families if metric.samples)


def _health(status: HostStatus, uptime_s: float) -> tuple[Metric, ...]:
    states = [(state.value, float(state == status.state)) for state in HostState]
    return (
        _labelled("state", "gauge", "1 for the state the host is in.", "state", states),
        _gauge("uptime_seconds", "Since the start.", uptime_s),
        _counter("worker_restarts", "Workers that had to be replaced.", status.worker_restarts),
        _gauge("worker_rss_bytes", "Memory of the worker.", status.worker_rss_bytes),
        _gauge("daemon_rss_bytes", "Memory of the daemon.", psutil.Process().memory_info().rss),
        _gauge("params_version", "Of the newest parameters.", status.params_version),
    )


def _frames(status: HostStatus) -> tuple[Metric, ...]:
    latencies, budget = _quantiles_s(status.latency_ms), status.budget
    bottlenecks = {"latency": budget.slowest, "rate": budget.limits_rate}
    spans = [(key, value / MS_PER_S) for key, value in status.spans_ms.items()]
    return (
        _gauge("fps", "Fresh frames per second on the output.", status.fps),
        _labelled("latency_seconds", "gauge", "From capture to output.", "quantile", latencies),
        *_budget(budget.stages_ms),
        Metric(
            "sdv2_bottleneck",
            "gauge",
            "1 for the part that makes most of the latency, and for what limits the rate.",
            tuple(({"of": of, "part": part}, 1) for of, part in bottlenecks.items() if part),
        ),
        _labelled("stage_seconds", "gauge", "Per chunk, of the last chunks.", "stage", spans),
        _labelled("note", "gauge", "What the engine decided.", "name", status.notes.items()),
        _counter("frames_in", "Frames of the source.", status.frames_in),
        _counter("frames_out", "Fresh frames on the output.", status.frames_out),
        _counter("frames_dropped", "Frames of the source never shown.", status.dropped),
        _counter("frames_repeated", "Frames shown again.", status.frames_repeated),
        _counter("cadence_gaps", "Frames that came late.", status.cadence_gaps),
        _gauge("queue_depth", "Frames that wait.", status.queue_depth),
        _gauge("delay_frames", "Frames a picture comes after its own.", status.delay_frames),
    )


def _quantiles_s(ms: Percentiles | StageMs) -> list[tuple[str, float]]:
    by_share = (("0.5", ms.p50), ("0.95", ms.p95), ("0.99", ms.p99))
    return [(share, value / MS_PER_S) for share, value in by_share]


def _budget(stages_ms: StagesMs) -> tuple[Metric, ...]:
    parts = stages_ms._asdict()
    quantiles = tuple(
        ({"part": part, "quantile": share}, value)
        for part, ms in parts.items()
        for share, value in _quantiles_s(ms)
    )
    means = [(part, ms.mean / MS_PER_S) for part, ms in parts.items()]
    return (
        Metric("sdv2_budget_seconds", "gauge", "From capture to output, by part.", quantiles),
        _labelled("budget_mean_seconds", "gauge", "Means, which add up.", "part", means),
    )


def _counts(status: HostStatus) -> tuple[Metric, ...]:
    web = asdict(status.web)
    clients = web.pop("clients")
    osc = [(key, float(value)) for key, value in asdict(status.osc).items()]
    by_kind = [(key, float(value)) for key, value in web.items()]
    scenes = status.obs
    obs = [
        ("connects", float(scenes.connects)),
        ("switches", float(scenes.switches)),
        ("triggered", float(scenes.triggered)),
        ("failed", float(scenes.failed)),
    ]
    return (
        _labelled("osc_total", "counter", "OSC, by what became of it.", "kind", osc),
        _labelled("web_total", "counter", "HTTP and WebSocket, by kind.", "kind", by_kind),
        _labelled("obs_total", "counter", "Scenes of OBS, by what became of them.", "kind", obs),
        _gauge("web_clients", "WebSocket clients now.", clients),
    )


def _text(metric: Metric) -> str:
    lines = [f"# HELP {metric.name} {_escaped(metric.help)}", f"# TYPE {metric.name} {metric.kind}"]
    for labels, value in metric.samples:
        inside = ",".join(f'{key}="{_quoted(text)}"' for key, text in labels.items())
        lines.append(f"{metric.name}{f'{{{inside}}}' if inside else ''} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
