"""The C fuzzer of the OBS plugin's ring client, built with AddressSanitizer and UBSan, by count."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sdv2_host
from sdv2_host.errors import ConfigError

CHECKOUT = Path(sdv2_host.__file__).parents[1]
FUZZER = Path("tests/obs/ring_fuzz.c")
_SOURCES = Path("plugins/obs/src")
_CLIENT = (
    "descriptor", "hosts", "json", "osc", "platform-posix", "ring-leftovers", "ring-reader",
    "ring-writer",
)  # fmt: skip
_FLAGS = (
    "-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-fno-omit-frame-pointer", "-pthread",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
)  # fmt: skip


def obstacle(checkout: Path = CHECKOUT) -> str:
    """Why the C fuzzer cannot be built here; '' when it can."""
    if sys.platform == "win32":
        return "it is built on Linux and macOS only"
    if not (checkout / FUZZER).is_file():
        return f"{FUZZER} is part of the source tree, which is not here"
    if compiler() is None:
        return "neither gcc nor clang is installed"
    return ""


def compiler() -> str | None:
    """The C compiler of this machine."""
    return next((found for name in ("gcc", "clang") if (found := shutil.which(name))), None)


def build(target: Path, checkout: Path = CHECKOUT) -> None:
    """The program is at `target`.

    Raises:
        ConfigError: it does not compile; what the compiler says.
    """
    files = [checkout / FUZZER, *(checkout / _SOURCES / f"{name}.c" for name in _CLIENT)]
    folders = [f"-I{checkout / 'plugins' / 'include'}", f"-I{checkout / _SOURCES}"]
    command = [compiler() or "cc", *_FLAGS, *folders, *map(str, files), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError(f"the C fuzzer does not compile; the compiler says: {done.stderr[-800:]}")


def run(num_cases: int, seed: int, num_processes: int) -> dict[str, Any]:
    """Cases and accepted ones by kind, and flaws in words; values are JSON.

    Raises:
        ConfigError: it does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="sdv2-fuzz-c-") as directory:
        program = Path(directory) / "ring_fuzz"
        build(program)
        counts = [num_cases // num_processes] * num_processes
        counts[0] += num_cases - sum(counts)

        def one(index: int) -> subprocess.CompletedProcess[str]:
            run_dir = Path(directory) / f"run-{index}"
            run_dir.mkdir(mode=0o700)
            return subprocess.run(
                [program, str(seed + index), str(counts[index]), run_dir],
                capture_output=True,
                text=True,
                check=False,
            )

        with ThreadPoolExecutor(num_processes) as threads:
            runs = list(threads.map(one, range(num_processes)))
    kinds: dict[str, dict[str, int]] = {}
    flaws = []
    for index, done in enumerate(runs):
        if done.returncode != 0:
            flaws.append(
                f"C, seed {seed + index}: exit code {done.returncode}: {done.stderr[:2000]}"
            )
        for line in done.stdout.splitlines():
            name, cases, accepted = line.split()
            kind = kinds.setdefault(name, {"cases": 0, "accepted": 0})
            kind["cases"] += int(cases)
            kind["accepted"] += int(accepted)
    return {"kinds": kinds, "flaws": flaws}
