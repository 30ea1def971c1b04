"""Options of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from sdv2_host.ipc.frame_ring import remove_all_stale
from tests.parts import part_of, talks_to_processes

# What takes long on a machine that others use too is no fault of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")
    parser.addoption("--soak", action="store_true", help="run the tests that only take time, too")
    parser.addoption(
        "--part",
        choices=("pure", "live", "alone"),
        help="run the tests that need nothing else, those that talk to other processes, or those "
        "of them that need the machine to themselves",
    )
    parser.addoption(
        "--second-try",
        action="store_true",
        help="run a failed test that talks to other processes once more, and list it as RERUN",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    part = config.getoption("--part")
    if part is None or not collection_path.name.startswith("test_"):
        return None
    return True if part_of(collection_path) != part else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {
        "slow": "takes minutes and gigabytes: run with --slow, as CI does",
        "soak": "the same for longer than CI has time: run with --soak",
    }
    for marker, reason in reasons.items():
        if config.getoption(f"--{marker}"):
            continue
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
    if config.getoption("--second-try"):
        for item in items:
            if talks_to_processes(item.path):
                item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_sessionfinish() -> None:
    """Nothing is left of hosts that tests killed: the last of them has no next one to clean up."""
    remove_all_stale()


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """A private directory for ring descriptors; what programs killed in the test left is freed."""
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    yield path
    remove_all_stale(path)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Toys are too small to share, and threads that wait for each other on a busy machine take
    twenty times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
