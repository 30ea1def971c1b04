"""A TouchDesigner for the tests of the stand-in itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_td import TouchDesigner
from tests.fake_td.extended import extend


@pytest.fixture
def touch(tmp_path: Path) -> Iterator[TouchDesigner]:
    with TouchDesigner(tmp_path) as session:
        yield session


@pytest.fixture
def comp(touch: TouchDesigner) -> Any:
    """An empty component in the project."""
    return touch.project1.create("baseCOMP", "comp")


@pytest.fixture
def extended(comp: Any) -> Any:
    """A component with a promoted extension."""
    return extend(comp)
