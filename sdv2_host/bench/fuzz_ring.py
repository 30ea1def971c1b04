"""Hostile ring headers and slots by the million, for the readers in Python and for the one in C."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from sdv2_host.bench import fuzz_client
from sdv2_host.bench.fuzz_batches import Tally, plan, run_batches
from sdv2_host.bench.hostile_dice import ACCEPTED
from sdv2_host.bench.ring import machine
from sdv2_host.errors import ConfigError
from sdv2_host.types import ProgressFn


def run(num_cases: int, seed: int, progress: ProgressFn) -> dict[str, Any]:
    """`num_cases` for Python and as many for C, on all cores; values are JSON.

    Raises:
        ConfigError: the C fuzzer is here and does not compile, or this is Windows.
    """
    if sys.platform == "win32":
        raise ConfigError("bench fuzz-ring works on Linux and macOS: it cuts files under readers")
    num_processes = min(os.cpu_count() or 1, -(-num_cases // 10_000))
    begin_s = time.monotonic()
    told = -1

    def tell(done: int) -> None:
        nonlocal told
        percent = 100 * done // num_cases
        if percent > told:
            told = percent
            progress(f"Python: {done} cases", 0.7 * done / num_cases)

    tally = run_batches(plan(num_cases), seed, num_processes, tell)
    python_s = time.monotonic() - begin_s
    left_out = fuzz_client.obstacle()
    in_c: dict[str, Any] = {"left_out": left_out}
    if not left_out:
        progress("C, with AddressSanitizer", 0.7)
        begin_s = time.monotonic()
        in_c |= fuzz_client.run(num_cases, seed, num_processes)
        in_c["seconds"] = round(time.monotonic() - begin_s, 1)
    progress("done", 1.0)
    return {
        "machine": machine(),
        "seed": seed,
        "processes": num_processes,
        "python": {"seconds": round(python_s, 1), **_of_tally(tally)},
        "c": in_c,
    }


def _of_tally(tally: Tally) -> dict[str, Any]:
    kinds = {kind: dict(found.most_common()) for kind, found in tally.outcomes.items()}
    return {"cases": tally.num_cases, "kinds": kinds, "flaws": tally.flaws}


def flaws(results: dict[str, Any]) -> list[str]:
    """What readers did that they must not; empty after a good run."""
    return [*results["python"]["flaws"], *results["c"].get("flaws", [])]


def format_table(results: dict[str, Any]) -> str:
    """The results for a terminal."""
    python, in_c = results["python"], results["c"]
    lines = [
        f"Python: {python['cases']} cases in {python['seconds']} s, {results['processes']} "
        f"processes, seed {results['seed']}, a guard page behind each mapping",
    ]
    for kind, outcomes in python["kinds"].items():
        num = sum(outcomes.values())
        share = 100 * outcomes.get(ACCEPTED, 0) / num
        lines.append(f"  {kind}: {num} cases, {share:.1f} % accepted; refused or passed over for:")
        lines += _columns({name: n for name, n in outcomes.items() if name != ACCEPTED}, num)
    if in_c["left_out"]:
        lines.append(f"C: left out, {in_c['left_out']}")
    else:
        num = sum(kind["cases"] for kind in in_c["kinds"].values())
        lines.append(f"C, AddressSanitizer and UBSan: {num} cases in {in_c['seconds']} s")
        for name, kind in in_c["kinds"].items():
            share = 100 * kind["accepted"] / max(1, kind["cases"])
            lines.append(f"  {name}: {kind['cases']} cases, {share:.1f} % accepted")
    found = flaws(results)
    lines += [f"FLAW {flaw}" for flaw in found]
    lines.append(
        f"{len(found)} flaws" if found else "no crash, no read out of bounds, no hang, no flaw"
    )
    return "\n".join(lines)


def _columns(outcomes: dict[str, int], num_cases: int) -> list[str]:
    cells = [f"{name} {100 * count / num_cases:.2f} %" for name, count in outcomes.items()]
    return [f"    {', '.join(cells[at : at + 5])}" for at in range(0, len(cells), 5)]
