from __future__ import annotations

import time

import torch

from sdv2_host.gpu.timing import ChunkSpans


def test_spans_of_one_name_add_up_within_a_chunk() -> None:
    spans = ChunkSpans(torch.device("cpu"))

    for _ in range(2):
        with spans.span("decode"):
            time.sleep(0.002)
    with spans.span("encode"):
        pass
    spans_ms = spans.read_ms()

    assert list(spans_ms) == ["decode", "encode"]
    assert spans_ms["decode"] >= 4


def test_a_new_chunk_starts_from_nothing() -> None:
    spans = ChunkSpans(torch.device("cpu"))
    with spans.span("decode"):
        pass

    assert ChunkSpans(torch.device("cpu")).read_ms() == {}
