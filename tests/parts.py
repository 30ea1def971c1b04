"""Which tests can run side by side, which talk to other processes, and which of those run alone."""

from __future__ import annotations

from pathlib import Path

FOLDERS_WITH_PROCESSES = frozenset(
    (
        *("checkup", "client", "control", "host", "ipc", "obs", "peers", "ring", "sinks"),
        "sources",
        "touchdesigner",
    )
)
"""Tests in them, and beside them, talk to other processes: a machine that stalls for seconds can
fail them, so they have a second try. The rest has none."""

BUSY_FILES = frozenset(
    (
        "control/test_osc_fuzz.py",
        "control/test_web_fuzz.py",
        "test_full_size.py",
        "test_recorded_reference.py",
        "touchdesigner/test_cuda_download.py",
        "touchdesigner/test_cuda_transfer.py",
        "touchdesigner/test_cuda_upload.py",
    )
)
"""Of those folders, second try and all, and yet run beside the rest: they keep one core busy, in
one process, and wait for nobody else."""

ALONE_FOLDERS = frozenset(("obs", "ring"))
ALONE_FILES = frozenset(
    (
        "client/test_live.py",
        "control/test_discovery.py",
        "host/test_live_laws.py",
        "host/test_presenter.py",
        "host/test_presenter_laws.py",
        "host/test_schedule.py",
        "touchdesigner/test_faults.py",
        "touchdesigner/test_thousand_cooks.py",
        "test_end_to_end.py",
        "test_interrupt.py",
    )
)
"""What they show needs a machine of their own: times of a whole program, both cores at work, names
that all programs of the machine see."""

TESTS = Path(__file__).parent


def talks_to_processes(path: Path) -> bool:
    folder = path.parent.relative_to(TESTS).as_posix()
    return folder in FOLDERS_WITH_PROCESSES or folder == "."


def is_pure(path: Path) -> bool:
    return not talks_to_processes(path) or path.relative_to(TESTS).as_posix() in BUSY_FILES


def runs_alone(path: Path) -> bool:
    relative = path.relative_to(TESTS)
    is_named = relative.as_posix() in ALONE_FILES or relative.parts[0] in ALONE_FOLDERS
    return is_named and not is_pure(path)


def part_of(path: Path) -> str:
    """The pass that runs these tests: "pure", "live" or "alone"."""
    if is_pure(path):
        return "pure"
    return "alone" if runs_alone(path) else "live"
