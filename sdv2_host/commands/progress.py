"""How far a long read or download is: a line per file, moving in a terminal, sparse elsewhere."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from sdv2_host.models.catalogue import size_text

STEP = 0.25


class BarProgress:
    """Bars with size, speed and time left, and one for everything. For a terminal."""

    def __init__(self, total_bytes: int) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            # Results that go to a file or a pipe must go there.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._total = self._bars.add_task("total", total=total_bytes)
        self._before = 0
        self._file: TaskID | None = None

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def begin(self, name: str, size_bytes: int) -> None:
        self._file = self._bars.add_task(name, total=size_bytes)

    def reach(self, done_bytes: int) -> None:
        if self._file is not None:
            self._bars.update(self._file, completed=done_bytes)
            self._bars.update(self._total, completed=self._before + done_bytes)

    def end(self) -> None:
        if self._file is not None:
            task = self._bars.tasks[self._bars.task_ids.index(self._file)]
            self._before += int(task.completed)


class LineProgress:
    """A line at the start of each file and one at each quarter. For logs and pipes."""

    def __init__(self) -> None:
        self._name, self._size_bytes, self._shown = "", 0, 0.0

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def begin(self, name: str, size_bytes: int) -> None:
        self._name, self._size_bytes, self._shown = name, size_bytes, 0.0
        print(f"{name}: {size_text(size_bytes)}", file=sys.stderr)

    def reach(self, done_bytes: int) -> None:
        share = done_bytes / max(self._size_bytes, 1)
        if share >= self._shown + STEP:
            self._shown = share // STEP * STEP
            print(f"{self._name}: {share:.0%}", file=sys.stderr)

    def end(self) -> None:
        pass


def show_progress(total_bytes: int) -> AbstractContextManager[BarProgress | LineProgress]:
    """Progress for this terminal, or for what stands in its place."""
    return BarProgress(total_bytes) if sys.stderr.isatty() else LineProgress()
