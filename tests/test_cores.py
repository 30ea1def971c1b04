"""How many threads have a core each, whatever other programs do; and what is read of the system."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_S
from sdv2_host.cores import (
    CROWDED,
    LOOKS_WITH_ROOM,
    MOST_SPINS,
    PERIOD_NS,
    FreeCores,
    _core_numbers,
    _of_ours,
    cpu_quota,
    seconds_of_others,
    spin_briefly,
    usable_cores,
)

BURN = "import time\nwhile time.process_time() < {seconds}: pass"
ROUNDING = 1e-6
RESOLUTION_S = 0.1
"""The system counts each process in hundredths, and may be late with them."""


class Machine:
    """Time, and what others take of it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.others_s = 0.0
        self.num_reads = 0

    def read(self) -> float:
        self.num_reads += 1
        return self.others_s

    def cores(self, most: int, num_cores: int = 0) -> FreeCores:
        return FreeCores(most, num_cores or most, self.read, lambda: self.now_ns)

    def go_on(self, others: float, period_ns: int = PERIOD_NS) -> None:
        """Others take so many cores for a while."""
        self.now_ns += period_ns
        self.others_s += others * period_ns / NS_PER_S


def numbers(most: int, others: list[float]) -> list[int]:
    """After each of these periods."""
    machine = Machine()
    cores = machine.cores(most)
    made = []
    for taken in others:
        machine.go_on(taken)
        made.append(cores.num_free())
    return made


@pytest.mark.parametrize(
    ("most", "others", "number"),
    [
        (2, 0.0, 2),
        (2, 0.3, 2),
        (2, 0.5, 1),
        (2, 1.0, 1),
        (2, 2.0, 1),
        (1, 1.0, 1),
        (16, 2.2, 14),
        (16, 20.0, 1),
    ],
)
def test_a_thread_whose_core_others_use_goes_at_once(most: int, others: float, number: int) -> None:
    assert numbers(most, [others]) == [number]


def test_in_a_container_others_may_take_the_cores_it_has_no_use_for() -> None:
    machine = Machine()
    two_of_sixteen = machine.cores(2, num_cores=16)
    made = []
    for taken in (9.0, 14.2, 15.0, *[13.0] * LOOKS_WITH_ROOM):
        machine.go_on(taken)
        made.append(two_of_sixteen.num_free())

    assert made == [2, 2, 1, *[1] * (LOOKS_WITH_ROOM - 1), 2]


def test_it_comes_back_when_others_have_been_away_for_a_while() -> None:
    made = numbers(4, [3.0, *[0.0] * LOOKS_WITH_ROOM, 0.0])

    assert made == [1] * LOOKS_WITH_ROOM + [4, 4]


def test_it_does_not_come_back_in_their_pauses() -> None:
    assert set(numbers(2, [1.0, *[0.0] * (LOOKS_WITH_ROOM - 1)] * 5)) == {1}


def test_what_is_in_between_changes_nothing() -> None:
    assert numbers(2, [0.38] * 20) == [2] * 20
    assert numbers(2, [1.0, *[0.38] * 20]) == [1] * 21


