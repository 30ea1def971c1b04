"""The computer: cores and what slows them, memory, swap, battery, clock."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.cores import usable_cores

GROUP = "Computer"
GIB = 2**30
FEW_CORES = 2
NEEDED_BYTES = {"passthrough": GIB // 2, "tiny": 2 * GIB, "wan-1.3b": 8 * GIB, "wan-14b": 40 * GIB}
"""Free memory that a start wants, estimated: for tiny a host at 256x256 with its processes and as
much again; for Wan the weights, which pass through this memory on their way to the card."""
SWAPPED_SHARE = 0.25
BUSY_SHARE = 0.35
COARSE_NS = 2 * NS_PER_MS
"""A clock with steps as long as this makes a cadence of 60 fps uneven."""
CPU_DIR = Path("/sys/devices/system/cpu")


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int
    swap_total: int
    swap_used: int


def check_cores() -> list[Finding]:
    """How many there are, how busy, and how the system drives them."""
    busy = psutil.cpu_percent(interval=1.0) / 100
    return list(core_findings(usable_cores(), busy, governors(CPU_DIR)))


def governors(folder: Path) -> set[str]:
    """How Linux chooses the clock rate of each core; empty = it does not say."""
    paths = folder.glob("cpu[0-9]*/cpufreq/scaling_governor")
    return {path.read_text().strip() for path in paths}


def core_findings(num_cores: int, busy_share: float, governor: set[str]) -> Iterator[Finding]:
    """`busy_share` 0..1 of all cores, by whatever runs now."""
    subject = Subject(GROUP, "processor")
    seen = f"{num_cores} cores, {busy_share:.0%} busy, {platform.machine()}"
    if busy_share > BUSY_SHARE:
        yield subject.warning(
            f"{seen} before the show has begun",
            "the engine and the other programs slow each other down",
            "close what is not part of the show",
        )
    elif num_cores < FEW_CORES:
        yield subject.warning(
            seen, "engine, output and page share one core", "use a computer with more cores"
        )
    else:
        yield subject.ok(seen)
    if "powersave" in governor and len(governor) == 1:
        yield Subject(GROUP, "clock rate").warning(
            "the cores are governed by 'powersave'",
            "on some computers they then stay slow under load, and frames come late",
            "run: sudo cpupower frequency-set -g performance",
        )
    elif governor:
        yield Subject(GROUP, "clock rate").ok(f"governed by {', '.join(sorted(governor))}")


def check_memory(engine: str) -> list[Finding]:
    """Of the system, for this engine."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    found = Memory(memory.total, memory.available, swap.total, swap.used)
    return list(memory_findings(engine, found))


def memory_findings(engine: str, memory: Memory) -> Iterator[Finding]:
    subject = Subject(GROUP, "memory")
    seen = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    needed = NEEDED_BYTES[engine]
    if memory.available < needed:
        yield subject.trouble(
            f"{seen}; engine {engine} wants {needed / GIB:g} GiB",
            "the system may end the engine in the middle of the show",
            "close other programs, or use a computer with more memory",
        )
    else:
        yield subject.ok(seen)
    if memory.swap_total and memory.swap_used > SWAPPED_SHARE * memory.swap_total:
        yield Subject(GROUP, "swap").warning(
            f"{memory.swap_used / GIB:.1f} of {memory.swap_total / GIB:.1f} GiB in use",
            "what was moved to the disk comes back with a stutter",
            "close programs, or restart the computer before the show",
        )


def check_power() -> list[Finding]:
    """Whether it runs on mains; nothing where there is no battery."""
    battery = psutil.sensors_battery()
    if battery is None:
        return []
    return [power_finding(bool(battery.power_plugged), battery.percent)]


def power_finding(is_plugged: bool, percent: float) -> Finding:
    subject = Subject(GROUP, "power")
    if is_plugged:
        return subject.ok(f"on mains, battery at {percent:.0f} %")
    return subject.warning(
        f"on battery, {percent:.0f} %",
        "laptops halve the speed of processor and graphics card on battery",
        "plug it in",
    )


def check_clock() -> list[Finding]:
    """The steps of the clock that frames are stamped with."""
    steps: list[int] = []
    last = begin = now_ns()
    while now_ns() - begin < 20 * NS_PER_MS:
        now = now_ns()
        if now != last:
            steps.append(now - last)
            last = now
    return [clock_finding(min(steps, default=20 * NS_PER_MS))]


def clock_finding(step_ns: int) -> Finding:
    """`step_ns` is the smallest seen; below 0 the clock ran backwards."""
    subject = Subject(GROUP, "clock")
    if step_ns < 0:
        return subject.trouble(
            "ran backwards", "frames are shown in the wrong order", "restart the computer"
        )
    if step_ns > COARSE_NS:
        return subject.warning(
            f"goes in steps of {step_ns / NS_PER_MS:.1f} ms",
            "the output's cadence is uneven",
            "close programs that load the system; in a virtual machine use the computer itself",
        )
    return subject.ok(f"runs forward, in steps of {step_ns / 1000:.1f} µs or less")
