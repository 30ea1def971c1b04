"""Place: what one device does with the calls that come by.

# B rows  F latent frames  S tokens of F frames  E dim
"""

from __future__ import annotations

from dataclasses import replace

from sdv2_host.gpu.timing import SpanTimer
from sdv2_host.stages.calls import Call
from sdv2_host.stages.place_kv import PlaceKV
from sdv2_host.stages.work import Route
from sdv2_host.stream.denoise import Denoiser, join_text, row_call
from sdv2_host.wan.model import CausalWanModel

BLOCKS = "blocks"


class Place:
    """Its blocks of the model, and their keys and values."""

    def __init__(
        self, dit: CausalWanModel, denoiser: Denoiser, kv: PlaceKV, timer: SpanTimer
    ) -> None:
        self.kv = kv
        self._dit = dit
        self._denoiser = denoiser
        self._timer = timer

    def run_(self, call: Call) -> int:
        """The call has passed every block of this place. How many (row, block) ran for that.

        The last block ends a step: latents are one step further and the call is before block 0
        again. A chain goes on to the next step here, as far as the place reaches.
        """
        num_run = self._run_step_(call)
        if self.kv.plan.route is Route.CHAIN:
            while call.block == 0 and call.x_BSE is None and not call.chunks[0].is_done:
                further = self._run_step_(call)
                if not further:
                    break
                num_run += further
        return num_run

    def _run_step_(self, call: Call) -> int:
        step = call.chunks[0].step
        if call.chunks[0].is_done:
            return 0
        end = self.kv.segment.end_block(step, call.block)
        if end == call.block:
            return 0
        self._continue_rows_(call)
        cache, _ = self.kv.at(step)
        calls = [row_call(chunk, self.kv.at(chunk.step)[1]) for chunk in call.chunks]
        # Made anew at every place: what a call adds to the cache's sinks is decided by its tokens
        # before the first block, and these are cheap.
        tokens = self._denoiser.embed(call.chunks)
        attend = cache.open_(calls, tokens.x_BSE, self._denoiser.rotary)
        if call.x_BSE is not None:
            tokens = replace(tokens, x_BSE=call.x_BSE)
        num_run = (end - call.block) * len(call.chunks)
        with self._timer.span(BLOCKS):
            tokens = self._dit.run_blocks(tokens, join_text(call.chunks), attend, call.block, end)
        cache.advance_(calls)
        call.block, call.x_BSE = end, tokens.x_BSE
        if end == self._dit.dims.num_layers:
            self._denoiser.finish_step_(call.chunks, tokens)
            call.block, call.x_BSE = 0, None
        return num_run

    def _continue_rows_(self, call: Call) -> None:
        if self.kv.plan.route is Route.CHAIN:
            return
        for chunk in call.chunks:
            if chunk.fills_to and chunk.step == chunk.fills_from:
                self.kv.continue_rows_(chunk.step, chunk.fills_to)
