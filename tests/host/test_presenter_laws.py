"""The presenter with its thread and real rings: any sequence of pictures, sizes and looks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.clock import NS_PER_MS, now_ns
from sdv2_host.errors import RingError
from sdv2_host.host.presenter import Presenter
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameFlags, FrameMeta, Size
from tests.any_params import any_params

LIVE = ("freeze", "blackout", "mix", "panicked", "safe")
DEADLINE_S = 20.0


class Rig:
    """A worker, a source and a viewer around a presenter."""

    def __init__(self, run_dir: Path) -> None:
        stream = f"t-{uuid.uuid4().hex[:10]}"
        self.failures: list[RingError] = []
        self.work = FrameWriter(f"{stream}-wk", slot_count=16, run_dir=run_dir)
        self.source = FrameWriter(f"{stream}-in", slot_count=8, run_dir=run_dir)
        self.output = FrameReader(f"{stream}-out", run_dir=run_dir)
        self.presenter = Presenter(
            FrameReader(f"{stream}-wk", run_dir=run_dir),
            FrameWriter(f"{stream}-out", slot_count=64, run_dir=run_dir),
            0.0,
            self.failures.append,
            FrameReader(f"{stream}-in", run_dir=run_dir),
        )
        self.seen: list[Frame] = []
        self.num_styled = 0

    def close(self) -> None:
        self.presenter.close()
        self.output.close()
        self.source.close()
        self.work.close()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{len(self.seen)} frames came, then nothing"
            frame = self.output.read_next()
            if frame is None:
                time.sleep(0.001)
            else:
                self.seen.append(frame)

    def show(self, size: Size, count: int, flags: FrameFlags) -> None:
        """So many inputs with their styled pictures; something more is on the output."""
        num_before = len(self.seen)
        for _ in range(count):
            self.num_styled += 1
            captured_ns = now_ns()
            number = self.source.publish(
                flat(60, size), FrameMeta(*size, capture_ts_ns=captured_ns)
            )
            meta = FrameMeta(
                *size,
                source_frame=number,
                source_capture_ts_ns=captured_ns,
                present_ts_ns=0 if flags else now_ns() + NS_PER_MS,
                user_tag=self.num_styled,
                flags=flags,
            )
            self.work.publish(flat(200, size), meta)
        self.presenter.wake()
        self.until(lambda: len(self.seen) > num_before)


def flat(level: int, size: Size) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.full((size.height, size.width, 4), level, np.uint8)
    picture[..., 3] = 255
    return picture


Action = Callable[[Rig], None]
SIZES = st.sampled_from([Size(4, 4), Size(4, 4), Size(1, 1), Size(64, 5), Size(700, 400)])
FLAGS = st.sampled_from([FrameFlags.NONE, FrameFlags.NONE, FrameFlags.NONE, FrameFlags.LOCKSTEP])
SHOWS = st.builds(
    lambda size, count, flags: partial(Rig.show, size=size, count=count, flags=flags),
    SIZES,
    st.integers(1, 4),
    FLAGS,
)
LOOKS = any_params(LIVE, panic_s=st.sampled_from([0.0, 0.02])).map(
    lambda params: lambda rig: rig.presenter.play(params)
)


@settings(max_examples=8)
@given(st.lists(st.one_of(SHOWS, SHOWS, LOOKS), min_size=3, max_size=12))
def test_the_output_ring_has_whole_pictures_in_order_and_the_last_of_them_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, actions: list[Action]
) -> None:
    rig = Rig(tmp_path_factory.mktemp("run"))
    try:
        rig.show(Size(4, 4), 1, FrameFlags.NONE)
        for action in actions:
            action(rig)
        rig.presenter.play(Params())
        rig.show(Size(9, 6), 1, FrameFlags.NONE)
        rig.until(lambda: np.array_equal(rig.seen[-1].pixels, flat(200, Size(9, 6))))
    finally:
        rig.close()

    assert rig.failures == []
    assert rig.output.lost == 0
    for frame in rig.seen:
        assert frame.pixels.shape == (frame.meta.height, frame.meta.width, 4)
        assert (frame.pixels == frame.pixels[:1, :1]).all(), "one picture, of one size"
        assert (frame.pixels[..., 3] == 255).all()
    for before, after in pairwise(frame.meta for frame in rig.seen):
        assert after.frame == before.frame + 1
        assert after.publish_ts_ns >= before.publish_ts_ns
        is_repeat = FrameFlags.REPEATED in after.flags
        assert is_repeat or after.source_capture_ts_ns > before.source_capture_ts_ns
