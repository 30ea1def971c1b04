"""`sdv2-host bench soak`: runs it, prints the verdicts, writes JSON and PNG."""

from __future__ import annotations

from pathlib import Path

from sdv2_host.bench import soak, soak_report, soak_verdicts
from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.report import check_writable, hardware, write_json


def bench_soak(plan: soak.SoakPlan, json_path: Path | None, png_path: Path | None) -> bool:
    """Whether all stayed flat; an unwritable file shows before the hours are spent.

    Raises:
        HostError: a file cannot be written; the host cannot start, or ended in the middle.
    """
    for path in (json_path, png_path):
        if path is not None:
            check_writable(path)
    narrator = Narrator()
    try:
        trace = soak.run(plan, narrator.progress)
    finally:
        narrator.close()
    result = soak_verdicts.result(plan, trace)
    print(soak_report.format_table(result))
    if json_path is not None:
        write_json(json_path, {**result, "hardware": hardware()})
    if png_path is not None:
        soak_report.draw(png_path, result)
    return bool(result["holds"])
