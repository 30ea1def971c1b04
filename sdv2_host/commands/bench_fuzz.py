"""`sdv2-host bench fuzz-ring`: tries the readers, prints the counts, fails when one has a flaw."""

from __future__ import annotations

from pathlib import Path

from sdv2_host.bench import fuzz_ring
from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.report import check_writable, hardware, write_json
from sdv2_host.errors import RingError


def bench_fuzz_ring(num_cases: int, seed: int, json_path: Path | None) -> None:
    """Counts by outcome are printed and written.

    Raises:
        RingError: a reader did what it must not.
    """
    if json_path is not None:
        check_writable(json_path)
    narrator = Narrator()
    results = fuzz_ring.run(num_cases, seed, narrator.progress)
    narrator.close()
    print(fuzz_ring.format_table(results))
    if json_path is not None:
        write_json(json_path, {**results, "hardware": hardware()})
    found = fuzz_ring.flaws(results)
    if found:
        raise RingError(f"{len(found)} flaws of frame ring readers, the first: {found[0]}")
