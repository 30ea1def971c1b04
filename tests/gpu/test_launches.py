"""What a steady chunk launches beside the models' calls: a few microseconds of the host each."""

from __future__ import annotations

import pytest

from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.tiny_engine import tiny_spec
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta
from sdv2_host.wan.tiny_weights import TinyModels
from tests.gpu.histories import SIZE, picture_of
from tests.gpu.launches import Launches, UncountedCalls


@pytest.mark.parametrize(("drift", "most"), [("off", 62), ("watch", 120), ("act", 143)])
def test_a_steady_chunk_launches_few_small_things_and_asks_the_device_nothing(
    models: TinyModels, drift: str, most: int
) -> None:
    calls = UncountedCalls(models.dit, models.vae)
    calls.launches = Launches()
    loaded = StreamModels(models.dit, models.vae, models.text, calls=calls)
    engine = StreamEngine("counted", loaded, tiny_spec({}, SIZE))
    frames = [Frame(FrameMeta(*SIZE), picture_of(number)) for number in range(4)]
    params = Params(steps=2, drift=drift)
    engine.step(frames[:1], params)
    for _ in range(8):
        engine.step(frames, params)

    with calls.launches:
        engine.step(frames, params)

    assert 20 < calls.launches.total <= most, calls.launches.counts
    assert calls.launches.waits == []
