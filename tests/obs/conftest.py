from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.obs.real_obs import MISSING, WHY_SKIPPED, RealObs


@pytest.fixture(scope="module")
def obs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealObs]:
    """One real OBS for the tests of a module; those are skipped where there is none."""
    if MISSING:
        pytest.skip(WHY_SKIPPED)
    with RealObs(tmp_path_factory.mktemp("obs")) as running:
        yield running
