"""Measurements row by row: what is done is kept after each, and is not lost with Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdv2_host.commands.narrator import Narrator
from sdv2_host.commands.report import check_writable, hardware, write_json

Result = dict[str, Any]
KeepFn = Callable[[Result], None]


def report_rows(
    measure: Callable[[Narrator, KeepFn], Result],
    table: Callable[[Result], str],
    draw: Callable[[Path, Result], object],
    json_path: Path | None,
    png: Path | None,
) -> None:
    """Measures, prints the table and draws; JSON after each row that `measure` keeps. Ctrl-C ends
    it after the rows that are done, with all of that.

    Raises:
        HostError: a file cannot be written, which shows before anything is measured; or as
            `measure`.
    """
    for path in (json_path, png):
        if path is not None:
            check_writable(path)

    def keep(result: Result) -> None:
        if json_path is not None:
            write_json(json_path, {**result, "hardware": hardware()})

    narrator = Narrator()
    result, is_whole = until_interrupted(lambda kept: measure(narrator, kept), keep)
    narrator.close()
    if result is not None:
        print(table(result))
        if png is not None:
            draw(png, result)
    if not is_whole:
        raise KeyboardInterrupt


def until_interrupted(
    measure: Callable[[KeepFn], Result], keep: KeepFn
) -> tuple[Result | None, bool]:
    """The result, and whether it is whole: Ctrl-C leaves what was kept last, if anything."""
    latest: Result | None = None

    def kept(result: Result) -> None:
        nonlocal latest
        latest = result
        keep(result)

    try:
        return measure(kept), True
    except KeyboardInterrupt:
        return latest, False
