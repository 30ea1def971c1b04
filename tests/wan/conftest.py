"""Where the recorded tensors and key lists of the reference are, when this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reference() -> Path:
    """The folder with `vectors/` and `keys/`: $SDV2_VECTORS/.. or the one beside the checkout."""
    vectors = Path(os.environ.get("SDV2_VECTORS", ROOT.parent / "shared/reference/vectors"))
    if not vectors.is_dir():
        pytest.skip("no recorded reference tensors here; set SDV2_VECTORS to their folder")
    return vectors.parent
