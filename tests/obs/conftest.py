"""One OBS for the tests that leave it running; those that kill it have their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.obs.obs_process import RunningObs, build_plugin, screen
from tests.obs.stage import Stage

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    with screen() as name:
        yield name


@pytest.fixture(scope="package")
def obs(
    plugin: Path, display: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningObs]:
    running = RunningObs(tmp_path_factory.mktemp("obs"), display, plugin)
    yield running
    running.stop()


@pytest.fixture
def stage(obs: RunningObs) -> Iterator[Stage]:
    """An empty scene on air, gone after the test with all that was put into it."""
    with Stage(obs, f"scene {next(_numbers)}") as empty:
        yield empty
