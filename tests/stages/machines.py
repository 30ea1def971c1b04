"""Two machines for a test, which leave nothing behind however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sdv2_host.bench.two_machines import TwoMachines, two_machines
from sdv2_host.errors import ConfigError


@contextmanager
def machines_or_skip(one_way_ms: float = 0.0) -> Iterator[TwoMachines]:
    """Skips where this system or this user cannot have them, and says why."""
    try:
        with two_machines():
            pass
    except ConfigError as error:
        pytest.skip(str(error))
    with two_machines(one_way_ms) as machines:
        yield machines
