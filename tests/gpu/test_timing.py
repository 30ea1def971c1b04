from __future__ import annotations

import time

import torch

from sdv2_host.gpu.timing import SpanTimer


def test_spans_of_one_name_add_up_within_a_chunk() -> None:
    timer = SpanTimer(torch.device("cpu"))

    for _ in range(2):
        with timer.span("decode"):
            time.sleep(0.002)
    with timer.span("encode"):
        pass
    spans_ms = timer.finish_chunk()

    assert list(spans_ms) == ["decode", "encode"]
    assert spans_ms["decode"] >= 4
    assert spans_ms["encode"] < 4


def test_a_new_chunk_starts_from_nothing() -> None:
    timer = SpanTimer(torch.device("cpu"))
    with timer.span("decode"):
        pass
    timer.finish_chunk()

    assert timer.finish_chunk() == {}
