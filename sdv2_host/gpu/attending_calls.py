"""The models' calls with attention by a chosen kernel."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import Tensor

from sdv2_host.gpu.attention_choice import AttentionKernel
from sdv2_host.stream.cached_call import PastCall
from sdv2_host.stream.model_calls import ModelCalls
from sdv2_host.wan.model import TextByBlock
from sdv2_host.wan.streaming_vae import VAECache


class AttendingCalls:
    """`ModelCalls` that make the DiT's inside `AttentionKernel.held`.

    To be put around what is compiled and inside what is recorded: a kernel is chosen when a call is
    traced or recorded, so what is played back pays nothing for it.
    """

    def __init__(self, inner: ModelCalls, kernel: AttentionKernel) -> None:
        self._inner = inner
        self._kernel = kernel

    @property
    def num_rehearsals(self) -> int:
        return self._inner.num_rehearsals

    def preparing(self) -> AbstractContextManager[None]:
        return self._inner.preparing()

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        return self._inner.encode(frames_BTCHW, cache, is_first)

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        with self._kernel.held():
            return self._inner.predict(x_BFCHW, t_BF, text, past)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        return self._inner.decode(z_BFCHW, cache, is_first)
