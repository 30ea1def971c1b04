"""What an engine tells of a past that is seen anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdv2_host.gpu.engine import CANNOT_RECACHE, StreamEngine
from sdv2_host.gpu.tiny_engine import tiny_engine, tiny_spec
from sdv2_host.params import Params
from sdv2_host.stream.spec import CacheMode
from sdv2_host.types import Frame, FrameMeta, Size, StyledChunk
from sdv2_host.wan.tiny_weights import TinyModels

SPEC = tiny_spec({}, Size(64, 48))
NEON = Params(prompt="neon outline", recache="window", recache_frames=2)
INK = NEON.model_copy(update={"prompt": "ink"})


def play(engine: StreamEngine, params: list[Params]) -> list[StyledChunk]:
    frame = Frame(FrameMeta(64, 48), np.zeros((48, 64, 4), np.uint8))
    return [engine.step([frame] * (4 if index else 1), one) for index, one in enumerate(params)]


def test_frames_of_the_past_are_told_with_the_chunk_they_cost_time(models: TinyModels) -> None:
    chunks = play(tiny_engine(models, SPEC), [NEON, NEON, NEON, INK, INK])

    recached = [chunk.notes.get("recached") for chunk in chunks]
    assert recached == [None, None, None, 2.0 * NEON.steps, None]
    assert [chunk.has_more_work for chunk in chunks] == [False, False, False, True, False]
    assert {chunk.problem for chunk in chunks} == {""}


def test_a_reference_cache_that_cannot_begin_anew_is_told(models: TinyModels) -> None:
    engine = tiny_engine(models, replace(SPEC, cache=CacheMode.REFERENCE))
    sinks = INK.model_copy(update={"recache": "sinks"})

    chunks = play(engine, [NEON, NEON, INK, sinks])

    assert [chunk.problem for chunk in chunks] == [CANNOT_RECACHE] * 3 + [""]
    assert not any(chunk.has_more_work for chunk in chunks)
