"""What a daemon frees goes back to the system; by itself glibc keeps it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sdv2_host.host import heap

LEFT = """
import sys
import time
import psutil
from sdv2_host.host import heap

heap.TRIM_S = 0.05
if sys.argv[1] == "kept small":
    heap.keep_heap_small()
process = psutil.Process()
del [bytearray(8 << 20)][:]  # from now on such pieces lie in the heap
before = process.memory_info().rss
pictures, stays = [], []
for _ in range(200):
    pictures.append(bytearray(300 << 10))
    stays.append(bytearray(2 << 10))
pictures.clear()
time.sleep(1)
print((process.memory_info().rss - before) >> 20)
"""


def left_mib(how: str) -> int:
    """Of 59 MiB of pictures that were freed, with small things between them that stay."""
    command = [sys.executable, "-c", LEFT, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(heap._trim_of_glibc() is None, reason="another C library than glibc")
def test_what_is_freed_goes_back_although_small_things_stay_between() -> None:
    assert left_mib("kept small") <= 2
    assert left_mib("left alone") >= 40
