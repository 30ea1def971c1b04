"""The paper's figures on many GPUs, its numbers beside what follows from one GPU of its own.

Stage times are taken from the published speeds of *one* H100 (`multi_devices.as_published`). All
else is this project's simulation: what two, three and four of them reach, what Stream Batch
brings, how the stages balance, and where sequence parallelism stands. Last, what this project's
ring and chain would reach with the same stages.

Source: StreamDiffusionV2, arXiv 2511.07399 version 2, by whose numbers figures are called; in
version 1 those from 5 on seem to have one less. Figures 5, 13 and 14 give bars without numbers; of
them the text's are quoted.
"""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple

from sdv2_host.bench.multi_devices import (
    MS_OF_FRAMES,
    PAPER_FPS,
    PAPER_SERIAL_FPS,
    as_built,
    as_published,
    dit_tflop,
)
from sdv2_host.bench.multi_placements import chosen, even_split, reference_split
from sdv2_host.bench.multi_simulation import Outcome, Traffic, simulate
from sdv2_host.stages.partition import Partition, best_partition
from sdv2_host.stages.work import DeviceTimes, Route, as_work

HOP_MS = 1.3
TRAFFIC = Traffic(hop_ms=HOP_MS)
SEQUENCE_MESSAGES_MS = (40.0, 120.0)
"""What sequence parallelism's messages add to a step, in figure 5 and section 5.4.3."""
SPARSE_PEAK_TFLOPS, DENSE_PEAK_TFLOPS = 1979.0, 990.0
"""Of an H100; figure 4 has the first, which no dense model can reach."""
STEPS = (1, 2, 3, 4)


class Case(NamedTuple):
    model: str
    is_480p: bool

    @property
    def size(self) -> str:
        return "832x480" if self.is_480p else "512x512"


CASES = tuple(Case(*case) for case in PAPER_FPS)


def figures() -> dict[str, Any]:
    """All of them; fits JSON."""
    throughput = [_throughput(case, count) for case in CASES for count in (1, 2, 3, 4)]
    ratios = [
        simulated / paper
        for row in throughput
        if row["gpus"] > 1
        for simulated, paper in zip(row["reference"], row["paper"], strict=True)
    ]
    return {
        "throughput": throughput,
        "agreement": {
            "mean_error": statistics.fmean(abs(ratio - 1) for ratio in ratios),
            "worst": [min(ratios), max(ratios)],
        },
        "stream_batch": [_stream_batch(case) for case in CASES if case in PAPER_SERIAL_FPS],
        "balancing": [_balance(name) for name in SPLITS],
        "sequence": [_sequence(case, count) for case in CASES for count in (2, 4)],
        "roofline": [_roofline(case) for case in CASES],
    }


def _throughput(case: Case, count: int) -> dict[str, Any]:
    """A row of figures 9 and 11: so many GPUs, 1 to 4 steps."""
    devices = [as_published(*case)] * count
    return {
        "model": case.model,
        "size": case.size,
        "gpus": count,
        "paper": list(PAPER_FPS[case][count - 1]),
        "reference": [_split(devices, steps, "reference").fps for steps in STEPS],
        "ring": [_brief(_best(devices, steps, Route.RING)) for steps in STEPS],
        "chain": [_brief(_best(devices, steps, Route.CHAIN)) for steps in STEPS],
    }


def _brief(outcome: Outcome) -> dict[str, float]:
    return {"fps": outcome.fps, "p50_ms": outcome.latency_ms["p50"]}


def _best(devices: list[DeviceTimes], steps: int, route: Route) -> Outcome:
    work, choice = chosen(devices, steps, route)
    return simulate(work, choice.partition, TRAFFIC)


SPLITS = ("even", "reference", "best")


def _split_of(devices: list[DeviceTimes], steps: int, name: str) -> Partition:
    """A ring of these devices in this order, cut by that rule."""
    work = as_work(devices, steps, Route.RING)
    found = {"even": even_split, "reference": reference_split, "best": best_partition}[name](work)
    assert found is not None, "memory is not counted here"
    return found


def _split(devices: list[DeviceTimes], steps: int, name: str) -> Outcome:
    return simulate(as_work(devices, steps, Route.RING), _split_of(devices, steps, name), TRAFFIC)


def _stream_batch(case: Case) -> dict[str, Any]:
    """Figure 15: one GPU, 2 to 4 steps, as rows of one batch and one after the other. Serial steps
    follow from the first step alone. And this project's own estimate for both."""
    device = as_published(*case)
    own = as_built("h100", case.model)
    return {
        "model": case.model,
        "size": case.size,
        "paper_batch": list(PAPER_FPS[case][0]),
        "batch": [_one_gpu_fps(device, steps, Route.RING) for steps in STEPS],
        "paper_serial": [PAPER_FPS[case][0][0], *PAPER_SERIAL_FPS[case]],
        "serial": [_one_gpu_fps(device, steps, Route.CHAIN) for steps in STEPS],
        "own_batch": None if case.is_480p else _own_fps(own, Route.RING),
        "own_serial": None if case.is_480p else _own_fps(own, Route.CHAIN),
    }


def _own_fps(own: DeviceTimes, route: Route) -> list[float]:
    return [_one_gpu_fps(own, steps, route) for steps in STEPS]


def _one_gpu_fps(device: DeviceTimes, steps: int, route: Route) -> float:
    """A ring of one runs the steps as rows of a batch, a chain of one runs them in turn."""
    return MS_OF_FRAMES / sum(as_work([device], steps, route).cost_ms[0])


def _balance(name: str) -> dict[str, Any]:
    """Figure 13: 1.3B, 480p, 4 steps on four GPUs; what each takes for a chunk."""
    devices = [as_published("1.3b", True)] * 4
    work = as_work(devices, 4, Route.RING)
    partition = _split_of(devices, 4, name)
    return {
        "split": name,
        "stage_ms": partition.stage_ms(work),
        "fps": _split(devices, 4, name).fps,
    }


def _sequence(case: Case, count: int) -> dict[str, Any]:
    """Figures 5 and 14: tokens shared out over GPUs instead of blocks. What a forward takes
    whatever its length, a further row does not take; a share of the tokens takes it still."""
    device = as_published(*case)
    first_ms = sum(device.block_ms)
    row_ms = first_ms * (1 - device.row_saving)
    shared_ms = first_ms - row_ms + row_ms / count
    coding_ms = device.encode_ms + device.decode_ms
    return {
        "model": case.model,
        "size": case.size,
        "gpus": count,
        "gain": first_ms / shared_ms,
        "pipeline_gain": float(count),
        "fps": [
            MS_OF_FRAMES / (coding_ms + shared_ms + ms) for ms in reversed(SEQUENCE_MESSAGES_MS)
        ],
        "fps_without_messages": MS_OF_FRAMES / (coding_ms + shared_ms),
        "ring_fps": _best([device] * count, 1, Route.RING).fps,
        "paper_fps": PAPER_FPS[case][count - 1][0],
    }


def _roofline(case: Case) -> dict[str, Any]:
    """Figure 4's axis, from the speeds of figures 9 and 11: TFLOP/s of a forward of 1 to 4 rows."""
    device = as_published(*case)
    first_ms = sum(device.block_ms)
    rows_ms = [first_ms * (1 + (rows - 1) * (1 - device.row_saving)) for rows in STEPS]
    tflop = dit_tflop(*case)
    return {
        "model": case.model,
        "size": case.size,
        "tflops": [1000 * tflop * rows / ms for rows, ms in zip(STEPS, rows_ms, strict=True)],
    }
