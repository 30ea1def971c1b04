"""Linears in 8 bits against the same numbers multiplied by hand, and against plain ones."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sdv2_host.errors import ModelError
from sdv2_host.wan.dims import WanDims
from sdv2_host.wan.fp8 import (
    FP8,
    FP8_MAX,
    Linear8,
    Product8,
    Rows8,
    by_hand,
    by_kernel,
    linear8,
    quantised,
)
from sdv2_host.wan.model import Block, CausalWanModel
from sdv2_host.wan.weights import load_dit, load_dit8
from tests.wan.containers import random_like, save_st

DIMS = WanDims(
    dim=192, num_heads=3, ffn_dim=576, num_layers=2, text_dim=16, text_len=4, freq_dim=16
)


def multiplies_rows() -> bool:
    """Whether torch has the kernel here: 2.11 scales no rows on a CPU, only whole tensors."""
    row = quantised(torch.ones(16, 16, dtype=torch.bfloat16))
    try:
        by_kernel(row, row, torch.zeros(16).bfloat16(), torch.bfloat16)
    except (RuntimeError, NotImplementedError):
        return False
    return True


needs_kernel = pytest.mark.skipif(
    torch.__version__ < (2, 13) and not multiplies_rows(),
    reason=f"torch {torch.__version__} has no 8-bit product by rows here",
)
PRODUCTS = [pytest.param(by_kernel, marks=needs_kernel), by_hand]
LARGE = {"self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q"}
LARGE |= {"cross_attn.o", "ffn.0", "ffn.2"}


def rows(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Rows of very different sizes, as activations are."""
    size = torch.logspace(-3, 3, shape[-2]).unsqueeze(-1)
    return (torch.randn(shape) * size).to(dtype)


def dequantised(rows8: Rows8) -> Tensor:
    return rows8.values_RI.float() * rows8.scale_R1


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


def model(dtype: torch.dtype = torch.bfloat16) -> CausalWanModel:
    torch.manual_seed(0)
    return CausalWanModel(DIMS).to(dtype).eval().requires_grad_(False)


def test_every_row_uses_the_whole_range_and_no_value_is_cut_off() -> None:
    x = rows(64, 192)

    quantum = quantised(x)

    assert quantum.values_RI.dtype == FP8
    assert torch.equal(quantum.values_RI.float().abs().amax(-1), torch.full((64,), FP8_MAX))
    # Half of the last of 3 bits behind the point, or of the smallest number there is.
    allowed = x.float().abs() / 16 + quantum.scale_R1 * 2.0**-10
    assert bool(((dequantised(quantum) - x.float()).abs() <= allowed * 1.001).all())


def test_a_row_of_zeros_stays_one() -> None:
    x = torch.zeros(2, 16, dtype=torch.bfloat16)

    assert torch.equal(dequantised(quantised(x)), x.float())


@needs_kernel
@pytest.mark.parametrize(("num_rows", "num_out"), [(1, 16), (5, 192), (256, 576)])
def test_the_kernel_makes_the_numbers_made_by_hand(num_rows: int, num_out: int) -> None:
    x, weight = quantised(rows(num_rows, 192)), quantised(rows(num_out, 192))
    bias = torch.randn(num_out).bfloat16()

    got = by_kernel(x, weight, bias, torch.bfloat16)

    want = by_hand(x, weight, bias, torch.float32)
    assert got.dtype == torch.bfloat16
    # Sums of 192 products in another order, and one rounding.
    scale = (x.values_RI.float().abs() @ weight.values_RI.float().abs().t()) * x.scale_R1
    allowed = want.abs() * 2.0**-8 + scale * weight.scale_R1.t() * 1e-4
    assert bool(((got.float() - want).abs() <= allowed).all())


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_linear_in_8_bits_is_a_few_percent_from_a_plain_one(product: Product8) -> None:
    plain = nn.Linear(192, 96).bfloat16().requires_grad_(False)
    x = torch.randn(2, 7, 192).bfloat16()

    got = Linear8(plain, product)(x)

    assert got.shape == (2, 7, 96)
    assert 0.001 < relative(got, plain(x)) < 0.06


