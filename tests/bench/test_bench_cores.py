from __future__ import annotations

import json
import threading

import psutil
import pytest
import torch

from sdv2_host.bench.shared_cores import BEAT_S, format_table, run, work, working_beside
from sdv2_host.types import Size
from tests.bench.test_bench_pipeline import small_models


class EndError(Exception):
    """The clock has run out."""


def test_the_bench_tells_what_others_cost_with_all_threads_one_and_some() -> None:
    before = torch.get_num_threads()
    try:
        result = run(Size(64, 64), 2, 0.05, lambda *_: None, small_models(), (0.0, 0.5))
    finally:
        torch.set_num_threads(before)

    assert [row["share"] for row in result["rows"]] == [0.0, 0.5]
    for row in result["rows"]:
        assert 1 <= row["threads"] <= result["cores"]
        assert all(row[way]["fps"] > 0 for way in ("all threads", "one thread", "as the host"))
    assert json.loads(json.dumps(result)) == result
    assert "0.5  of a core" in format_table(result)


def test_the_other_program_works_while_it_is_wanted_and_no_longer() -> None:
    before = set(psutil.Process().children())
    with working_beside(1.0):
        (other,) = set(psutil.Process().children(recursive=True)) - before - _trackers()
        first_s = other.cpu_times().user
        threading.Event().wait(0.5)

        assert other.cpu_times().user > first_s
    assert not other.is_running()


def _trackers() -> set[psutil.Process]:
    """A helper of multiprocessing that stays."""
    return {
        one
        for one in psutil.Process().children(recursive=True)
        if "resource_tracker" in " ".join(one.cmdline())
    }


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_it_works_for_its_share_of_every_beat(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    now_s = slept_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += BEAT_S / 1000
        if now_s > 10 * BEAT_S:
            raise EndError
        return now_s

    def sleep(seconds: float) -> None:
        nonlocal now_s, slept_s
        now_s += seconds
        slept_s += seconds

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(EndError):
        work(share, clock)

    assert slept_s / now_s == pytest.approx(1 - share, abs=0.02)
