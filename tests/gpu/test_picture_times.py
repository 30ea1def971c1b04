"""What each picture's stages took comes with it, however steps are batched and stages overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.clock import now_ns
from sdv2_host.gpu.overlap import Overlap
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.host.outlet import Outlet
from sdv2_host.ipc.frame_ring import FrameReader, FrameWriter
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta, Layout, StyledChunk
from sdv2_host.wan.tiny_weights import TinyModels
from tests.gpu.histories import SIZE, Action, Finish, Player, Reset, Step, histories, picture_of

NUM_CHUNKS = 6
STEPS = 3
WAYS = pytest.mark.parametrize(
    ("layout", "overlap"), [(layout, how) for layout in Layout for how in ("off", "on")]
)


def captured(count: int) -> list[Frame]:
    metas = [FrameMeta(*SIZE, frame=number + 1, capture_ts_ns=now_ns()) for number in range(count)]
    return [Frame(meta, picture_of(meta.frame)) for meta in metas]


def read_all(reader: FrameReader) -> list[FrameMeta]:
    metas = []
    while (frame := reader.read_next()) is not None:
        metas.append(frame.meta)
    return metas


@WAYS
def test_the_parts_of_every_picture_s_way_are_its_latency(
    models: TinyModels, run_dir: Path, layout: Layout, overlap: Overlap
) -> None:
    engine = tiny_engine(models, tiny_spec({}, SIZE, layout=layout), overlap=overlap)
    params = Params(steps=STEPS)
    with (
        FrameReader("work", run_dir=run_dir) as reader,
        Outlet(FrameWriter("work", slot_count=64, run_dir=run_dir)) as outlet,
    ):
        for count in (1, *[4] * NUM_CHUNKS):
            frames = captured(count)
            outlet.expect(frames)
            outlet.publish(engine.step(frames, params), 1)
        outlet.publish(engine.finish(), 1)
        metas = read_all(reader)

    assert len(metas) == 1 + 4 * NUM_CHUNKS
    for meta in metas:
        latency_us = meta.publish_ts_ns // 1000 - meta.source_capture_ts_ns // 1000
        assert sum(meta.budget) == latency_us
        assert min(meta.budget) >= 0, meta.budget
        assert min(meta.times.encode_us, meta.times.denoise_us, meta.times.decode_us) > 0


def all_parts(
    models: TinyModels, layout: Layout, overlap: Overlap, history: list[Action]
) -> list[StyledChunk]:
    """What each action returned; nothing is dropped by a reset."""
    engine = tiny_engine(models, tiny_spec({}, SIZE, layout=layout), overlap=overlap)
    player = Player(engine)
    styled: list[StyledChunk] = []
    for action in [*history, Finish()]:
        if isinstance(action, Reset):
            styled.append(engine.finish())
        out = player.play(action)
        styled += [] if out is None else [out]
    return styled


@settings(max_examples=8)
@given(
    st.sampled_from(Layout),
    st.sampled_from(["off", "on"]),
    histories(st.integers(1, 3).map(lambda steps: Params(steps=steps))),
)
def test_every_step_is_told_once_and_parts_have_all_frames(
    models: TinyModels, layout: Layout, overlap: Overlap, history: list[Action]
) -> None:
    styled = all_parts(models, layout, overlap, history)

    parts = [part for one in styled for part in one.parts]
    assert sum(part.is_step for part in parts) == sum(isinstance(one, Step) for one in history)
    assert [sum(part.num_frames for part in one.parts) for one in styled] == [
        len(one.frames) for one in styled
    ]
    stages = {"upload", "encode", "denoise", "decode", "download"}
    assert all(set(part.spans_ms) >= stages for part in parts if part.is_step)


def test_a_batch_s_pictures_were_denoised_by_each_step_they_went_through(
    models: TinyModels,
) -> None:
    engine = tiny_engine(models, tiny_spec({}, SIZE, layout=Layout.BATCH))
    engine.step(captured(1), Params(steps=2))

    late = engine.step(captured(4), Params(steps=2))
    came = engine.step(captured(4), Params(steps=2))

    assert [len(late.frames), len(came.frames)] == [0, 4]
    assert [part.num_frames for part in (*late.parts, *came.parts)] == [0, 4]
    assert np.all([part.spans_ms["denoise"] > 0 for part in (*late.parts, *came.parts)])
