"""The autoencoders' layers, each against the plain form of what it computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sdv2_host.wan.vae_layers import CausalConv, EnlargingConv

pytestmark = pytest.mark.usefixtures("one_thread")


def picture(*shape: int, dtype: torch.dtype = torch.double) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=torch.double).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


def enlarging(bias: bool = True, dtype: torch.dtype = torch.double) -> EnlargingConv:
    torch.manual_seed(0)
    layer = EnlargingConv(6, 5, bias).to(dtype).requires_grad_(False)
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def enlarged_first(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """As the checkpoints mean it."""
    return F.conv2d(F.interpolate(x, scale_factor=2.0), layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3), (8, 6)])
def test_enlarging_within_the_convolution_equals_enlarging_before_it(
    size: tuple[int, int], bias: bool
) -> None:
    layer, x = enlarging(bias), picture(3, 6, *size)

    y = layer(x)

    torch.testing.assert_close(y, enlarged_first(layer, x), rtol=0, atol=1e-14)


def test_enlarging_keeps_channels_innermost() -> None:
    y = enlarging()(picture(3, 6, 5, 4))

    assert y.is_contiguous(memory_format=torch.channels_last)


def test_enlarging_reads_the_weights_as_they_are_now() -> None:
    layer, x = enlarging(), picture(1, 6, 4, 4)
    layer(x)

    layer.weight.mul_(2)
    layer.bias.data = torch.ones(5, dtype=torch.double)

    torch.testing.assert_close(layer(x), enlarged_first(layer, x), rtol=0, atol=1e-14)


def test_the_gradients_of_enlarging_are_those_of_the_plain_form() -> None:
    layer, x = enlarging().requires_grad_(), picture(2, 6, 4, 3).requires_grad_()
    wanted = [x, layer.weight, layer.bias]

    ours = torch.autograd.grad(layer(x).sin().sum(), wanted)
    plain = torch.autograd.grad(enlarged_first(layer, x).sin().sum(), wanted)

    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-11)


def test_enlarging_in_bfloat16_is_as_near_as_the_plain_form() -> None:
    layer, x = enlarging(), picture(1, 6, 16, 16)
    exact = enlarged_first(layer, x)
    layer, x = enlarging(dtype=torch.bfloat16), picture(1, 6, 16, 16, dtype=torch.bfloat16)

    ours, plain = (float((y - exact).norm()) for y in (layer(x), enlarged_first(layer, x)))

    assert ours < 1.5 * plain


def test_enlarging_multiplies_less_than_half_as_often() -> None:
    layer, x = enlarging(), picture(1, 6, 64, 64)

    with FlopCounterMode(display=False) as ours:
        layer(x)
    with FlopCounterMode(display=False) as plain:
        enlarged_first(layer, x)

    assert ours.get_total_flops() / plain.get_total_flops() == pytest.approx(4 / 9, rel=0.04)


@pytest.mark.parametrize(
    ("kernel", "stride"), [((3, 3, 3), 1), ((3, 1, 1), 1), ((3, 1, 1), 2), ((2, 1, 1), 1)]
)
@pytest.mark.parametrize("chunks", [(6,), (2, 4), (2, 2, 2)])
def test_a_causal_convolution_in_chunks_is_the_three_dimensional_one(
    kernel: tuple[int, int, int], stride: int, chunks: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    num_rows, layer = 2, CausalConv(5, 4, kernel, stride).double().requires_grad_(False)
    layer.bias.normal_()
    clip_TBCHW = picture(6 * num_rows, 5, 6, 4).unflatten(0, (6, num_rows))
    padded = F.pad(clip_TBCHW.permute(1, 2, 0, 3, 4), (0, 0, 0, 0, layer.num_past, 0))
    whole = F.conv3d(padded, layer.weight, layer.bias, (stride, 1, 1), (0, *layer.padding))
    memory = torch.zeros_like(picture(layer.num_past * num_rows, 5, 6, 4))

    parts = [layer.over(part.flatten(0, 1), memory, num_rows) for part in clip_TBCHW.split(chunks)]

    ours = torch.cat(parts).unflatten(0, (-1, num_rows)).permute(1, 2, 0, 3, 4)
    torch.testing.assert_close(ours, whole, rtol=0, atol=1e-14)
    assert torch.equal(memory, clip_TBCHW[6 - layer.num_past :].flatten(0, 1))


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3, 3), 1), ((3, 1, 1), 2)])
def test_frames_joined_for_the_compiler_are_the_stack_that_eager_fills(
    kernel: tuple[int, int, int], stride: int
) -> None:
    layer = CausalConv(5, 4, kernel, stride).double().requires_grad_(False)
    num_rows, x = 2, picture(8, 5, 6, 4)
    memories = [picture(layer.num_past * num_rows, 5, 6, 4) for _ in range(2)]
    torch.compiler.reset()

    filled = layer.over(x, memories[0], num_rows)
    over = torch.compile(layer.over, backend="eager", fullgraph=True, dynamic=False)
    joined = over(x, memories[1], num_rows)

    assert torch.equal(joined, filled)
    assert torch.equal(memories[0], memories[1])
    assert torch.equal(memories[0], x[-memories[0].shape[0] :])
