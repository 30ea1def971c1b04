"""The models' calls, compiled for what a stream comes to and as written for all else.

# B rows  T pixel frames  F latent frames  C channels  H W size

A steady stream makes three calls over and over: 4 frames encoded, one row of one latent frame
denoised over a full cache, one latent decoded. Those are compiled. A session's first chunks, longer
ones, batches, sinks that are replaced or a past that is seen anew run as written, with equal
results up to rounding and on the same memory, so both kinds may follow each other in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from torch import Tensor

from sdv2_host.gpu.traced_calls import Layouts, layout_of, predict_inputs
from sdv2_host.stream.cached_call import CachedCall, CallShape, PastCall
from sdv2_host.stream.model_calls import ModelCalls
from sdv2_host.wan.model import TextByBlock
from sdv2_host.wan.streaming_vae import VAECache

TensorsFn = Callable[[Sequence[Tensor]], Tensor]
"""A compiled call. What it remembers is among its inputs and written in place."""


class CompiledCall(NamedTuple):
    """One function and what it was compiled for."""

    run: TensorsFn
    layouts: Layouts
    """Of its inputs; it works for no others."""

    def fits(self, inputs: Sequence[Tensor]) -> bool:
        return layout_of(inputs) == self.layouts


class CompiledModels(NamedTuple):
    """Of one engine at one size."""

    encode: CompiledCall
    predict: CompiledCall
    decode: CompiledCall
    shape: CallShape
    """Of the calls that `predict` is for, whichever row is the first."""
    num_blocks: int


class CompiledCalls:
    """`ModelCalls` that are compiled where they can be and `inner`'s elsewhere.

    Nothing survives a call but two counts: `num_compiled` and `num_inner`, calls since the start.
    """

    def __init__(self, compiled: CompiledModels, inner: ModelCalls) -> None:
        self._compiled = compiled
        self._inner = inner
        self.num_compiled = 0
        self.num_inner = 0

    @property
    def num_rehearsals(self) -> int:
        return self._inner.num_rehearsals

    def preparing(self) -> AbstractContextManager[None]:
        return self._inner.preparing()

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        def as_written() -> Tensor:
            return self._inner.encode(frames_BTCHW, cache, is_first)

        if is_first:
            return self._uncompiled(as_written)
        inputs = [frames_BTCHW.contiguous(), *cache.encoder]
        return self._call(self._compiled.encode, inputs, as_written)

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        def as_written() -> Tensor:
            return self._inner.predict(x_BFCHW, t_BF, text, past)

        compiled = self._compiled
        # `ReferenceKVCache` has calls of another kind.
        if not isinstance(past, CachedCall) or past.shape._replace(first_row=0) != compiled.shape:
            return self._uncompiled(as_written)
        inputs = predict_inputs(x_BFCHW, t_BF, text, compiled.num_blocks, past).flat
        return self._call(compiled.predict, inputs, as_written)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        def as_written() -> Tensor:
            return self._inner.decode(z_BFCHW, cache, is_first)

        if is_first:
            return self._uncompiled(as_written)
        inputs = [z_BFCHW.contiguous(), *cache.decoder]
        return self._call(self._compiled.decode, inputs, as_written)

    def _call(
        self, call: CompiledCall, inputs: list[Tensor], as_written: Callable[[], Tensor]
    ) -> Tensor:
        if not call.fits(inputs):
            return self._uncompiled(as_written)
        self.num_compiled += 1
        return call.run(inputs)

    def _uncompiled(self, as_written: Callable[[], Tensor]) -> Tensor:
        self.num_inner += 1
        return as_written()
