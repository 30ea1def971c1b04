"""StreamPipeline: frames in, restyled frames out, one chunk at a time.

# B rows (1)  T pixel frames  F latent frames  C channels  H W size

A step has three parts: begin (encode, motion, text, noise), denoise (replan, the model's calls)
and decode (pictures, drift). Nothing on the way reads from the device.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sdv2_host.params import Params, prompts_of
from sdv2_host.stream.denoise import Denoiser, NoiseFn, keyed_noise
from sdv2_host.stream.drift import statistics
from sdv2_host.stream.model_calls import EagerCalls, ModelCalls
from sdv2_host.stream.motion import observe_
from sdv2_host.stream.recent import PastChunk, Recalled
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.stream.state import StreamState
from sdv2_host.stream.step_parts import Begun, Decoded, Denoised
from sdv2_host.stream.stream_batch import ChunkInFlight
from sdv2_host.types import Layout
from sdv2_host.wan.flow import add_noise
from sdv2_host.wan.model import CausalWanModel, TextByBlock
from sdv2_host.wan.streaming_vae import StreamingVAE
from sdv2_host.wan.text import TextEncoder


class StreamPipeline:
    """Weights and rules; every method takes the state it works on.

    A step's parts may run at different times, and at the same time as other parts of neighbouring
    steps, as long as each kind keeps its order and a step's own parts follow each other: each has
    its share of the state, and hands the rest on. Shares:

    - begin: `vae_cache.encoder`, `motion`, `texts`, `recent`, `look`, `chunk_index`,
      `num_latents`, `has_new_weights`;
    - denoise: `kv`, `batch`, `num_steps`, `num_recached`;
    - decode: `vae_cache.decoder`, `drift`.

    What reads or writes more than a share needs all that was begun to be decoded: a chunk of which
    `waits_for_all` is true, LoRAs that are merged, looks that are kept or recalled, a reset.
    """

    def __init__(
        self,
        dit: CausalWanModel,
        vae: StreamingVAE,
        text: TextEncoder,
        spec: StreamSpec,
        noise: NoiseFn = keyed_noise,
        calls: ModelCalls | None = None,
    ) -> None:
        """`calls` None: the models' own."""
        self.spec = spec
        self._dit = dit
        self._vae = vae
        self._text = text
        self._calls = calls or EagerCalls(dit, vae)
        self.denoiser = Denoiser(dit, spec, self._calls.predict, noise)

    def fresh_state(self) -> StreamState:
        """A stream at its beginning, on the spec's device."""
        return StreamState.fresh(self.spec, self._dit.dims, self._vae)

    @torch.inference_mode()
    def step(
        self,
        state: StreamState,
        frames_BTCHW: Tensor,
        params: Params,
        layout: Layout | None = None,
    ) -> Tensor:
        """Restyled frames [1, T', 3, H, W] of every chunk that is ready, for [-1, 1], not clamped.

        `frames_BTCHW` [1, T, 3, H, W] in [-1, 1]: T = 1 + 4k for a session's first chunk, 4k
        later, k at most `StreamSpec.longest_chunk`. SERIAL: T' = T. BATCH: the first chunk comes
        back at once, later ones params.steps - 1 chunks late, so T' is 0 while the batch fills; a
        change of the number of steps, of the layout or of T finishes what is in flight and
        returns it at once. `layout` None: the spec's.

        The layout makes no difference to the pictures. A longer chunk does: its frames see each
        other, have one level of motion, and see that much less of the past.

        What the drift watchdog finds in a step, it acts on in the next.

        New parameters hold from this chunk on. Rows of the cache that a higher number of steps
        brings into use continue from the last row in use. With `recache` "window", a chunk that
        is a cut comes to a cache which begins anew (`_begin_anew_`); so does each row of a batch.
        """
        begun = self.begin_(state, frames_BTCHW, params, layout)
        return self.decode_(state, self.denoise_(state, begun)).frames_BTCHW

    def waits_for_all(self, params: Params) -> bool:
        """Whether a chunk with these parameters can begin only when all before it are decoded:
        its noise depends on their pictures."""
        return self.reanchors(params)

    @torch.inference_mode()
    def begin_(
        self,
        state: StreamState,
        frames_BTCHW: Tensor,
        params: Params,
        layout: Layout | None = None,
    ) -> Begun:
        """The first part of a `step`: the chunk is encoded and has its noise."""
        text = state.texts.get(prompts_of(params), self._text, self._dit, params.blend_mode)
        has_new_weights = state.has_new_weights and not self.reanchors(params)
        chunk = self.encode_(state, frames_BTCHW, params, text)
        motion_2 = torch.stack([state.motion.noise_scale, state.motion.level])
        return Begun(
            chunk,
            params,
            layout or self.spec.layout,
            motion_2,
            chunk.source_S,
            has_new_weights,
            noisy=tuple(one.x_BFCHW for one in (*chunk.past, chunk)),
        )

    @torch.inference_mode()
    def denoise_(self, state: StreamState, begun: Begun) -> Denoised:
        """The second part of a `step`: every chunk that is ready is clean."""
        state.num_recached = 0
        done = self._replan_(state, begun.chunk, begun.layout)
        done += self._denoise_(state, begun.chunk, begun.layout)
        return Denoised(begun, done, state.num_recached)

    @torch.inference_mode()
    def decode_(self, state: StreamState, denoised: Denoised) -> Decoded:
        """The last part of a `step`: the pictures are there, and the watchdog has seen them."""
        begun, done, _ = denoised
        styled_BTCHW = self.decode_chunks_(state, done)
        if begun.source_S is None:
            state.drift.look = None
            return Decoded(styled_BTCHW, None)
        acts = self.reanchors(begun.params)
        if not acts:  # or it was told before the chunk had its noise
            state.drift.begin_look_(begun.params, begun.has_new_weights)
        if done:
            latents_BFCHW = torch.cat([one.x_BFCHW for one in done], dim=1)
            state.drift.see_(begun.source_S, latents_BFCHW, styled_BTCHW, acts=acts)
        return Decoded(styled_BTCHW, state.drift.told())

    @torch.inference_mode()
    def flush(self, state: StreamState) -> Tensor:
        """Frames [1, T', 3, H, W] of all chunks still in flight, oldest first."""
        return self.decode_chunks_(state, self.drain_(state))

    def _replan_(
        self, state: StreamState, chunk: ChunkInFlight, layout: Layout
    ) -> list[ChunkInFlight]:
        """Chunks finished because the number of steps or the layout changes with this one."""
        done = self.drain_(state) if layout is Layout.SERIAL else []
        if chunk.num_steps == state.num_steps:
            return done
        assert 1 <= chunk.num_steps <= self.spec.num_rows, f"{chunk.num_steps} steps"
        done += self.drain_(state)
        if not chunk.is_first:
            state.kv.change_steps_(state.num_steps, chunk.num_steps)
        state.num_steps = chunk.num_steps
        return done

    @torch.inference_mode()
    def drain_(self, state: StreamState) -> list[ChunkInFlight]:
        """All chunks still in flight, clean, oldest first. Of the share of `denoise_`."""
        done: list[ChunkInFlight] = []
        while state.batch.chunks:
            self._advance_(state, state.batch.chunks)
            done += state.batch.pop_done()
        return done

    def _advance_(self, state: StreamState, chunks: list[ChunkInFlight]) -> None:
        self.denoiser.advance_(state.kv, chunks)
        state.num_recached += sum(past.num_latents for chunk in chunks for past in chunk.past)

    def encode_(
        self, state: StreamState, frames_BTCHW: Tensor, params: Params, text: TextByBlock
    ) -> ChunkInFlight:
        """The next chunk of the stream, before its first step, with the prompt's `text`."""
        index, is_first = state.chunk_index, state.chunk_index == 0
        clean_BFCHW = self._calls.encode(frames_BTCHW, state.vae_cache, is_first)
        observe_(state.motion, frames_BTCHW, clean_BFCHW, params, self.spec.motion, is_first)
        noise = self.denoiser.noise(index, params.seed, 0, params.noise_hold, clean_BFCHW)
        scale = state.motion.noise_scale
        acts = self.reanchors(params)
        if acts:
            state.drift.begin_look_(params, state.has_new_weights)
            scale = state.drift.noise_scale(scale)
        is_watched = params.drift != "off"
        timesteps_I, sigmas_I = self.denoiser.schedule(scale, params.steps, is_first)
        change = state.look.see(prompts_of(params), state.has_new_weights)
        chunk = ChunkInFlight(
            index=index,
            seed=params.seed,
            noise_hold=params.noise_hold,
            text=text,
            timesteps_I=timesteps_I,
            sigmas_I=sigmas_I,
            x_BFCHW=add_noise(clean_BFCHW, noise, scale),
            refresh_sinks=change.is_new_look and params.recache != "off",
            num_steps=params.steps,
            first_frame=state.num_latents,
            reanchors=state.drift.refreshes_sinks if acts else None,
            sink_threshold=sink_threshold(params, self.spec),
            source_S=statistics(clean_BFCHW, frames_BTCHW) if is_watched else None,
        )
        if change.is_cut and self.recaches(params):
            self._begin_anew_(state, chunk, params.recache_frames)
        state.recent.keep_(
            PastChunk(index, params.seed, state.num_latents, chunk.num_latents, params.noise_hold),
            chunk.x_BFCHW,
            scale,
        )
        state.num_latents += clean_BFCHW.shape[1]
        state.has_new_weights = False
        state.chunk_index += 1
        return chunk

    def recaches(self, params: Params) -> bool:
        """Whether a cut has the past seen anew. The reference's cache cannot begin anew."""
        return params.recache == "window" and self.spec.cache is CacheMode.ROLLING

    def _begin_anew_(self, state: StreamState, chunk: ChunkInFlight, num_frames: int) -> None:
        """`chunk` comes to a cache that holds nothing but the newest frames before it, as many as
        asked for or fit, under its prompt: that of a stream which began with them, sinks too."""
        num_room = self.spec.geometry.num_slots - chunk.num_latents
        recalled = state.recent.newest(min(num_frames, num_room))
        chunk.past = [self._past(one, chunk) for one in recalled]
        (*chunk.past, chunk)[0].begins_anew = True
        chunk.refresh_sinks = False

    def _past(self, recalled: Recalled, chunk: ChunkInFlight) -> ChunkInFlight:
        """A chunk of the past, about to be denoised again as `chunk` is."""
        past = recalled.chunk
        timesteps_I, sigmas_I = self.denoiser.schedule(
            recalled.noise_scale, chunk.num_steps, is_first=past.chunk_index == 0
        )
        num_cut = past.num_frames - recalled.x_BFCHW.shape[1]
        return ChunkInFlight(
            index=past.chunk_index,
            seed=past.seed,
            text=chunk.text,
            timesteps_I=timesteps_I,
            sigmas_I=sigmas_I,
            x_BFCHW=recalled.x_BFCHW,
            refresh_sinks=False,
            num_steps=chunk.num_steps,
            first_frame=past.first_frame + num_cut,
            num_cut=num_cut,
            noise_hold=past.noise_hold,
            sink_threshold=chunk.sink_threshold,
        )

    def _denoise_(
        self, state: StreamState, chunk: ChunkInFlight, layout: Layout
    ) -> list[ChunkInFlight]:
        """Chunks that are clean now. The first is done at once in both layouts: no one waits
        for the batch to fill, and its frame count may differ from the others'."""
        if layout is Layout.SERIAL or chunk.is_first:
            while not chunk.is_done:
                self._advance_(state, [chunk])
            if chunk.is_first:
                self._end_first_chunk_(state, chunk)
            return [chunk]
        # The rows of a batch hold equally many frames.
        in_flight = state.batch.chunks
        has_other_length = bool(in_flight) and in_flight[0].num_latents != chunk.num_latents
        done = self.drain_(state) if has_other_length else []
        state.batch.push(chunk)
        self._advance_(state, state.batch.chunks)
        return done + state.batch.pop_done()

    def _end_first_chunk_(self, state: StreamState, chunk: ChunkInFlight) -> None:
        """The reference starts its batch full: rows past the first begin with zeros for latents,
        at the position of the second chunk, and what comes of them is thrown away."""
        state.kv.end_first_chunk_(chunk.num_steps)
        if self.spec.cache is not CacheMode.REFERENCE or self.spec.layout is Layout.SERIAL:
            return
        zeros = torch.zeros_like(chunk.x_BFCHW[:, :1])
        state.batch.chunks = [
            replace(
                chunk,
                index=-step,
                x_BFCHW=zeros,
                first_frame=chunk.first_frame + chunk.num_latents,
                step=step,
                is_shown=False,
            )
            for step in range(1, chunk.num_steps)
        ]

    @torch.inference_mode()
    def decode_chunks_(self, state: StreamState, done: list[ChunkInFlight]) -> Tensor:
        """Frames [1, T', 3, H, W] of clean chunks. Of the share of `decode_`."""
        spec = self.spec
        pictures = [torch.empty(1, 0, 3, spec.height_px, spec.width_px, device=spec.device)]
        for chunk in done:
            for past in chunk.past[-1:]:
                # The decoder remembers the old look too, which would show for a chunk.
                newest_BFCHW = past.x_BFCHW[:, -1:]
                self._calls.decode(newest_BFCHW, state.vae_cache, False)
            pictures.append(self._calls.decode(chunk.x_BFCHW, state.vae_cache, chunk.is_first))
        return torch.cat(pictures, dim=1) if len(pictures) > 2 else pictures[-1]

    def reanchors(self, params: Params) -> bool:
        """Whether drift is acted against. The reference's cache has no sinks to be made new."""
        return params.drift == "act" and self.spec.cache is CacheMode.ROLLING


def sink_threshold(params: Params, spec: StreamSpec) -> float:
    """The similarity under which a sink is replaced; -1 = never."""
    if params.sink_mode == "auto":
        return spec.sink_threshold
    return params.sink_threshold if params.sink_mode == "adaptive" else -1.0
