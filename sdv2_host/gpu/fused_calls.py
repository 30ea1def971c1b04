"""The models' calls by kernels that torch.compile makes of what stands between the products.

# B rows  T pixel frames  F latent frames  C channels  H W size

The DiT is compiled by the block: its blocks are alike, so one is compiled for all of them, and a
start waits for seconds, not for minutes. Norms, modulation, rotation and gates become a few passes
over memory in place of dozens. Of the autoencoder, what a steady chunk needs is compiled whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sdv2_host.gpu.out_of_memory import is_out_of_memory
from sdv2_host.stream.cached_call import CachedAttend, CachedCall, PastCall
from sdv2_host.stream.model_calls import EagerCalls
from sdv2_host.wan.dims import FRAMES_PER_LATENT
from sdv2_host.wan.model import Block, CausalWanModel, TextByBlock, TextKV, Tokens
from sdv2_host.wan.streaming_vae import StreamingVAE, VAECache

log = logging.getLogger(__name__)

Backend = str | Callable[..., Any]
"""As torch.compile takes it."""
MAX_VARIANTS = 64
"""Of one function; torch's own limit is 8, and a block has one per shape of call."""
CANNOT_COMPILE = (
    "torch.compile makes no kernels here (%s): the models run as written, which is slower; it "
    "needs triton (triton-windows on Windows) and a C++ compiler"
)


class FusedCalls:
    """`ModelCalls` of which the steady ones are compiled.

    Each when it comes for the first time while `preparing`, as that takes seconds. What comes later
    for the first time, a cache that still fills and a past that asks the device run as written.
    """

    num_rehearsals = 2

    def __init__(
        self,
        dit: CausalWanModel,
        vae: StreamingVAE,
        attention: str = "auto",
        backend: Backend = "inductor",
    ) -> None:
        """`attention`: name of the kernel inside which the DiT's calls are made. It is compiled in,
        and torch, which keeps by its graph what it compiled, sees nothing of it: what one kernel
        was compiled for would be taken for another, by a later start, too."""
        self._dit = dit
        self._attention = attention
        self._eager = EagerCalls(dit, vae)
        self._is_preparing = False
        self._is_able = True
        self._compiled: set[Hashable] = set()

        def fused(run: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(run, backend=backend, fullgraph=True, dynamic=False)

        self._block = fused(_run_block)
        self._encode, self._decode = fused(self._eager.encode), fused(self._eager.decode)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        self._is_preparing = True
        try:
            with torch._dynamo.config.patch(recompile_limit=MAX_VARIANTS):
                yield
        finally:
            self._is_preparing = False

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        return self._either(
            ("encode", frames_BTCHW.shape, is_first),
            not is_first and frames_BTCHW.shape[1] == FRAMES_PER_LATENT,
            self._encode,
            self._eager.encode,
            (frames_BTCHW, cache, is_first),
        )

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        return self._either(
            ("decode", z_BFCHW.shape, is_first),
            not is_first and z_BFCHW.shape[1] == 1,
            self._decode,
            self._eager.decode,
            (z_BFCHW, cache, is_first),
        )

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        if not isinstance(past, CachedCall):
            return self._eager.predict(x_BFCHW, t_BF, text, past)
        num_slots = past.memory.geometry.num_slots
        tag = {"cache_key_tag": f"attention by {self._attention}"}
        with torch.compiler.config.patch(tag):  # type: ignore[attr-defined]
            return self._either(
                ("predict", x_BFCHW.shape, text[0].k_BKND.shape, past.shape._replace(first_row=0)),
                all(num_filled == num_slots for num_filled in past.shape.num_filled),
                self._predict,
                self._eager.predict,
                (x_BFCHW, t_BF, text, past),
            )

    def _either(
        self,
        key: Hashable,
        is_steady: bool,
        fused: Callable[..., Tensor],
        eager: Callable[..., Tensor],
        args: tuple[Any, ...],
    ) -> Tensor:
        """By the fused call, if that is compiled or may be now."""
        if key in self._compiled:
            return fused(*args)
        if not (is_steady and self._is_preparing and self._is_able):
            return eager(*args)
        try:
            out = fused(*args)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # Compilers fail in many ways, and none is worth a show.
            self._is_able = False
            log.warning(CANNOT_COMPILE, " ".join(str(error).split("\n")[:2]))
            return eager(*args)
        self._compiled.add(key)
        return out

    def _predict(
        self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: CachedCall
    ) -> Tensor:
        tokens = self._dit.embed(x_BFCHW, t_BF)
        sinks_BKN = past.see_sinks_(tokens.x_BSE)
        for index, block in enumerate(self._dit.blocks):
            attend = CachedAttend(past.of_block(index), sinks_BKN)
            x_BSE = self._block(block, tokens, text[index], attend, self._attention)
            tokens = replace(tokens, x_BSE=x_BSE)
        return self._dit.unembed(tokens)


def _run_block(
    block: Block, tokens: Tokens, text: TextKV, attend: CachedAttend, attention: str
) -> Tensor:
    """One block whose cache is all there is: its number would make each a function of its own."""
    assert attention, "read, as torch tells calls apart by what they read"
    x_BSE: Tensor = block(tokens, text, attend, 0)
    return x_BSE