def test_between_two_looks_nothing_is_read() -> None:
    machine = Machine()
    cores = machine.cores(2)
    for _ in range(9):
        machine.go_on(1.0, PERIOD_NS // 10)

        assert cores.num_free() == 2
    assert machine.num_reads == 1

    machine.go_on(1.0, PERIOD_NS // 10)
    assert cores.num_free() == 1
    assert machine.num_reads == 2


@given(st.integers(1, 64), st.lists(st.floats(-1, 70), min_size=1, max_size=30))
def test_there_is_always_one_and_never_too_many(most: int, others: list[float]) -> None:
    """Counters of a system may even run backwards: a core is unplugged, a machine moved."""
    made = numbers(most, others)

    assert all(1 <= number <= most for number in made)
    for before, after, taken in zip([most, *made], made, others, strict=False):
        spare = most - taken - (before - CROWDED)
        if abs(spare) > ROUNDING and (spare > 0 or before > 1):
            assert (after < before) == (spare < 0)


def test_the_work_of_another_process_counts_and_ones_own_does_not() -> None:
    begin_s, begin = seconds_of_others(), time.monotonic()
    own_s = time.process_time()
    subprocess.run([sys.executable, "-c", BURN.format(seconds=0.5)], check=True)
    others_s = seconds_of_others() - begin_s

    assert others_s > 0.5 - RESOLUTION_S

    while time.process_time() < own_s + 0.5:
        pass
    own_s = time.process_time() - own_s
    most_s = (time.monotonic() - begin) * (psutil.cpu_count() or 1) - own_s
    assert seconds_of_others() - begin_s < most_s + RESOLUTION_S


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which cores are for a process")
def test_only_cores_that_the_process_may_use_are_counted() -> None:
    one = min(os.sched_getaffinity(0))
    ask = (
        f"import os; os.sched_setaffinity(0, {{{one}}}); from sdv2_host.cores import *; "
        "import psutil; "
        "print(usable_cores(), seconds_of_others() <= sum(psutil.cpu_times(True)[%d][:8]))" % one
    )
    made = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)

    assert made.stdout.split() == ["1", "True"]


NO_QUOTA = {"cpu.max": "max 100000\n"}
TWO_CORES = {"cpu.max": "200000 100000\n"}
OLD_HALF = {"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}
OLD_NONE = {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("lines", "groups", "cores"),
    [
        ("0::/user/host\n", {"user/host": TWO_CORES, "user": NO_QUOTA}, 2.0),
        ("0::/user/host\n", {"user/host": NO_QUOTA, "user": TWO_CORES}, 2.0),
        ("0::/user/host\n", {"user/host": {"cpu.max": "150000 100000\n"}, "user": TWO_CORES}, 1.5),
        ("0::/\n", {"": TWO_CORES}, 2.0),
        ("0::/../../docker/1f\n", {"": TWO_CORES}, 2.0),
        ("0::/user\n", {"user": NO_QUOTA}, math.inf),
        ("0::/user\n", {}, math.inf),
        ("3:cpu,cpuacct:/docker/1f\n0::/x\n", {"cpu,cpuacct/docker/1f": OLD_HALF}, 0.5),
        ("3:cpu,cpuacct:/docker/1f\n4:memory:/\n", {"cpu,cpuacct": OLD_HALF}, 0.5),
        ("3:cpuset:/a\n2:cpu:/a\n", {"cpu/a": OLD_NONE, "cpuset/a": OLD_HALF}, math.inf),
    ],
)
def test_time_that_a_container_has_counts(
    tmp_path: Path, lines: str, groups: dict[str, dict[str, str]], cores: float
) -> None:
    (tmp_path / "cgroup").write_text(lines)
    for group, files in groups.items():
        (folder := tmp_path / "mount" / group).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)

    assert cpu_quota(tmp_path / "cgroup", tmp_path / "mount") == cores


def test_without_control_groups_nothing_is_said(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "cgroup", tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "threads"), [(0.5, 1), (1.0, 1), (1.9, 1), (math.inf, None)])
def test_a_share_of_a_core_has_no_thread(
    monkeypatch: pytest.MonkeyPatch, quota: float, threads: int | None
) -> None:
    without = usable_cores()
    monkeypatch.setattr("sdv2_host.cores.cpu_quota", lambda: quota)

    assert usable_cores() == (threads or without)


@pytest.mark.parametrize(
    ("allowed", "numbers", "ours"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], "abcd"),
        ([1, 3], [0, 1, 2, 3], "bd"),
        ([0, 2, 4, 6], [0, 2, 4, 6], "abcd"),
        ([4, 6], [0, 2, 4, 6], "cd"),
        ([2, 3, 4, 5], [0, 1, 2, 3], "abcd"),
        ([], [0, 1, 2, 3], "abcd"),
        ([0], [], "abcd"),
    ],
    ids=["all", "some", "odd ones off", "some of those", "numbered anew", "not said", "no Linux"],
)
def test_cores_are_known_by_their_numbers(
    monkeypatch: pytest.MonkeyPatch, allowed: list[int], numbers: list[int], ours: str
) -> None:
    monkeypatch.setattr("sdv2_host.cores._affinity", lambda: allowed)

    assert _of_ours(list("abcd"), numbers) == list(ours)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux numbers them")
def test_the_system_s_cores_have_numbers() -> None:
    assert len(_core_numbers()) == len(psutil.cpu_times(percpu=True))


def test_there_are_as_many_as_the_machine_has_or_fewer() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_threads_spin_briefly_unless_the_user_has_said_otherwise() -> None:
    said: list[dict[str, str]] = [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}]
    for environment in said:
        spin_briefly(environment)

    assert said == [
        {"GOMP_SPINCOUNT": str(MOST_SPINS)},
        {"OMP_WAIT_POLICY": "ACTIVE"},
        {"GOMP_SPINCOUNT": "7"},
    ]
