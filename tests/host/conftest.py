from __future__ import annotations

import uuid
from pathlib import Path

import pytest


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A private directory for ring descriptors."""
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def stream() -> str:
    """A stream name that no other test uses."""
    return f"t-{uuid.uuid4().hex[:10]}"
