"""What only a CUDA device can prove of the DiT's kernels. Run where there is one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sdv2_host.gpu.attention_choice import (
    AttentionChoice,
    AttentionShapes,
    installed_packages,
    kernels_of,
)
from sdv2_host.gpu.wan_models import FP8_CAPABILITY
from sdv2_host.gpu.wan_spec import GEOMETRY
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.wan.attention import attention
from sdv2_host.wan.dims import WAN_1_3B
from sdv2_host.wan.fp8 import by_hand, by_kernel, quantised
from sdv2_host.wan.joined import JoinedLinears
from sdv2_host.wan.model import CausalWanModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")
BF16 = torch.bfloat16
SPEC = StreamSpec(512, 512, GEOMETRY, device=CUDA, dtype=BF16)


def needs_fp8() -> None:
    if torch.cuda.get_device_capability(CUDA) < FP8_CAPABILITY:
        pytest.skip("a card without 8-bit units")


def test_the_fastest_attention_at_the_real_sizes_can_be_recorded() -> None:
    choice = AttentionChoice(AttentionShapes.of(WAN_1_3B, SPEC), CUDA, BF16)
    kernel = choice.choose("auto", kernels_of("cuda", installed_packages()))
    q, k, v = (torch.randn(1, n, 12, 128, device=CUDA, dtype=BF16) for n in (1024, 6144, 6144))

    with kernel.held():
        eager = attention(q, k, v)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            recorded = attention(q, k, v)
    graph.replay()
    torch.cuda.synchronize()

    assert kernel.name != "math"
    assert torch.equal(recorded, eager)


@pytest.mark.parametrize(("num_out", "num_in"), [(4608, 1536), (8960, 1536), (1536, 8960)])
def test_8_bit_products_of_the_real_sizes_are_those_made_by_hand(num_out: int, num_in: int) -> None:
    needs_fp8()
    x = quantised(torch.randn(1024, num_in, device=CUDA, dtype=BF16))
    weight = quantised(torch.randn(num_out, num_in, device=CUDA, dtype=BF16))
    bias = torch.randn(num_out, device=CUDA, dtype=BF16)

    got = by_kernel(x, weight, bias, BF16).float()

    want = by_hand(x, weight, bias, torch.float32)
    assert float((got - want).norm() / want.norm()) < 0.005


@torch.inference_mode()
def test_a_model_moved_to_a_card_is_joined_there_and_runs_in_8_bits() -> None:
    needs_fp8()
    dims = replace(WAN_1_3B, num_layers=1)
    model = CausalWanModel(dims).to(BF16).eval().requires_grad_(False).to(CUDA)
    x = torch.randn(1, 1024, dims.dim, device=CUDA, dtype=BF16)
    joined = [module for module in model.modules() if isinstance(module, JoinedLinears)]
    plain = [module.products(x) for module in joined]

    model.quantise_(by_kernel)

    for module, before in zip(joined, plain, strict=True):
        shares = [module.get_parameter(f"{name}.weight") for name in "kv"]
        memory = module.joined_weight.untyped_storage().data_ptr()
        assert all(share.untyped_storage().data_ptr() == memory for share in shares)
        for got, want in zip(module.products(x), before, strict=True):
            assert float((got.float() - want.float()).norm() / want.float().norm()) < 0.06
