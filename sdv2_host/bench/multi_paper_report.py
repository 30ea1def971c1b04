"""The paper's figures on many GPUs as tables, its numbers beside the simulated ones."""

from __future__ import annotations

from typing import Any

from sdv2_host.bench.multi_paper import DENSE_PEAK_TFLOPS, SEQUENCE_MESSAGES_MS, SPARSE_PEAK_TFLOPS
from sdv2_host.bench.plots import Bar


def paper_lines(paper: dict[str, Any]) -> list[str]:
    """A table per figure."""
    return [
        "The paper on H100s, figures as numbered in its version 2 (in brackets: in version 1, as "
        "far as known); and the same from",
        "what it reports of one H100: see bench/multi_paper.py.",
        "",
        *_throughput(paper),
        "",
        *_stream_batch(paper),
        "",
        *_balancing(paper),
        "",
        *_sequence(paper),
        "",
        *_roofline(paper),
    ]


def _throughput(paper: dict[str, Any]) -> list[str]:
    low, high = paper["agreement"]["worst"]
    lines = [
        "Figures 9 and 11 (8, 10), scaling: fps with 1 to 4 steps; simulated with the reference's "
        "split. Then this project's",
        "ring and chain with the same stages: fps, latency at full speed in ms",
        f"{'model':<6}{'size':<9}{'GPUs':>4}{'paper':>26}{'simulated':>26}"
        f"{'ring, 4 steps':>16}{'chain, 4 steps':>16}",
    ]
    for row in paper["throughput"]:
        lines.append(
            f"{row['model']:<6}{row['size']:<9}{row['gpus']:>4}{_cells(row['paper']):>26}"
            f"{_cells(row['reference']):>26}{_brief(row['ring'][-1]):>16}"
            f"{_brief(row['chain'][-1]):>16}"
        )
    lines.append(
        f"with 2 to 4 GPUs simulated over paper: {low:.2f} to {high:.2f}, mean error "
        f"{paper['agreement']['mean_error']:.1%}"
    )
    return lines


def _stream_batch(paper: dict[str, Any]) -> list[str]:
    lines = ["Figure 15 (14), Stream Batch on one H100: fps with 1 to 4 steps"]
    for row in paper["stream_batch"]:
        name = f"{row['model']} {row['size']}"
        for how in ("batch", "serial"):
            lines.append(
                f"{name}, {how:<7} paper {_cells(row[f'paper_{how}'])}   simulated "
                f"{_cells(row[how])}"
            )
        if row["own_batch"] is not None:
            lines.append(
                f"{name}, this project's estimate: batch {_cells(row['own_batch'])}   serial "
                f"{_cells(row['own_serial'])}"
            )
    return lines


def _balancing(paper: dict[str, Any]) -> list[str]:
    lines = [
        "Figure 13 (12), balancing, 1.3B 480p 4 steps on four: ms of each GPU for a chunk; the "
        "paper's fps balanced: 42.26"
    ]
    for row in paper["balancing"]:
        lines.append(f"  {row['split']:<10}{_cells(row['stage_ms'])}   {row['fps']:.1f} fps")
    return lines


def _sequence(paper: dict[str, Any]) -> list[str]:
    low, high = SEQUENCE_MESSAGES_MS
    lines = [
        "Figures 5 and 14 (4, 13), sequence parallelism, 1 step: how much faster the DiT is "
        "without messages (a pipeline: as many",
        f"times as GPUs); fps without messages, and with the published {low:g} to {high:g} ms of "
        "them; the ring; the paper's pipeline",
    ]
    for row in paper["sequence"]:
        worst, best = row["fps"]
        lines.append(
            f"  {row['model']:<5}{row['size']:<8} {row['gpus']} GPUs: {row['gain']:.2f} times, "
            f"{row['fps_without_messages']:.1f}; {worst:.1f} to {best:.1f}; "
            f"{row['ring_fps']:.1f}; {row['paper_fps']:.1f}"
        )
    return lines


def _roofline(paper: dict[str, Any]) -> list[str]:
    lines = [
        "Figure 4, roofline: TFLOP/s that a forward of 1 to 4 rows reaches by those speeds, "
        f"under a peak of {SPARSE_PEAK_TFLOPS:g} in the",
        f"figure ({DENSE_PEAK_TFLOPS:g} without sparsity)",
    ]
    for row in paper["roofline"]:
        lines.append(f"  {row['model']:<5}{row['size']:<8}{_cells(row['tflops'])}")
    return lines


def _cells(values: list[float]) -> str:
    return "".join(f"{value:>6.1f}" for value in values)


def _brief(row: dict[str, float]) -> str:
    return f"{row['fps']:.1f}, {row['p50_ms']:.0f}"


def paper_bars(paper: dict[str, Any]) -> list[Bar]:
    """What the paper reports of four GPUs, and the same simulated."""
    bars = []
    for row in paper["throughput"]:
        if row["gpus"] != 4:
            continue
        for steps in (1, 4):
            label = f"{row['model']} {row['size']} {steps} steps"
            for name, fps in (("paper", row["paper"]), ("simulated", row["reference"])):
                value = fps[steps - 1]
                bars.append(Bar(f"{label}: {name}", value, 0.0, value))
    return bars
