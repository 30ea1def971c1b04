"""A toy hub that serves the toy catalogue, and a store that nothing was pulled into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sdv2_host.models.store import Store
from tests.models.hub import ToyHub
from tests.models.toys import toy_hub, toy_store


@pytest.fixture
def hub() -> Iterator[ToyHub]:
    with toy_hub() as hub:
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return toy_store(tmp_path)
