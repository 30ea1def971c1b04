"""One denoising step of one or several chunks, in one forward of the model.

# B rows  F latent frames  C channels  H W latent size  I denoising steps
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdv2_host.stream.cache_plan import RowCall
from sdv2_host.stream.cached_call import PastCall
from sdv2_host.stream.kv_cache import KVCache
from sdv2_host.stream.noise import HELD_CHUNK, chunk_noise, mixed_noise, noise_key
from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.stream.stream_batch import ChunkInFlight
from sdv2_host.wan.dims import LATENT_STRIDE_PX
from sdv2_host.wan.flow import add_noise, sigma_of, sigma_table, to_x0
from sdv2_host.wan.model import CausalWanModel, TextByBlock, TextKV, Tokens

_ROUNDING = 1e-3
"""0.7 in float32 is 0.69999999; it still means timestep 700."""


NoiseFn = Callable[[int, int, int, Tensor], Tensor]
"""(chunk index, seed, step, like) -> the noise that chunk gets before that step, of like's shape"""

PredictFn = Callable[[Tensor, Tensor, TextByBlock, PastCall], Tensor]
"""`ModelCalls.predict`."""


def keyed_noise(chunk_index: int, seed: int, step: int, like: Tensor) -> Tensor:
    """Noise that depends on its arguments only, so that a stream can be split or replayed."""
    return chunk_noise(noise_key(seed, chunk_index, step), like.shape, like.device, like.dtype)


class Denoiser:
    """The model and the sampler around it. Holds weights, constants and a memo, no state."""

    def __init__(
        self,
        dit: CausalWanModel,
        spec: StreamSpec,
        predict: PredictFn,
        noise: NoiseFn = keyed_noise,
    ) -> None:
        cell_px = LATENT_STRIDE_PX
        patch_h, patch_w = dit.dims.patch[1:]
        grid = (spec.height_px // cell_px // patch_h, spec.width_px // cell_px // patch_w)
        self._noise = noise
        self._predict = predict
        self._dit = dit
        self._spec = spec
        self.rotary = RotaryBook(dit.dims.head_dim, grid, spec.device, spec.dtype)
        self._sigma_table = sigma_table().to(spec.device)

    def noise(self, chunk_index: int, seed: int, step: int, hold: float, like: Tensor) -> Tensor:
        """What a chunk gets before a step, of like's shape; `hold` of it is every chunk's."""
        new = self._noise(chunk_index, seed, step, like)
        if hold == 0:
            return new
        return mixed_noise(new, self._noise(HELD_CHUNK, seed, step, like[:, 0]), hold)

    def schedule(
        self, noise_scale: Tensor, num_steps: int, is_first: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(timesteps, sigmas), each [num_steps] on the device, from the chunk's noise scale.

        Source: streamv2v/inference.py: int(1000 * noise_scale) - 100, then the canonical list.
        """
        spec = self._spec
        told = (noise_scale.float() * 1000 + _ROUNDING).floor() - spec.timestep_offset
        if is_first and spec.is_first_canonical:
            told = torch.full_like(told, spec.timesteps[0])
        timesteps = [told.clamp(0, 1000)]
        for canonical in spec.timesteps[1:num_steps]:
            guard = timesteps[-1] * spec.max_step_ratio
            timesteps.append(guard.nan_to_num(canonical).clamp(max=canonical))
        timesteps_I = torch.stack(timesteps)
        return timesteps_I, sigma_of(timesteps_I, self._sigma_table)

    def advance_(self, kv: KVCache, chunks: Sequence[ChunkInFlight]) -> None:
        """Every chunk is one step further, `kv` has seen each at its step's noise level, and before
        it what of the past it is to see anew.

        The chunks' steps must be neighbours (0, 1, 2...) and their frame counts equal.
        """
        for chunk in chunks:
            for earlier in chunk.past:
                self.advance_(kv, [earlier])
        calls = [row_call(chunk, kv.row_of(chunk.step, chunk.is_first)) for chunk in chunks]
        past = kv.open_(calls, self.rotary)
        flow_BFCHW = self._predict(*_rows(chunks), join_text(chunks), past)
        kv.advance_(calls)
        self._finish_steps_(chunks, flow_BFCHW)

    def embed(self, chunks: Sequence[ChunkInFlight]) -> Tokens:
        """The rows of one call, before the model's first block."""
        return self._dit.embed(*_rows(chunks))

    def finish_step_(self, chunks: Sequence[ChunkInFlight], tokens: Tokens) -> None:
        """Every chunk is one step further, given what the last block made of the call."""
        self._finish_steps_(chunks, self._dit.unembed(tokens))

    def _finish_steps_(self, chunks: Sequence[ChunkInFlight], flow_BFCHW: Tensor) -> None:
        for row, chunk in enumerate(chunks):
            self._finish_step_(chunk, flow_BFCHW[row : row + 1])

    def _finish_step_(self, chunk: ChunkInFlight, flow_BFCHW: Tensor) -> None:
        x0 = to_x0(chunk.x_BFCHW, flow_BFCHW, chunk.sigmas_I[chunk.step])
        chunk.step += 1
        if chunk.is_done:
            chunk.x_BFCHW = x0
            return
        whole = torch.empty_like(x0[:, :1]).expand(-1, chunk.num_cut + x0.shape[1], -1, -1, -1)
        noise = self.noise(chunk.index, chunk.seed, chunk.step, chunk.noise_hold, whole)
        noise = noise[:, chunk.num_cut :]
        chunk.x_BFCHW = add_noise(x0, noise, chunk.sigmas_I[chunk.step])


def _rows(chunks: Sequence[ChunkInFlight]) -> tuple[Tensor, Tensor]:
    """Latents [B, F, C, H, W] and timesteps [B, F] of a call."""
    x_BFCHW = torch.cat([chunk.x_BFCHW for chunk in chunks])
    t_B = torch.stack([chunk.timesteps_I[chunk.step] for chunk in chunks])
    return x_BFCHW, t_B[:, None].expand(-1, x_BFCHW.shape[1])


def row_call(chunk: ChunkInFlight, row: int) -> RowCall:
    """What a chunk's next step brings to that row of a cache."""
    return RowCall(
        row,
        chunk.num_latents,
        chunk.first_frame,
        chunk.refresh_sinks,
        chunk.reanchors,
        chunk.begins_anew,
        chunk.sink_threshold,
    )


def join_text(chunks: Sequence[ChunkInFlight]) -> TextByBlock:
    """One row for all chunks, or one each while an older prompt is still in flight."""
    first = chunks[0].text
    if all(chunk.text is first for chunk in chunks):
        return first
    return JoinedText([chunk.text for chunk in chunks])


class JoinedText:
    """Texts as rows of one call, joined when a block asks: those of all blocks at once would take
    as much again as all the texts."""

    def __init__(self, texts: Sequence[TextByBlock]) -> None:
        self._texts = texts

    def __getitem__(self, index: int, /) -> TextKV:
        row = [text[index] for text in self._texts]
        return TextKV(torch.cat([kv.k_BKND for kv in row]), torch.cat([kv.v_BKND for kv in row]))
