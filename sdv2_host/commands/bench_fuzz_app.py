"""The command line of `sdv2-host bench fuzz-ring`."""
# ruff: noqa: PLC0415  (lazy imports, and an option is an argument: see cli.py)

from __future__ import annotations

from typing import Annotated

import typer

from sdv2_host.commands.options import JsonFile

bench_fuzz_app = typer.Typer()


@bench_fuzz_app.command("fuzz-ring")
def bench_fuzz_ring(
    count: Annotated[int, typer.Option(help="Cases for Python, and as many for C.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same cases.")] = 1,
    json_file: JsonFile = None,
) -> None:
    """Hostile frame rings: no reader may crash, hang or read what is not the ring's.

    Descriptors, headers and slots that lie, for the readers in Python and the one in C of the OBS
    plugin (in a source tree with gcc or clang). A million cases take a few minutes.

    Example: sdv2-host bench fuzz-ring --count 10000000 --json fuzz.json
    """
    from sdv2_host.commands.bench_fuzz import bench_fuzz_ring as measure
    from sdv2_host.commands.settings import check_range

    check_range("--count", count, 1, 10**12)
    measure(count, seed, json_file)
