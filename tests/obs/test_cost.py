"""What source and filter cost OBS: time on its render thread, memory, lines in its log."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.hosts import unique_name
from tests.obs.obs_process import RunningObs, needs_obs, segments_of
from tests.obs.stage import Stage
from tests.obs.toy_host import ToyHost

pytestmark = needs_obs

WARM_UP_S = 6
MOST_GROWTH_MIB = 6
MOST_LATE_GROWTH_MIB = 2  # in the second half, when every cache is full
COST = re.compile(r"\[sdv2\] (source|filter) '.*': render thread ([0-9.]+) ms a frame, 99 of 100 "
                  r"below ([0-9.]+) ms, ([0-9]+) frames(.*)")  # fmt: skip


@pytest.mark.parametrize(
    "seconds", [15, pytest.param(600, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_memory_stays_flat_and_the_log_clean(
    plugin: Path, display: str, tmp_path: Path, seconds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = RunningObs(tmp_path / "bare", display, None)
    bare.stop()
    obs = RunningObs(tmp_path / "obs", display, plugin)
    with ToyHost(unique_name()) as camera, ToyHost(unique_name()) as host:
        stage = Stage(obs, "played")
        source = stage.add_source(camera.name)
        stage.add_filter(source, host.name)
        camera.play(640, 480, 30)
        time.sleep(WARM_UP_S)
        begin_cpu_s = obs.cpu_s()
        num_frames = 0
        rss_mib = [obs.rss_bytes() / 2**20]

        for _ in range(10):
            end = time.monotonic() + seconds / 10
            while time.monotonic() < end:
                num_frames += host.input.read_next() is not None
                time.sleep(0.002)
            rss_mib.append(obs.rss_bytes() / 2**20)

        cpu = (obs.cpu_s() - begin_cpu_s) / seconds
        segments = segments_of(obs.process.pid)
        obs.stop()
    costs = COST.findall(obs.log())

    with capsys.disabled():
        sizes = " ".join(f"{size:.1f}" for size in rss_mib)
        print(f"\n640x480 at 30 fps, {seconds} s: {cpu:.0%} of a core; MiB of memory: {sizes}")
        for kind, mean_ms, p99_ms, frames, rest in costs:
            print(f"  {kind}: {mean_ms} ms a frame, p99 {p99_ms} ms, {frames} frames{rest}")
    assert {kind for kind, *_ in costs} == {"source", "filter"}
    assert rss_mib[-1] - rss_mib[0] < MOST_GROWTH_MIB
    assert rss_mib[-1] - rss_mib[5] < MOST_LATE_GROWTH_MIB
    assert num_frames > seconds * 15
    assert set(obs.warnings()) <= set(bare.warnings())
    assert len(segments) >= 2
    assert [path for path in segments if path.exists()] == []
