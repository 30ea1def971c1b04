"""Mode reference at any number of steps against the reference's loop, written out slot by slot.

The recordings cover 1 and 2 steps; the loop here is a transcription of the notes on
`CausalStreamInferencePipeline` (prepare, inference_stream, inference_wo_batch). Random weights.

# B slots  F latent frames  C channels  H W size  S tokens  N heads  D head dim
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.noise import chunk_noise, noise_key
from sdv2_host.stream.positions import reset_index
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.stream.spec import CacheMode
from sdv2_host.types import Layout
from sdv2_host.wan.flow import sigma_of, sigma_table
from sdv2_host.wan.model import TextKV
from tests.stream.conftest import GRID, Toy
from tests.stream.frame_by_frame import FrameByFrame

CPU = torch.device("cpu")
TOKENS = GRID[0] * GRID[1]
STEPS = (700, 500, 400, 200)
THRESHOLD = 0.2
NUM_CHUNKS = 52
"""Past the fall of positions from 50 to 5."""
RULES = {
    "geometry": CacheGeometry(3, 3),
    "cache": CacheMode.REFERENCE,
    "timesteps": tuple(map(float, STEPS)),
    "timestep_offset": 100.0,
    "max_step_ratio": math.inf,
    "is_first_canonical": True,
    "sink_threshold": THRESHOLD,
}


def noise_like(index: int, step: int, like: Tensor) -> Tensor:
    return chunk_noise(noise_key(0, index, step), like.shape, CPU, like.dtype)


def sigma(t: float) -> Tensor:
    return sigma_of(torch.tensor(float(t)), sigma_table()).double()


class OneSlot:
    """`SelfAttend` of one slot: a cache per block, of one frame after the other."""

    def __init__(self, caches: list[FrameByFrame], start: int, book: RotaryBook) -> None:
        self._caches, self._start, self._book = caches, start, book

    def __call__(self, block_index: int, q_BSND: Tensor, k_BSND: Tensor, v_BSND: Tensor) -> Tensor:
        return self._caches[block_index].step(q_BSND, k_BSND, v_BSND, self._start, self._book)


@dataclass
class ReferenceLoop:
    """hidden[i], start[i] and the cache of slot i, as the reference moves them."""

    toy: Toy
    num_steps: int
    text: list[TextKV]
    book: RotaryBook = field(default_factory=lambda: RotaryBook(12, GRID, CPU, torch.float64))
    slots: list[list[FrameByFrame]] = field(default_factory=list)
    hidden: list[Tensor] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def x0(self, x_BFCHW: Tensor, t: float, slot: int, start: int) -> Tensor:
        attend = OneSlot(self.slots[slot], start, self.book)
        flow = self.toy.dit(x_BFCHW, torch.full(x_BFCHW.shape[:2], t), self.text, attend)
        return x_BFCHW - sigma(t) * flow

    def renoised(self, x0: Tensor, index: int, step: int) -> Tensor:
        level = sigma(STEPS[step])
        return (1 - level) * x0 + level * noise_like(index, step, x0)

    def prepare(self, x_BFCHW: Tensor) -> Tensor:
        blocks = range(len(self.toy.dit.blocks))
        self.slots = [[FrameByFrame(TOKENS, THRESHOLD) for _ in blocks]]
        for step in range(self.num_steps):
            x0 = self.x0(x_BFCHW, STEPS[step], 0, 0)
            if step + 1 < self.num_steps:
                x_BFCHW = self.renoised(x0, 0, step + 1)
        self.slots += [[cache.copy() for cache in self.slots[0]] for _ in range(1, self.num_steps)]
        self.hidden = [torch.zeros_like(x_BFCHW[:, :1])] * self.num_steps
        # Slot i of the first tick is called chunk -i, which is only a name for its noise.
        self.indices = [1 - slot for slot in range(1, self.num_steps + 1)]
        self.starts = [x_BFCHW.shape[1]] * self.num_steps
        return x0

    def tick(self, x_BFCHW: Tensor, index: int, t0: float) -> Tensor | None:
        """The chunk that leaves the last slot, None while that is not a chunk of the stream."""
        self.hidden = [x_BFCHW, *self.hidden[:-1]]
        if index > 1:
            self.indices = [index, *self.indices[:-1]]
        else:
            self.indices = [index, *(-slot for slot in range(1, self.num_steps))]
        self.starts = [index + 1, *self.starts[:-1]]
        for slot in range(self.num_steps):
            t = STEPS[slot] if slot else t0
            x0 = self.x0(self.hidden[slot], t, slot, reset_index(self.starts[slot]))
            is_last = slot + 1 == self.num_steps
            self.hidden[slot] = x0 if is_last else self.renoised(x0, self.indices[slot], slot + 1)
        return self.hidden[-1] if self.indices[-1] > 0 else None

    def without_batch(self, x_BFCHW: Tensor, index: int, t0: float) -> Tensor:
        for step in range(self.num_steps):
            t = STEPS[step] if step else t0
            x0 = self.x0(x_BFCHW, t, 0, reset_index(index + 1))
            if step + 1 < self.num_steps:
                x_BFCHW = self.renoised(x0, index, step + 1)
        return x0


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("num_steps", [1, 2, 3, 4])
@torch.inference_mode()
def test_a_stream_agrees_with_the_references_loop(toy: Toy, layout: Layout, num_steps: int) -> None:
    params = Params(steps=num_steps, noise_s_min=0.7, noise_s_max=0.8)
    pipeline = toy.pipeline(layout=layout, **RULES)
    state = pipeline.fresh_state()
    text = toy.dit.text_kv(toy.text.encode(params.prompt).double())
    loop = ReferenceLoop(toy, num_steps, text)
    cache = toy.vae.init_cache(1, 32, 48, dtype=torch.float64)
    clip = toy.clip(5 + 4 * NUM_CHUNKS)

    for index in range(NUM_CHUNKS + 1):
        frames = clip[:, :5] if index == 0 else clip[:, 1 + 4 * index : 5 + 4 * index]
        got = pipeline.step(state, frames, params)

        mu, cache = toy.vae.encode(frames, cache, index == 0)
        scale = state.motion.noise_scale.double()
        noisy = (1 - scale) * mu + scale * noise_like(index, 0, mu)
        t0 = math.floor(float(scale) * 1000 + 1e-3) - 100
        clean: Tensor | None
        if index == 0:
            clean = loop.prepare(noisy)
            if layout is Layout.SERIAL:
                for block in loop.slots[0]:
                    block.total_steps = block.current_step = num_steps
        elif layout is Layout.BATCH:
            clean = loop.tick(noisy, index, t0)
        else:
            clean = loop.without_batch(noisy, index, t0)
        if clean is None:
            assert got.shape[1] == 0
            continue
        want, cache = toy.vae.decode(clean, cache, index == 0)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
