"""Attention by the fastest kernel: all give the same numbers, and the one taken is the one that
runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sdv2_host.config import Config
from sdv2_host.errors import DeviceError
from sdv2_host.gpu.attention_choice import (
    AS_TORCH_CHOOSES,
    AttentionChoice,
    AttentionKernel,
    AttentionShape,
    AttentionShapes,
    FlashPackage,
    attention_for,
    installed_packages,
    kernels_of,
)
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Layout
from sdv2_host.wan.attention import attention
from sdv2_host.wan.dims import WAN_1_3B
from tests.toys import TOY_DIT

CPU = torch.device("cpu")
SHAPES = AttentionShapes((AttentionShape(2, 6, 24), AttentionShape(2, 6, 5)), 2, 16)


def softmax_by_hand(q_BSND: Tensor, k_BKND: Tensor, v_BKND: Tensor) -> Tensor:
    """The naive oracle, and what stands for a package that is installed."""
    scores = torch.einsum("bsnd,bknd->bnsk", q_BSND, k_BKND) / q_BSND.shape[-1] ** 0.5
    return torch.einsum("bnsk,bknd->bsnd", scores.softmax(-1), v_BKND)


def a_tenth_too_much(q_BSND: Tensor, k_BKND: Tensor, v_BKND: Tensor) -> Tensor:
    return softmax_by_hand(q_BSND, k_BKND, v_BKND) * 1.1


def installed(flash: Callable[[Tensor, Tensor, Tensor], Any]) -> AttentionKernel:
    return AttentionKernel("flash-attn", lambda: FlashPackage(flash), lambda: FlashPackage(flash))


def timed(*times_ms: float) -> AttentionChoice:
    """A choice among kernels that take so long, in order."""
    halves: Iterator[float] = iter([ms / 2 for ms in times_ms for _ in SHAPES.calls])
    return AttentionChoice(SHAPES, CPU, torch.float32, lambda run: next(halves))


class OpsSeen(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("how", ["held", "alone"])
def test_the_kernel_that_is_held_is_the_one_that_runs(how: str) -> None:
    q, k = torch.randn(1, 6, 2, 16), torch.randn(1, 24, 2, 16)
    has_flash = {}

    for kernel in kernels_of("cpu", {}):
        with getattr(kernel, how)(), OpsSeen() as seen:
            got = attention(q, k, k)
        has_flash[kernel.name] = any("flash" in name for name in seen.names)
        torch.testing.assert_close(got, softmax_by_hand(q, k, k))

    assert has_flash == {"flash": True, "math": False}


def test_all_kernels_of_an_nvidia_card_are_candidates_and_the_naive_one_is_last() -> None:
    packages = {"flash_attn_interface": softmax_by_hand, "flash_attn": softmax_by_hand}

    names = [kernel.name for kernel in kernels_of("cuda", packages)]

    assert names == ["flash", "cudnn", "efficient", "flash-attn", "flash-attn", "math"]


def test_the_fastest_is_taken_and_said_with_its_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    kernel = timed(2.0, 1.0).choose("auto", kernels_of("cpu", {}))

    assert kernel.name == "math"
    assert "attention by math; a block's takes flash 2.000 ms, math 1.000 ms" in caplog.text


def test_a_gain_within_the_measurement_s_error_changes_nothing() -> None:
    assert timed(1.0, 0.98).choose("auto", kernels_of("cpu", {})).name == "flash"


def test_the_one_asked_for_is_taken_however_slow() -> None:
    assert timed(1.0, 9.0).choose("math", kernels_of("cpu", {})).name == "math"


def test_a_kernel_with_other_numbers_is_refused_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    kernels = [*kernels_of("cpu", {}), installed(a_tenth_too_much)]

    kernel = timed(2.0, 3.0, 0.1).choose("auto", kernels)

    assert kernel.name == "flash"
    assert "attention by flash-attn is not taken: its numbers differ by" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "why"),
    [("cudnn", "not for this device"), ("flash-attn", "its numbers differ by")],
)
def test_one_that_cannot_be_had_is_an_error_that_names_what_is_there(wanted: str, why: str) -> None:
    kernels = [*kernels_of("cpu", {}), installed(a_tenth_too_much)]

    with pytest.raises(DeviceError, match=f"--attention {wanted} does not run on CPU: {why}") as it:
        timed(1.0, 1.0).choose(wanted, kernels)

    assert "what does: flash, math; or use --attention auto" in str(it.value)


def test_a_kernel_that_does_not_run_is_refused_in_torch_s_words() -> None:
    def broken(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise RuntimeError("only for Hopper\nand much more")

    with pytest.raises(DeviceError, match=r"does not run on CPU: only for Hopper; what does"):
        timed(1.0, 1.0).choose("flash-attn", [*kernels_of("cpu", {}), installed(broken)])


@pytest.mark.parametrize("pair", [False, True], ids=["a tensor", "a pair"])
def test_a_package_s_function_takes_the_place_of_torch_s(pair: bool) -> None:
    def flash(q: Tensor, k: Tensor, v: Tensor) -> Any:
        out = softmax_by_hand(q, k, v)
        return (out, None) if pair else out

    kernel = timed(1.0).choose("flash-attn", [installed(flash)])
    q, k = torch.randn(2, 6, 2, 16), torch.randn(2, 24, 2, 16)
    with kernel.held(), OpsSeen() as seen:
        got = attention(q, k, k)

    assert not any("scaled_dot_product" in name for name in seen.names)
    torch.testing.assert_close(got, softmax_by_hand(q, k, k))


@pytest.mark.parametrize("name", ["flash", "math", "flash-attn"])
def test_a_held_kernel_can_be_compiled_in_one_graph(name: str) -> None:
    every = [*kernels_of("cpu", {}), installed(softmax_by_hand)]
    kernel = next(one for one in every if one.name == name)
    q, k = torch.randn(2, 6, 2, 16), torch.randn(2, 24, 2, 16)

    with kernel.held():
        compiled = torch.compile(attention, backend="eager", fullgraph=True)(q, k, k)

    torch._dynamo.reset()
    torch.testing.assert_close(compiled, softmax_by_hand(q, k, k))


def test_on_this_machine_the_choice_is_made_by_its_clock() -> None:
    choice = AttentionChoice(SHAPES, CPU, torch.float32)

    assert choice.choose("auto", kernels_of("cpu", {})).name in {"flash", "math"}


def test_a_processor_that_was_not_told_otherwise_takes_torch_s_own_choice() -> None:
    spec = StreamSpec(32, 48)

    assert attention_for(Config(engine="wan-1.3b"), TOY_DIT, spec) is AS_TORCH_CHOOSES
    assert attention_for(Config(engine="tiny", attention="math"), TOY_DIT, spec) is AS_TORCH_CHOOSES
    asked = Config(engine="wan-1.3b", attention="math")
    assert attention_for(asked, TOY_DIT, spec).name == "math"


def test_measured_is_what_a_block_attends_to_with_a_full_cache() -> None:
    spec = StreamSpec(512, 512, layout=Layout.BATCH, timesteps=(700.0, 400.0))
    slots = spec.geometry.num_slots

    shapes = AttentionShapes.of(WAN_1_3B, spec)

    assert shapes.calls == (
        AttentionShape(2, 1024, slots * 1024),
        AttentionShape(2, 1024, 512),
    )
    assert (shapes.num_heads, shapes.head_dim) == (12, 128)


def test_packages_that_are_not_installed_are_no_candidates() -> None:
    assert all(callable(flash) for flash in installed_packages().values())
