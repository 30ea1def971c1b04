"""The paper's warp error beside a literal one in plain loops, on flows that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.paper_warp import EstimatedMotion, estimate, paper_warp_errors
from sdv2_host.bench.scores import WarpScore


class KnownFlow:
    """A flow network that is told the flows of a pair, forward and backward: [2, 2, H, W]."""

    def __init__(self, flows_22HW: Tensor) -> None:
        self.flows_22HW = flows_22HW
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, first_B3HW: Tensor, second_B3HW: Tensor) -> Tensor:
        assert first_B3HW.shape == second_B3HW.shape
        known = self.flows_22HW[len(self.sizes) % 2]
        self.sizes.append(tuple(first_B3HW.shape[2:]))
        flow = torch.full((1, 2, *first_B3HW.shape[2:]), 1e6)
        flow[..., : known.shape[1], : known.shape[2]] = known
        return flow


def _constant(x_px: float, y_px: float, height: int, width: int) -> KnownFlow:
    forward = torch.tensor((x_px, y_px))[:, None, None].expand(2, height, width)
    return KnownFlow(torch.stack((forward, -forward)))


def _random_motion(height: int, width: int) -> EstimatedMotion:
    rng = torch.Generator().manual_seed(3)
    flow = torch.randn(2, 2, height, width, generator=rng) * 2
    visible = torch.rand(2, 1, height, width, generator=rng) > 0.3
    return EstimatedMotion(flow, ~visible, visible)


def _naive_error(
    before: NDArray[np.uint8], after: NDArray[np.uint8], motion: EstimatedMotion
) -> float:
    """uint8 [H, W, 3]; a pixel and a channel at a time."""
    height, width = before.shape[:2]
    flow = motion.flow_T2HW[1].numpy()
    differences = []
    for row in range(height):
        for column in range(width):
            if not motion.paper_visible_T1HW[1, 0, row, column]:
                continue
            x = round(float(np.float32(column) + flow[0, row, column]) * 32) / 32
            y = round(float(np.float32(row) + flow[1, row, column]) * 32) / 32
            for channel in range(3):
                value = 0.0
                for near_y in (math.floor(y), math.floor(y) + 1):
                    for near_x in (math.floor(x), math.floor(x) + 1):
                        if 0 <= near_y < height and 0 <= near_x < width:
                            share = (1 - abs(x - near_x)) * (1 - abs(y - near_y))
                            value += share * float(before[near_y, near_x, channel])
                moved = math.floor(value + 0.5)
                differences.append((moved - int(after[row, column, channel])) % 256)
    return sum(differences) / len(differences)


def test_the_error_is_that_of_plain_loops() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 9, 12, 3), dtype=np.uint8)
    motion = _random_motion(9, 12)

    errors = paper_warp_errors(torch.from_numpy(frames).permute(0, 3, 1, 2), motion)

    assert errors == [pytest.approx(_naive_error(frames[0], frames[1], motion), rel=1e-12)]


def test_a_picture_that_moves_as_the_flow_says_has_no_error_inside() -> None:
    wide = torch.randint(0, 256, (3, 40, 44), generator=torch.Generator().manual_seed(0))
    frames = torch.stack((wide[:, 2:34, 4:40], wide[:, 0:32, 1:37])).to(torch.uint8)

    motion = estimate(_constant(3, 2, 32, 36), frames / 255)
    score = WarpScore()
    score.add(frames / 255, motion)

    assert motion.visible_T1HW[1, 0].sum() == 30 * 33
    assert not motion.visible_T1HW[0].any()
    assert score.overall.value == pytest.approx(0, abs=1e-3)


def test_what_comes_in_over_the_edge_counts_as_black_in_the_papers_error() -> None:
    frames = torch.full((2, 3, 32, 36), 56, dtype=torch.uint8)

    motion = estimate(_constant(3, 0, 32, 36), frames / 255)

    # Forward, three columns leave on the right; backward, three come from nowhere on the left.
    assert motion.paper_visible_T1HW[1, 0].sum() == 32 * 33
    assert paper_warp_errors(frames, motion) == [pytest.approx(200 * 3 / 33)]


@pytest.mark.parametrize(("change", "error"), [(0, 0), (1, 255), (-1, 1)])
def test_differences_wrap_round_in_eight_bits(change: int, error: int) -> None:
    before = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    frames = torch.stack((before, before + change))

    motion = estimate(_constant(0, 0, 16, 16), frames / 255)

    assert paper_warp_errors(frames, motion) == [error]


def test_where_the_flows_disagree_nothing_is_counted() -> None:
    frames = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    both_right = torch.tensor((2.0, 0.0))[:, None, None].expand(2, 2, 16, 16)

    motion = estimate(KnownFlow(both_right), frames / 255)

    assert not motion.visible_T1HW.any()
    assert paper_warp_errors(frames, motion) == []


def test_flows_that_miss_each_other_by_half_a_pixel_agree() -> None:
    forward = torch.tensor((4.0, 0.0))[:, None, None].expand(2, 16, 16)
    frames = torch.zeros(2, 3, 16, 16)

    # 0.5 px, and a hundredth of the lengths: 4.0 and 3.42, or 3.41.
    near = estimate(KnownFlow(torch.stack((forward, -forward * 3.43 / 4))), frames)
    far = estimate(KnownFlow(torch.stack((forward, -forward * 3.40 / 4))), frames)

    assert near.visible_T1HW[1, 0, :, 4:12].all()
    assert not far.visible_T1HW[1, 0, :, 4:12].any()


def test_the_network_gets_sides_that_it_takes() -> None:
    flow = _constant(1, 0, 131, 140)

    motion = estimate(flow, torch.zeros(3, 3, 131, 140))

    assert flow.sizes == [(136, 144)] * 4
    assert motion.flow_T2HW.shape == (3, 2, 131, 140)
    assert motion.flow_T2HW[1, 0].unique().tolist() == [-1.0]
