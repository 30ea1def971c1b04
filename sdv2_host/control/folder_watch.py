"""Files that a user edits while the show runs are read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

SUFFIX = ".json"
WATCH_S = 2.0

Found = TypeVar("Found")


def json_files(folder: Path) -> list[Path]:
    """The files of the show in a folder, which need not exist, in order."""
    return [path for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_file()]


def stamp(paths: Iterable[Path]) -> tuple[tuple[str, int], ...]:
    """Differs when a file came, went or was written."""
    stamps = []
    for path in paths:
        try:
            stamps.append((str(path), path.stat().st_mtime_ns))
        except OSError:  # gone meanwhile
            continue
    return tuple(stamps)


async def follow_files(
    paths: Callable[[], Iterable[Path]],
    read: Callable[[], Found],
    take: Callable[[Found], None],
) -> None:
    """What is read goes to `take` each time a file has changed, until cancelled.

    `paths` and `read` are called in a thread: the folder may be on a disk of the network.
    """
    known = stamp(paths())
    while True:
        await asyncio.sleep(WATCH_S)
        newest = await asyncio.to_thread(lambda: stamp(paths()))
        if newest != known:
            known = newest
            take(await asyncio.to_thread(read))