def test_rows_of_a_weight_are_quantised_alone_as_together() -> None:
    """So a LoRA in one of the joined linears leaves the others as they are."""
    weight = rows(96, 192)

    together, alone = quantised(weight), quantised(weight[32:64])

    assert torch.equal(together.values_RI[32:64].float(), alone.values_RI.float())
    assert torch.equal(together.scale_R1[32:64], alone.scale_R1)


def test_of_a_model_the_large_linears_are_in_8_bits_under_the_same_names() -> None:
    plain, small = model(), model()

    small.quantise_(by_hand)

    shapes = {name: weight.shape for name, weight in plain.state_dict().items()}
    assert {name: weight.shape for name, weight in small.state_dict().items()} == shapes
    in_8_bits = {name for name, weight in small.state_dict().items() if weight.dtype == FP8}
    assert in_8_bits == {f"blocks.{i}.{name}.weight" for i in range(2) for name in LARGE}
    assert small.scales().keys() == in_8_bits
    for name, scale_O1 in small.scales().items():
        weight = Rows8(small.get_parameter(name), scale_O1)
        assert relative(dequantised(weight), plain.get_parameter(name).float()) < 0.05


@needs_kernel
@torch.inference_mode()
def test_a_block_in_8_bits_by_the_kernel_is_the_one_by_hand() -> None:
    by = {}
    x = torch.randn(1, 6, DIMS.dim).bfloat16()
    for product in (by_kernel, by_hand):
        small = model()
        small.quantise_(product)
        block = small.blocks[0]
        assert isinstance(block, Block)
        by[product.__name__] = torch.cat([*block.self_attn.qkv(x)]), block.ffn(x)

    for got, want in zip(*by.values(), strict=True):
        assert relative(got, want) < 0.01


def test_a_copy_is_in_8_bits_and_independent() -> None:
    small = model()
    small.quantise_(by_hand)
    twin = copy.deepcopy(small)
    x = torch.randn(1, 6, DIMS.dim).bfloat16()
    block, other = small.blocks[0], twin.blocks[0]
    assert isinstance(block, Block)
    assert isinstance(other, Block)
    before = block.self_attn.products(x)

    block.self_attn.k.weight.zero_()

    for got, want in zip(other.self_attn.products(x), before, strict=True):
        assert torch.equal(got, want)


def test_loaded_in_8_bits_is_loaded_plain_and_quantised(tmp_path: Path) -> None:
    path = save_st(random_like(CausalWanModel(DIMS).state_dict()), tmp_path / "model.safetensors")
    told: list[float] = []

    loaded = load_dit8(path, DIMS, progress=told.append)

    plain = load_dit(path, DIMS, dtype=torch.bfloat16)
    plain.quantise_(by_kernel)
    for (name, got), want in zip(
        loaded.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        assert got.dtype == want.dtype
        assert torch.equal(got.float(), want.float()), name
    scales = plain.scales()
    assert all(torch.equal(got, scales[name]) for name, got in loaded.scales().items())
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_a_damaged_file_is_refused_in_8_bits_as_well(tmp_path: Path) -> None:
    state = random_like(CausalWanModel(DIMS).state_dict())
    state["blocks.1.ffn.0.weight"][3, 3] = torch.nan
    path = save_st(state, tmp_path / "model.safetensors")

    with pytest.raises(ModelError, match=r"blocks\.1\.ffn\.0\.weight holds NaN"):
        load_dit8(path, DIMS)


@pytest.mark.parametrize("product", PRODUCTS)
@torch.inference_mode()
def test_a_linear_in_8_bits_is_one_graph(product: Product8) -> None:
    weight, bias = quantised(rows(32, 48)), torch.randn(32).bfloat16()
    x = torch.randn(2, 6, 48).bfloat16()

    compiled = torch.compile(linear8, backend="aot_eager", fullgraph=True)
    got = compiled(x, weight, bias, product)

    torch._dynamo.reset()
    assert torch.equal(got, linear8(x, weight, bias, product))
