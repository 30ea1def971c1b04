"""Which starts of a host ended without anybody's doing: a host that crashes as soon as it is
started again begins with the safe engine.

A file NAME.starts.json beside the state, of wall-clock times: nothing else outlives a reboot. A
clock that is set back makes starts of the future, which do not count.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from sdv2_host.control.documents import Format
from sdv2_host.errors import ConfigError, HostError
from sdv2_host.host.stand_in import RETRY
from sdv2_host.models.whole_file import write_whole

log = logging.getLogger(__name__)

TOO_MANY = 3
WITHIN_S = 300.0


class Starts(BaseModel):
    """Those that did not end in order, in seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    begun_s: list[float] = Field(max_length=1000)


STARTS = Format("sdv2-starts", Starts, {})


@contextlib.contextmanager
def noted_start(path: Path, now_s: Callable[[], float] = time.time) -> Iterator[str]:
    """While it is open the start counts as one that has not ended in order; so it stays when the
    process is killed, or ends by an error of ours.

    Gives why the host shall begin with the safe engine, for a person; '' = it need not.
    """
    now = now_s()
    before = [begun for begun in _read(path) if 0 <= now - begun <= WITHIN_S]
    _write(path, Starts(begun_s=[*before, now]))
    why = (
        f"this host has crashed or was killed {len(before)} times within {WITHIN_S / 60:.0f} "
        f"minutes; {RETRY} starts its engine"
    )
    try:
        yield why if len(before) >= TOO_MANY else ""
    except HostError:  # it said why, and that will not change by itself
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


def _read(path: Path) -> list[float]:
    if not path.exists():
        return []
    try:
        return STARTS.read(path).value.begun_s
    except ConfigError as error:
        log.warning("%s; what became of the last starts is not known", error)
        return []


def _write(path: Path, starts: Starts) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, STARTS.dump(starts))
    except OSError as error:
        log.warning("cannot write %s: %s; a crash will not be counted", path, error.strerror)
