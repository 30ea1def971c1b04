"""Linears in 8 bits: weights and activations as float8_e4m3fn, each row with a scale of its own.

A row's largest value becomes 448, the format's largest; the product adds up in float32 and is
scaled back. Nothing is calibrated: activations are measured as they come.

# R rows of the input  O output rows of a weight  I input columns

Source: torch._scaled_mm with row-wise scales; LongLive 2's choice of which linears (the large ones
of the blocks; patches, time, text and head stay as they are).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
_LEAST = 1e-12
"""Of a row's largest value: a row of zeros has a scale too."""


class Rows8(NamedTuple):
    """Numbers that are `values_RI` times `scale_R1`."""

    values_RI: Tensor
    scale_R1: Tensor
    """Float32."""


Product8 = Callable[[Rows8, Rows8, Tensor, torch.dtype], Tensor]
"""(input rows, weight rows, bias, dtype) -> [R, O] = input x weight^T + bias."""


def quantised(x_RI: Tensor) -> Rows8:
    """Each row at its own scale; no value is cut off."""
    largest_R1 = torch.linalg.vector_norm(x_RI, torch.inf, -1, keepdim=True, dtype=torch.float32)
    scale_R1 = largest_R1.clamp(min=_LEAST) / FP8_MAX
    return Rows8((x_RI / scale_R1).to(FP8), scale_R1)


def by_kernel(x: Rows8, weight: Rows8, bias_O: Tensor, dtype: torch.dtype) -> Tensor:
    """By the device's 8-bit units. On CUDA `dtype` must be bfloat16, R any number, O and I
    multiples of 16."""
    return torch._scaled_mm(
        x.values_RI,
        weight.values_RI.t(),
        scale_a=x.scale_R1,
        scale_b=weight.scale_R1.t(),
        bias=bias_O,
        out_dtype=dtype,
    )


def by_hand(x: Rows8, weight: Rows8, bias_O: Tensor, dtype: torch.dtype) -> Tensor:
    """The same numbers on any device, multiplied in float32: what the kernel is compared with, and
    what its quality is measured by where there is none."""
    product_RO = x.values_RI.float() @ weight.values_RI.float().t()
    return (product_RO * x.scale_R1 * weight.scale_R1.t() + bias_O.float()).to(dtype)


def linear8(x: Tensor, weight: Rows8, bias_O: Tensor, product: Product8) -> Tensor:
    """x weight^T + bias, [..., I] -> [..., O], in the dtype of `x`."""
    out_RO = product(quantised(x.flatten(0, -2)), weight, bias_O, x.dtype)
    return out_RO.unflatten(0, x.shape[:-1])


class Linear8(nn.Linear):
    """A linear whose weight is in 8 bits. Its scales are not of the state dict; whoever writes the
    weight anew writes them too (`CausalWanModel.scales`)."""

    scale_O1: Tensor

    def __init__(self, plain: nn.Linear, product: Product8) -> None:
        super().__init__(plain.in_features, plain.out_features, device="meta")
        rows = quantised(plain.weight.detach())
        self.weight = nn.Parameter(rows.values_RI, requires_grad=False)
        self.bias = plain.bias
        self.register_buffer("scale_O1", rows.scale_R1, persistent=False)
        self._product = product

    def forward(self, x: Tensor) -> Tensor:
        return linear8(x, Rows8(self.weight, self.scale_O1), self.bias, self._product)
