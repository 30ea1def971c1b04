"""Which tests can run side by side, and which talk to other processes and run alone."""

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

TESTS = Path(__file__).parent


def talks_to_processes(path: Path) -> bool:
    folder = path.parent.relative_to(TESTS).as_posix()
    return folder in FOLDERS_WITH_PROCESSES or folder == "."


def is_pure(path: Path) -> bool:
    return not talks_to_processes(path) or path.relative_to(TESTS).as_posix() in BUSY_FILES
