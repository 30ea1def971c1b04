"""Rotary positions and the flow schedule against naive restatements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.wan.flow import add_noise, sigma_of, sigma_table, to_x0
from sdv2_host.wan.model import finest_dtype
from sdv2_host.wan.rope import Rotary, rotary_table, rotate, split_pairs


def test_a_wide_head_splits_as_the_reference_does() -> None:
    assert split_pairs(128) == (22, 21, 21)


def test_rotation_equals_complex_multiplication() -> None:
    positions = torch.tensor([3, 1500])
    x = torch.randn(1, 2 * 2 * 3, 1, 12, dtype=torch.double)
    table = rotary_table(12, positions, 2, 3)

    rotated = rotate(x, table)

    pairs_t, pairs_h, pairs_w = split_pairs(12)
    token = 0
    for f in positions.tolist():
        for row in range(2):
            for col in range(3):
                angles = [f * 10000 ** (-i / pairs_t) for i in range(pairs_t)]
                angles += [row * 10000 ** (-i / pairs_h) for i in range(pairs_h)]
                angles += [col * 10000 ** (-i / pairs_w) for i in range(pairs_w)]
                turn = torch.polar(torch.ones(6).double(), torch.tensor(angles).double())
                want = torch.view_as_real(torch.view_as_complex(x[0, token, 0].view(6, 2)) * turn)
                assert torch.allclose(rotated[0, token, 0], want.flatten(), atol=1e-12)
                token += 1


def test_scores_depend_on_distance_only() -> None:
    q, k = torch.randn(2, 1, 1, 1, 24, dtype=torch.double)

    def score(at: int) -> torch.Tensor:
        one = rotary_table(24, torch.tensor([at]), 1, 1)
        other = rotary_table(24, torch.tensor([at + 7]), 1, 1)
        return (rotate(q, one) * rotate(k, other)).sum()

    assert torch.allclose(score(0), score(100_000), atol=1e-6)


def test_rows_may_have_tables_of_their_own() -> None:
    x = torch.randn(2, 6, 2, 12)
    tables = [rotary_table(12, torch.tensor([at]), 2, 3) for at in (0, 5)]
    stacked = Rotary(*(torch.stack(parts) for parts in zip(*tables, strict=True)))

    both = rotate(x, stacked)

    assert torch.equal(both[1:], rotate(x[1:], tables[1]))


@pytest.mark.parametrize(
    ("t", "sigma"), [(700, 0.700232), (500, 0.499719), (400, 0.400260), (200, 0.198347)]
)
def test_sigma_is_the_nearest_entry_of_the_shifted_table(t: int, sigma: float) -> None:
    found = sigma_of(torch.tensor([float(t)]), sigma_table())

    assert abs(found.item() - sigma) < 1e-6


def test_the_table_equals_the_recorded_one(reference: Path) -> None:
    recorded = load_file(reference / "vectors/scheduler.safetensors")

    errors = [
        float((table.double().flatten() - sigma_table().double()).abs().max())
        for name, table in recorded.items()
        if "sigma" in name
    ]

    assert errors
    assert max(errors) < 1e-6


def test_clean_latents_come_back_from_a_perfect_prediction() -> None:
    x0, noise = torch.randn(2, 3, 1, 16, 4, 4, dtype=torch.double)
    sigma = torch.tensor([0.7, 0.2, 0.5], dtype=torch.double)

    noisy = add_noise(x0, noise, sigma)

    assert torch.allclose(to_x0(noisy, noise - x0, sigma), x0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_types_are_rounded_once_and_at_the_end(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(7)
    x, noise = torch.randn(2, 1, 1, 16, 8, 8, generator=random).to(dtype)
    sigma = torch.tensor([0.7364])
    wide, wide_noise, exact = x.double(), noise.double(), sigma.double().view(1, 1, 1, 1, 1)

    noisy = add_noise(x, noise, sigma)
    clean = to_x0(x, noise, sigma)

    assert noisy.dtype == clean.dtype == dtype
    _assert_rounded(noisy, (1 - exact) * wide + exact * wide_noise)
    _assert_rounded(clean, wide - exact * wide_noise)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_small_type_is_rotated_by_the_exact_angle(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(8)
    x = torch.randn(1, 12, 2, 24, generator=random).to(dtype)
    before = x.clone()
    exact = rotary_table(24, torch.tensor([3, 49]), 2, 3)
    table = RotaryBook(24, (2, 3), torch.device("cpu"), dtype).table((3, 49))

    rotated = rotate(x, table)

    assert rotated.dtype == dtype
    assert torch.equal(x, before)
    _assert_rounded(rotated, rotate(x.double(), exact))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_compiled_it_is_without_complex_numbers_and_equal_to_rounding(dtype: torch.dtype) -> None:
    x = torch.randn(2, 6, 2, 24).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    table = Rotary(*(part.to(wide) for part in rotary_table(24, torch.tensor([7]), 2, 3)))
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(rotate, backend=keep, fullgraph=True)(x, table)

    ops = [str(node.target) for node in graphs[0].graph.nodes]
    assert not any("complex" in op for op in ops), ops
    assert compiled.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(compiled, rotate(x, table), rtol=2 * eps, atol=8 * eps)


def test_no_double_precision_is_asked_of_a_device() -> None:
    """Apple GPUs have none; here another device stands for them."""
    meta = torch.device("meta")
    with DtypesOn(meta) as seen:
        RotaryBook(24, (2, 3), meta, torch.bfloat16).table((3, 49))

    assert seen.dtypes == {torch.float32}
    assert finest_dtype(torch.device("mps")) == torch.float32


class DtypesOn(TorchDispatchMode):
    """Notes the dtypes of all tensors made on a device inside it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.dtypes |= {
            leaf.dtype
            for leaf in tree_leaves(out)
            if isinstance(leaf, torch.Tensor) and leaf.device == self._device
        }
        return out


def _assert_rounded(got: torch.Tensor, exact: torch.Tensor) -> None:
    """All but the few that float32 puts on the other side of a tie are the exact value, rounded."""
    is_nearest = got == exact.to(got.dtype)
    assert float(is_nearest.float().mean()) > 0.99
    assert torch.allclose(got.double(), exact, rtol=torch.finfo(got.dtype).eps, atol=1e-3)
