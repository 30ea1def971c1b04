from __future__ import annotations

import json

from sdv2_host.bench.overlap import of_tiny, rows_of
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Size
from tests.bench.test_bench_pipeline import small_models


def test_the_bench_tells_how_many_pictures_overlap_makes_and_how_late() -> None:
    told: list[str] = []

    result = of_tiny(Size(64, 64), 2, 0.05, lambda what, _: told.append(what), small_models())

    assert list(result) == ["one after the other", "overlapped"]
    assert result["one after the other"]["gain"] == 1
    assert all(value > 0 for way in result.values() for value in way.values())
    assert "in turns" in told
    assert json.loads(json.dumps(result)) == result
    assert "1.00 times" in rows_of({"overlap": result})[0]
    assert rows_of({}) == []


def test_with_calls_of_another_kind_the_models_as_written_are_what_all_is_compared_to() -> None:
    asked: list[StreamSpec] = []

    def calls_of(models: StreamModels, spec: StreamSpec) -> ModelCalls:
        asked.append(spec)
        return EagerCalls(models.dit, models.vae)

    result = of_tiny(Size(64, 64), 2, 0.05, lambda *_: None, small_models(), calls_of)

    assert list(result) == ["as written", "one after the other", "overlapped"]
    assert result["as written"]["gain"] == 1
    assert len(asked) == 2
