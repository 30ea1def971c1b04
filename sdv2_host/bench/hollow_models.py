"""Models whose blocks take their time and no processor, as blocks on a GPU do.

All that a rank does beside them is as it is: a machine of two cores can run a ring of many devices
at a rate at which only ways and waiting count.

# B rows  F latent frames  T pixel frames  C channels  H W size  S tokens  E dim
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sdv2_host.stages.exit import Pictures
from sdv2_host.stages.messages import Load, Loaded
from sdv2_host.stages.rank import Rank
from sdv2_host.stages.rank_models import Ends
from sdv2_host.stages.rank_ticket import Built
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import ProgressFn, Size
from sdv2_host.wan.attention import SelfAttend
from sdv2_host.wan.bands import Rows
from sdv2_host.wan.dims import FRAMES_PER_LATENT, LATENT_STRIDE_PX, TinyTextDims, WanDims
from sdv2_host.wan.model import Block, CausalWanModel, TextKV, Tokens
from sdv2_host.wan.streaming_vae import Band, Decoded, DecodedBand, Encoded, VAECache
from sdv2_host.wan.text import TinyTextEncoder

SIZE = Size(128, 128)
NUM_BLOCKS = 8
DIMS = WanDims(
    dim=64, num_heads=2, ffn_dim=8, num_layers=NUM_BLOCKS, text_dim=8, text_len=4, freq_dim=8
)
_TEXT = TinyTextDims(num_buckets=64, bucket_dim=8, text_len=4, text_dim=8, num_heads=2)


class HollowBlock(Block):
    """Passes its tokens on after so many ms for each row."""

    def __init__(self, dims: WanDims, row_ms: float) -> None:
        super().__init__(dims)
        self._row_s = row_ms / 1000

    def forward(self, tokens: Tokens, text: TextKV, attend: SelfAttend, index: int) -> Tensor:
        time.sleep(self._row_s * len(tokens.x_BSE))
        return tokens.x_BSE


class HollowVAE:
    """A `BandedVAE`: a latent is every eighth pixel of the last frame that it stands for."""

    def init_cache(
        self,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VAECache:
        return VAECache([], [])

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Encoded:
        last = (frames_BTCHW.shape[1] - 1) % FRAMES_PER_LATENT
        every = slice(None, None, LATENT_STRIDE_PX)
        grey_BFCHW = frames_BTCHW[:, last::FRAMES_PER_LATENT, :1, every, every]
        return Encoded(grey_BFCHW.repeat(1, 1, DIMS.in_dim, 1, 1), cache)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Decoded:
        frames = z_BFCHW[:, :, :3].repeat_interleave(FRAMES_PER_LATENT, dim=1)
        for dim in (-1, -2):
            frames = frames.repeat_interleave(LATENT_STRIDE_PX, dim=dim)
        return Decoded(frames[:, FRAMES_PER_LATENT - 1 :] if is_first else frames, cache)

    def init_band(
        self,
        rows: Rows,
        batch: int,
        height_px: int,
        width_px: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Band:
        return Band((rows.where,), [])

    def decode_band(self, z_BFCHW: Tensor, band: Band, is_first: bool) -> DecodedBand:
        frames_BTCHW, _ = self.decode(z_BFCHW, VAECache([], []), is_first)
        return DecodedBand(frames_BTCHW[..., band.kept[0], :], band)


class HollowModels(NamedTuple):
    """`RankModels`: all is there, always."""

    dit: CausalWanModel
    vae: HollowVAE

    def bring_(self, blocks: Iterable[int]) -> None: ...

    def drop_(self, blocks: Iterable[int]) -> None: ...

    def hold_vae_(self, ends: Ends) -> None: ...


def hollow_text() -> TinyTextEncoder:
    torch.manual_seed(0)
    return TinyTextEncoder(_TEXT).eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class BuildHollow:
    """Builds a rank, in its process."""

    row_ms: float
    """Of one block for one row."""

    def __call__(
        self,
        load: Load,
        device: torch.device,
        on_pictures: Callable[[Pictures], None],
        progress: ProgressFn,
    ) -> Built:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        dit = CausalWanModel(DIMS)
        dit.blocks = nn.ModuleList(HollowBlock(DIMS, self.row_ms) for _ in range(NUM_BLOCKS))
        models = HollowModels(dit.eval().requires_grad_(False), HollowVAE())
        spec = StreamSpec(SIZE.height, SIZE.width)
        return Built(Rank(models, spec, on_pictures), Loaded(num_blocks=NUM_BLOCKS))
