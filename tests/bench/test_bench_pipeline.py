from __future__ import annotations

import json

import torch

from sdv2_host.bench.pipeline import format_table, run
from sdv2_host.types import Size
from sdv2_host.wan.dims import TINY_VAE, TinyTextDims, WanDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.tiny_weights import TinyModels


def small_models() -> TinyModels:
    torch.manual_seed(0)
    dims = WanDims(
        dim=24, num_heads=2, ffn_dim=32, num_layers=2, text_dim=8, text_len=4, freq_dim=8
    )
    text = TinyTextDims(num_buckets=64, bucket_dim=8, text_len=4, text_dim=8, num_heads=2)
    return TinyModels(CausalWanModel(dims), TinyVAE(TINY_VAE), TinyTextEncoder(text), {})


def test_the_bench_reports_speed_spans_overhead_and_memory() -> None:
    models = small_models()
    told: list[str] = []

    result = run(Size(64, 64), 2, 0.05, lambda what, _: told.append(what), models)

    assert result["fps"] > 0
    assert list(result["spans_ms"]) == ["upload", "encode", "denoise", "decode", "download"]
    assert result["overhead_ratio"] > 0
    assert "engine alone" in told
    assert json.loads(json.dumps(result)) == result
    assert "64x64, 2 steps" in format_table(result)
