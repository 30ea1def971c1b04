"""Our DiT, loaded from a folder that diffusers wrote, predicts what diffusers' own does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from sdv2_host.wan.attention import WholeAttend
from sdv2_host.wan.dims import WanDims
from sdv2_host.wan.rope import rotary_table
from sdv2_host.wan.weights import load_dit

GRID = (3, 4)
NUM_FRAMES = 2
CLOSE = 1e-5
"""Relative to the largest number predicted."""
CLOSE_AT_THE_TOP = 3e-5
"""diffusers takes sine and cosine of the timestep's angles in float32, where 1000 rad are known to
6e-5 only; the reference and we do it in float64."""
SMALL = WanDims(dim=24, num_heads=2, ffn_dim=48, num_layers=3, text_dim=12, text_len=7, freq_dim=16)
UNEVEN = WanDims(dim=60, num_heads=3, ffn_dim=40, num_layers=2, text_dim=8, text_len=4, freq_dim=32)
"""Heads of 20: time takes more of them than height and width."""
REAL_HEADS = WanDims(dim=256, num_heads=2, ffn_dim=64, num_layers=1, text_dim=8, text_len=4)


def stock(dims: WanDims) -> WanTransformer3DModel:
    torch.manual_seed(0)
    model = WanTransformer3DModel(
        num_attention_heads=dims.num_heads,
        attention_head_dim=dims.head_dim,
        text_dim=dims.text_dim,
        freq_dim=dims.freq_dim,
        ffn_dim=dims.ffn_dim,
        num_layers=dims.num_layers,
    )
    with torch.no_grad():
        # No weight stays at the one or zero it is made with: a swap of two would not show.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@torch.inference_mode()
def worst_error(folder: Path, dims: WanDims, t_BF: Tensor) -> float:
    """Of a forward of all frames without history; `t_BF` 0..1000 per row and frame."""
    theirs = stock(dims)
    theirs.save_pretrained(folder / "transformer")
    ours = load_dit(folder, dims)
    num_rows = t_BF.shape[0]
    x_BCFHW = torch.randn(num_rows, 16, NUM_FRAMES, GRID[0] * 2, GRID[1] * 2)
    text_BKT = torch.randn(num_rows, dims.text_len, dims.text_dim)
    # diffusers takes a timestep per row, or one per token.
    t = t_BF[:, 0] if (t_BF == t_BF[:, :1]).all() else t_BF.repeat_interleave(12, dim=1)

    (want_BCFHW,) = theirs(x_BCFHW, t, text_BKT, return_dict=False)
    rotary = rotary_table(dims.head_dim, torch.arange(NUM_FRAMES), *GRID)
    flow_BFCHW = ours(
        x_BCFHW.transpose(1, 2), t_BF, ours.text_kv(text_BKT), WholeAttend(rotary, None)
    )

    error = (flow_BFCHW.transpose(1, 2) - want_BCFHW).abs().max() / want_BCFHW.abs().max()
    return float(error)


@pytest.mark.parametrize("dims", [SMALL, UNEVEN, REAL_HEADS])
@pytest.mark.parametrize(
    ("timesteps", "close"),
    [((0.0, 20.0), CLOSE), ((128.0, 64.0), CLOSE), ((1000.0, 664.0), CLOSE_AT_THE_TOP)],
)
def test_a_timestep_per_row_gives_the_flow_of_diffusers(
    tmp_path: Path, dims: WanDims, timesteps: tuple[float, float], close: float
) -> None:
    t_BF = torch.tensor(timesteps)[:, None].expand(2, NUM_FRAMES)

    assert worst_error(tmp_path, dims, t_BF) < close


def test_a_timestep_per_frame_gives_the_flow_of_diffusers(tmp_path: Path) -> None:
    t_BF = torch.tensor([[128.0, 60.0], [20.0, 0.0]])

    assert worst_error(tmp_path, SMALL, t_BF) < CLOSE
