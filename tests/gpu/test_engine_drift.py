"""The drift watchdog on the embedded model: noticed, told once, and healed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdv2_host.gpu.engine import StreamEngine
from sdv2_host.gpu.notes import DRIFT_TEXT
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.stream.drift import LEARN_CHUNKS, SETTLE_CHUNKS
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.types import Frame, FrameMeta, Size
from sdv2_host.wan.tiny_weights import load_tiny

SIDE_PX = 64
BAND_CHUNKS = SETTLE_CHUNKS + LEARN_CHUNKS
SPOILT_CHUNK = BAND_CHUNKS + 2
NUM_CHUNKS = SPOILT_CHUNK + 38


class Show(NamedTuple):
    frames: list[NDArray[np.uint8]]
    problems: list[str]
    """As they change."""
    notes: dict[str, float]
    """Of the last chunk."""


def panning(index: int) -> list[Frame]:
    """Chunk `index` of a picture of 16 coloured squares that moves by a pixel a frame."""
    squares = np.random.default_rng(3).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    picture = squares.repeat(SIDE_PX // 4, 0).repeat(SIDE_PX // 4, 1)
    moves = range(4 * index, 4 * index + (4 if index else 1))
    return [Frame(FrameMeta(SIDE_PX, SIDE_PX), np.roll(picture, move, axis=1)) for move in moves]


def spoil_sinks_(engine: StreamEngine) -> None:
    """What the sinks hold is wrong from now on, as a picture that has crept away is."""
    kv = engine._state.kv
    assert isinstance(kv, RollingKVCache)
    num_tokens = kv.geometry.num_sinks * kv.tokens_per_frame
    with torch.inference_mode():
        for values_RSHD in kv.v_RSHD:
            values_RSHD[:, :num_tokens] *= -20


def play(engine: StreamEngine, drift: str, num_chunks: int, *, is_spoilt: bool) -> Show:
    engine.reset()
    params = Params(prompt="watercolor painting", steps=1, drift=drift)
    frames, problems, notes = [], [""], {}
    for index in range(num_chunks):
        if is_spoilt and index == SPOILT_CHUNK:
            spoil_sinks_(engine)
        styled = engine.step(panning(index), params)
        frames.append(styled.frames)
        notes = styled.notes
        if styled.problem != problems[-1]:
            problems.append(styled.problem)
    return Show(frames, problems, notes)


def error(first: Show, second: Show, chunks: slice) -> float:
    """Mean difference, in levels of 255."""
    pairs = zip(first.frames[chunks], second.frames[chunks], strict=True)
    return float(np.mean([np.abs(a.astype(float) - b.astype(float)).mean() for a, b in pairs]))


@pytest.fixture(scope="module")
def engine() -> StreamEngine:
    """Of the trained weights: with random ones nothing looks like anything."""
    return tiny_engine(load_tiny(), tiny_spec({}, Size(SIDE_PX, SIDE_PX)))


def test_a_picture_spoilt_for_good_comes_back_when_drift_is_acted_against(
    engine: StreamEngine,
) -> None:
    whole = play(engine, "watch", NUM_CHUNKS, is_spoilt=False)

    acted = play(engine, "act", NUM_CHUNKS, is_spoilt=True)

    spoilt = slice(SPOILT_CHUNK + 4, SPOILT_CHUNK + 16)
    assert error(whole, acted, spoilt) > 15
    assert error(whole, acted, slice(-4, None)) < 4
    assert error(whole, acted, slice(0, SPOILT_CHUNK)) == 0
    assert whole.problems == [""]
    told = DRIFT_TEXT + "the sinks are made new, a few chunks get more noise"
    assert acted.problems == ["", told, ""]


def test_a_watched_drift_is_told_once_and_measured(engine: StreamEngine) -> None:
    watched = play(engine, "watch", NUM_CHUNKS, is_spoilt=True)

    assert watched.problems == ["", DRIFT_TEXT + "/sdv2/drift act would make the sinks new"]
    assert watched.notes["drift"] > 3


def test_what_is_not_watched_has_no_note(engine: StreamEngine) -> None:
    assert "drift" not in play(engine, "off", 2, is_spoilt=False).notes
