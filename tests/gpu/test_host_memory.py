"""Freed memory stays with the process: what is taken again is not cleared page by page."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import ctypes, resource, sys, torch
from sdv2_host.gpu.host_memory import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, keep_freed_memory

torch.set_num_threads(1)
# What glibc does by itself depends on what came before; this is its worst.
ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 0)
if sys.argv[1] == "kept":
    assert keep_freed_memory()


def blocks():
    return [torch.ones(size << 18) for size in range(1, 9)]


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(3):
    blocks()
before = faults()
for _ in range(10):
    blocks()
print(faults() - before)
"""


def num_faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_is_taken_again_costs_few_page_faults() -> None:
    kept, given_back = num_faults("kept"), num_faults("given back")

    assert kept < given_back / 4
