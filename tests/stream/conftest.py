"""A toy model with random weights: all the parts, no meaning. 32x48 px, 6 tokens per frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from tests.toys import TOY_DIT, TOY_TEXT, TOY_VAE

HEIGHT_PX, WIDTH_PX = 32, 48
GRID = (2, 3)
TOKENS = 6
"""Of a frame."""


@dataclass(frozen=True)
class Toy:
    dit: CausalWanModel
    vae: TinyVAE
    text: TinyTextEncoder
    spec: StreamSpec

    def pipeline(self, **changes: object) -> StreamPipeline:
        """A pipeline of this model, with fields of its spec changed."""
        spec = replace(self.spec, **changes)  # type: ignore[arg-type]
        return StreamPipeline(self.dit, self.vae, self.text, spec)

    def clip(self, num_frames: int, seed: int = 0) -> Tensor:
        """[1, T, 3, H, W] in [-1, 1]: a picture that drifts."""
        generator = torch.Generator().manual_seed(seed)
        shape = (1, num_frames, 3, HEIGHT_PX, WIDTH_PX)
        steps = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.05
        return (steps.cumsum(dim=1)).clamp(-1, 1)


def chunks_of(clip_BTCHW: Tensor, first: int = 1) -> list[Tensor]:
    """The first chunk of 1 + 4k frames, then chunks of 4."""
    return [clip_BTCHW[:, :first], *clip_BTCHW[:, first:].split(4, dim=1)]


@pytest.fixture(scope="session")
def toy() -> Toy:
    torch.manual_seed(7)
    dit, vae, text = CausalWanModel(TOY_DIT), TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT)
    for module in (dit, vae, text):
        module.double().eval().requires_grad_(False)
    spec = StreamSpec(
        HEIGHT_PX, WIDTH_PX, CacheGeometry(num_sinks=1, window=3), dtype=torch.float64
    )
    return Toy(dit, vae, text, spec)
