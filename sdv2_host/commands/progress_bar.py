"""How far one piece of work is: a bar in a terminal, and a line a second elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress

from sdv2_host.commands.narrator import Narrator
from sdv2_host.types import ProgressFn


@contextlib.contextmanager
def shown_progress(console: Console) -> Iterator[ProgressFn]:
    """What is told to this is shown while it is open; of a bar nothing is left afterwards."""
    if not console.is_terminal:
        yield Narrator().progress
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda text, fraction: bar.update(task, description=text, completed=fraction)
