"""Place: what one device does with the calls that come by.

# B rows  F latent frames  S tokens of F frames  E dim
"""

from __future__ import annotations

from dataclasses import replace

from sdv2_host.stages.calls import Call
from sdv2_host.stages.place_kv import PlaceKV
from sdv2_host.stages.stage_times import StageTimes
from sdv2_host.stages.work import Route
from sdv2_host.stream.denoise import Denoiser, join_text, row_call
from sdv2_host.wan.model import CausalWanModel

BLOCKS = "blocks"


class Place:
    """Its blocks of the model, and their keys and values."""

    def __init__(
        self, dit: CausalWanModel, denoiser: Denoiser, kv: PlaceKV, times: StageTimes
    ) -> None:
        self.kv = kv
        self._dit = dit
        self._denoiser = denoiser
        self._times = times

    def run_(self, call: Call) -> None:
        """The call has passed every block of this place.

        The last block ends a step: latents are one step further and the call is before block 0
        again. A chain goes on to the next step here, as far as the place reaches.
        """
        has_ended_a_step = self._run_step_(call)
        while has_ended_a_step and self.kv.plan.route is Route.CHAIN:
            has_ended_a_step = self._run_step_(call)

    def _run_step_(self, call: Call) -> bool:
        """The call has passed the blocks of its step that are here; whether it was to the last."""
        step = call.chunks[0].step
        if call.chunks[0].is_done:
            return False
        end = self.kv.segment.end_block(step, call.block)
        if end == call.block:
            return False
        self._continue_rows_(call)
        cache, _ = self.kv.at(step)
        calls = [row_call(chunk, self.kv.at(chunk.step)[1]) for chunk in call.chunks]
        # Made anew at every place: what a call adds to the cache's sinks is decided by its tokens
        # before the first block, and these are cheap.
        tokens = self._denoiser.embed(call.chunks)
        attend = cache.open_(calls, self._denoiser.rotary).begin_(tokens.x_BSE)
        if call.x_BSE is not None:
            tokens = replace(tokens, x_BSE=call.x_BSE)
        with self._times.span(BLOCKS, (end - call.block) * len(call.chunks)):
            tokens = self._dit.run_blocks(tokens, join_text(call.chunks), attend, call.block, end)
        cache.advance_(calls)
        call.block, call.x_BSE = end, tokens.x_BSE
        if end < self._dit.dims.num_layers:
            return False
        self._denoiser.finish_step_(call.chunks, tokens)
        call.block, call.x_BSE = 0, None
        return True

    def _continue_rows_(self, call: Call) -> None:
        if self.kv.plan.route is Route.CHAIN:
            return
        for chunk in call.chunks:
            if chunk.fills_to and chunk.step == chunk.fills_from:
                self.kv.continue_rows_(chunk.step, chunk.fills_to)
