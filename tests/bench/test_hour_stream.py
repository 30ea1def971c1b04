"""A stream of the bench of an hour is watched chunk by chunk, by engines that know the truth."""

from __future__ import annotations

import numpy as np
import pytest

from sdv2_host.bench.held_out import rgb_of
from sdv2_host.bench.hour import in_processes
from sdv2_host.bench.hour_show import ANCHOR_CHUNKS, Show
from sdv2_host.bench.hour_stream import StreamPlan, run_stream, watch
from sdv2_host.bench.hour_trace import AFTER_CHANGE, SETTLED, Trace
from sdv2_host.bench.styles import STYLES
from sdv2_host.errors import WorkerError
from sdv2_host.params import Params
from sdv2_host.types import Frame, Layout, Size, StyledChunk

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = Size(64, 64)


class TruthEngine:
    """What the style really is; for `lateness` chunks after a change what the one before was."""

    name = "toy"
    size: Size | None = SIZE
    first_chunk_frames = 1
    chunk_frames = 4

    def __init__(self, lateness: int) -> None:
        self.lateness = lateness
        self.sizes: list[int] = []
        self.reset()

    def reset(self) -> None:
        self.prompts: list[str] = []

    def step(
        self, frames: list[Frame], params: Params, layout: Layout | None = None
    ) -> StyledChunk:
        self.sizes.append(len(frames))
        self.prompts.append(params.prompt)
        shown = self.prompts[max(0, len(self.prompts) - 1 - self.lateness)]
        style = next(style for style in STYLES.values() if style.prompt == shown)
        pixels = np.stack([frame.pixels for frame in frames])
        rgb = rgb_of(pixels)
        styled = (style.fn(rgb) * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
        return StyledChunk(np.concatenate((styled, pixels[..., 3:]), -1), {}, {"drift": 1.5})


SHORT = Show(82, SIZE)
"""Two anchors, each after a glance in another look, a third glance and a part of an anchor."""


@pytest.fixture(scope="module")
def watched() -> tuple[Trace, tuple[TruthEngine, TruthEngine]]:
    engines = TruthEngine(lateness=3), TruthEngine(lateness=0)
    return watch(StreamPlan("toy", SHORT), engines, lambda _what, _fraction: None), engines


def test_every_chunk_is_measured(watched: tuple[Trace, object]) -> None:
    trace = watched[0]

    assert np.isnan(trace.picture_step_N).nonzero()[0].tolist() == [0]
    assert np.isfinite(trace.colours_NS).all()
    assert np.isfinite(trace.detail_N).all()
    assert (trace.step_ms_N > 0).all()
    assert (trace.drift_N == 1.5).all()
    assert np.isfinite(trace.style_N).sum() == 17
    assert np.isfinite(trace.rss_bytes_M).all()
    assert len(trace.rss_bytes_M) == 5


def test_an_engine_of_no_noise_makes_the_same_of_every_anchor(
    watched: tuple[Trace, object],
) -> None:
    away_AP = watched[0].away_AP

    assert away_AP.shape == (2, ANCHOR_CHUNKS - SETTLED)
    assert (away_AP == 0).all()


def test_a_new_look_is_scored_beside_a_stream_that_begins_with_it(
    watched: tuple[Trace, tuple[TruthEngine, TruthEngine]],
) -> None:
    trace, (shown, fresh) = watched

    assert trace.changed_CK.shape == (len(SHORT.changes()), AFTER_CHANGE)
    assert (trace.named_changed_CK[0, :3] == 0).all()
    assert (trace.named_changed_CK[0, 3:] == trace.named_fresh_CK[0, 3:]).all()
    assert trace.named_fresh_CK[0].mean() > 0.9
    assert shown.sizes == [1] + [4] * 81
    assert fresh.sizes == ([1] + [4] * AFTER_CHANGE) * 4 + [1] + [4] * 4


def test_the_embedded_model_is_watched_as_toys_are() -> None:
    show = Show(20, SIZE)

    trace = run_stream(StreamPlan("real", show), lambda _what, _fraction: None)

    assert np.isfinite(trace.colours_NS).all()
    assert np.isfinite(trace.changed_CK).all()
    assert trace.named_changed_CK[0, 4:].mean() > 0.5


@pytest.mark.slow
def test_streams_in_processes_of_their_own_are_the_same_streams() -> None:
    plans = [
        StreamPlan(name, Show(num_chunks, SIZE)) for name, num_chunks in (("a", 40), ("b", 30))
    ]
    told: list[float] = []

    traces = in_processes(plans, lambda _what, fraction: told.append(fraction))

    here = run_stream(plans[1], lambda _what, _fraction: None)
    assert np.array_equal(traces["b"].colours_NS, here.colours_NS)
    assert np.array_equal(traces["a"].colours_NS[:30], here.colours_NS)
    assert told[-1] == 1.0


@pytest.mark.slow
def test_a_stream_whose_process_dies_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    no_size = Size(24, 24)

    with pytest.raises(WorkerError, match="process of stream 'a' ended with 1"):
        in_processes([StreamPlan("a", Show(40, no_size))], lambda _what, _fraction: None)

    assert "Traceback" in capfd.readouterr().err
