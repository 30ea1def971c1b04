"""An engine whose stages overlap makes the pictures of one that does one after the other."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdv2_host.errors import DeviceMemoryError
from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.overlap import Pace, measured_pace
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta, Layout, Shape, StyledChunk
from sdv2_host.wan.streaming_vae import Decoded, VAECache
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.tiny_weights import TinyModels
from tests.any_params import PARAMS, any_params
from tests.gpu.histories import (
    SIZE,
    Action,
    Finish,
    Player,
    Reset,
    Step,
    histories,
    picture_of,
    pictures,
)
from tests.gpu.lora_engines import lora_engine, write_loras

LIVE = [name for name, spec in PARAMS.items() if not spec.is_output]
LORA = st.sampled_from(["", "ink"])
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_loras(tmp_path_factory.mktemp("models"))


def all_out(engine: StreamEngine, history: list[Action], collects: list[bool]) -> list[StyledChunk]:
    """What comes out, in whatever calls; nothing is dropped by a reset."""
    player = Player(engine)
    styled: list[StyledChunk] = []
    for index, action in enumerate([*history, Finish()]):
        if isinstance(action, Reset):
            styled.append(engine.finish())
        out = player.play(action)
        styled += [] if out is None else [out]
        if collects[index % len(collects)]:
            styled.append(engine.collect())
    return styled


@settings(max_examples=12)
@given(
    st.sampled_from(Layout),
    histories(any_params(LIVE, lora=LORA)),
    st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_whatever_is_done_overlapped_pictures_are_those_of_one_stage_after_the_other(
    models: TinyModels,
    models_dir: Path,
    layout: Layout,
    history: list[Action],
    collects: list[bool],
) -> None:
    serial, overlapped = (
        all_out(lora_engine(models, models_dir, layout, how), history, collects)
        for how in ("off", "on")
    )

    assert np.array_equal(pictures(serial), pictures(overlapped))


def blanks(count: int) -> list[Frame]:
    return [Frame(FrameMeta(*SIZE), picture_of(number)) for number in range(count)]


def test_a_step_returns_what_is_done_and_the_rest_comes_with_collect(models: TinyModels) -> None:
    engine = tiny_engine(models, tiny_spec({}, SIZE), overlap="on")
    counts = [len(engine.step(blanks(1), Params()).frames)]
    for _ in range(4):
        counts.append(len(engine.step(blanks(4), Params()).frames))
    owed = 17 - sum(counts)

    late = len(engine.finish().frames)

    # At most one chunk is on its way when a step returns, and delay_frames says so.
    assert all(sum(counts[: index + 1]) >= 1 + 4 * (index - 1) for index in range(1, 5))
    assert late == owed
    assert (engine.delay_frames, engine.most_behind) == (7, 1)
    assert tiny_engine(models, tiny_spec({}, SIZE)).delay_frames == 3
    assert len(engine.collect().frames) == 0


class SlowVAE:
    """Decodes when it may."""

    def __init__(self, vae: TinyVAE) -> None:
        self._vae = vae
        self.init_cache = vae.init_cache
        self.encode = vae.encode
        self.may_decode = threading.Event()

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        assert self.may_decode.wait(DEADLINE_S)
        return self._vae.decode(z_BFCHW, cache, is_first)


def test_a_reset_drops_what_is_on_its_way_and_the_next_session_is_fresh(models: TinyModels) -> None:
    vae = SlowVAE(models.vae)
    loaded = StreamModels(models.dit, vae, models.text)
    engine = StreamEngine("slow", loaded, tiny_spec({}, SIZE), overlap="on")
    assert len(engine.step(blanks(1), Params()).frames) == 0
    threading.Timer(0.05, vae.may_decode.set).start()

    engine.reset()

    player, fresh = Player(engine), Player(tiny_engine(models, tiny_spec({}, SIZE)))
    history: list[Action] = [*[Step(Params())] * 5, Finish()]
    again, first = ([one.play(action) for action in history] for one in (player, fresh))
    assert np.array_equal(
        *(pictures([one for one in out if one is not None]) for out in (again, first))
    )


class FailingVAE:
    """Its third decode raises."""

    def __init__(self, vae: TinyVAE, error: Exception) -> None:
        self._vae = vae
        self._error = error
        self._num_decoded = 0
        self.init_cache = vae.init_cache
        self.encode = vae.encode

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        self._num_decoded += 1
        if self._num_decoded == 3:
            raise self._error
        return self._vae.decode(z_BFCHW, cache, is_first)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), DeviceMemoryError),
        (ValueError("odd"), ValueError),
    ],
)
def test_a_lane_that_fails_ends_a_step_with_its_error_after_the_pictures_before_it(
    models: TinyModels, error: Exception, told: type[Exception]
) -> None:
    loaded = StreamModels(models.dit, FailingVAE(models.vae, error), models.text)
    engine = StreamEngine("failing", loaded, tiny_spec({}, SIZE), overlap="on")
    out: list[StyledChunk] = []

    with pytest.raises(told) as caught:
        out.extend(engine.step(blanks(count), Params()) for count in (1, 4, 4, 4, 4, 4))

    assert len(pictures(out)) == 5
    assert error in (caught.value, caught.value.__cause__)
    engine.reset()
    assert sum(len(engine.step(blanks(n), Params()).frames) for n in (1, 4)) > 0


def test_notes_and_spans_of_each_chunk_are_told_once_in_order(models: TinyModels) -> None:
    engine = tiny_engine(models, tiny_spec({}, SIZE), overlap="on")
    styled = [engine.step(blanks(4 if index else 1), Params()) for index in range(12)]

    told = [one.notes["chunk"] for one in styled if one.notes]
    assert told == sorted(told)
    assert told[-1] >= 10
    stages = {"upload", "encode", "denoise", "decode", "download"}
    assert [set(one.spans_ms) for one in styled if one.spans_ms] == [stages] * len(
        [one for one in styled if one.spans_ms]
    )


def test_a_warm_engine_knows_what_its_overlap_gives(models: TinyModels) -> None:
    engine = tiny_engine(models, tiny_spec({}, SIZE), overlap="on")

    engine.warm_up(Params(), lambda _text, _fraction: None)
    for index in range(4):
        styled = engine.step(blanks(4 if index else 1), Params())

    assert all(ms > 0 for ms in engine.step_ms.values())
    assert Shape(4, Layout.SERIAL, 4) in engine.step_ms
    assert styled.interval_ms > 0


def test_pace_says_what_is_gained_and_lost() -> None:
    pace = Pace(serial_ms=100, alone_ms=150, interval_ms=80)

    assert pace.gain == 1.25
    assert pace.lateness == 1.6
    assert "1.25 times as many" in str(pace)


def test_pace_is_measured_of_both_ways_in_turns() -> None:
    calls: list[tuple[str, int]] = []

    measured_pace(
        lambda behind: calls.append(("serial", behind)),
        lambda behind: calls.append(("overlapped", behind)),
    )

    ways = [way for way, _ in calls]
    assert [now != then for now, then in pairwise(ways)].count(True) == 3
    assert {behind for way, behind in calls if way == "serial"} == {0}
    assert calls[-1] == ("overlapped", 0)
