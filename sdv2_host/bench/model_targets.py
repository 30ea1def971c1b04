"""What `bench model` is to show, and whether it did: the numbers of the issue, on its hardware."""

from __future__ import annotations

from typing import Any, NamedTuple

from sdv2_host.bench.model import OWN_VAE, Cell

H200 = "NVIDIA H200"
FPS: dict[tuple[str, str, int, str], float] = {
    # engine, size, steps, VAE: bfloat16 on an H200
    ("wan-1.3b", "512x512", 2, "wan"): 80.0,
    ("wan-1.3b", "512x512", 2, "taehv"): 200.0,
    ("wan-1.3b", "832x480", 2, "wan"): 50.0,
    ("wan-1.3b", "832x480", 2, "taehv"): 130.0,
    ("wan-14b", "512x512", 1, "wan"): 45.0,
    ("wan-14b", "512x512", 1, "taehv"): 70.0,
}
TTFF_MS = 100.0
HOST_P99_MS = 1.0
OVER_BARE = 1.05
"""Of the embedded model at 256x256 with 2 steps, on any CPU."""
LONG_RUN_CHUNKS = 10_000
MET, NOT_MET, ELSEWHERE = "met", "not met", "other hardware"


class Verdict(NamedTuple):
    what: str
    wanted: float
    """At most, but of fps at least."""
    got: float
    status: str


def verdicts(cell: Cell, device_name: str, row: dict[str, Any]) -> list[Verdict]:
    """What the issue says of this cell, beside what was measured: `row` of its result."""
    on_h200 = device_name == H200
    found: list[Verdict] = []

    def judge(what: str, wanted: float, got: float, is_met: bool, is_here: bool) -> None:
        here = MET if is_met else NOT_MET
        found.append(Verdict(what, wanted, got, here if is_here else ELSEWHERE))

    wanted_fps = FPS.get((cell.engine, str(cell.size), cell.steps, cell.vae))
    if wanted_fps is not None:
        fps = row["fps"]
        judge("fps", wanted_fps, fps, fps >= wanted_fps, on_h200)
    if cell.vae != OWN_VAE:
        ttff_ms = row["ttff_ms"]["worst"]
        judge("ttff_ms", TTFF_MS, ttff_ms, ttff_ms <= TTFF_MS, on_h200)
        if row["host_ms"]["p99"] is not None:
            p99_ms = row["host_ms"]["p99"]
            judge("host_p99_ms", HOST_P99_MS, p99_ms, p99_ms < HOST_P99_MS, on_h200)
    elif (str(cell.size), cell.steps) == ("256x256", 2):
        over_bare = row["host_ms"]["over_bare"]
        judge("over_bare", OVER_BARE, over_bare, over_bare < OVER_BARE, True)
    memory = row["memory"]
    if memory["end"]["chunk"] >= LONG_RUN_CHUNKS and device_name != "cpu":
        grown = max(memory["device_growth_mb"], float(memory["device_growth_allocations"]))
        judge("growth", 0.0, grown, grown <= 0, is_here=True)
    return found
