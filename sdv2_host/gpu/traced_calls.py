"""The models' calls as functions of tensors, for whatever traces them: a compiler, a recorder.

# B rows  T pixel frames  F latent frames  C channels  H W size  R cache rows  K sinks

What a stream remembers goes in as tensors and is written in place; the weights are the module's. A
trace holds for calls of one `CallShape` over a cache of one geometry, and for tensors laid out as
those it was made with (`layout_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.cached_call import CachedCall, CacheMemory, CallShape, CallTensors
from sdv2_host.wan.model import CausalWanModel, TextByBlock, TextKV
from sdv2_host.wan.rope import Rotary
from sdv2_host.wan.streaming_vae import StreamingVAE, VAECache

Layouts = tuple[tuple[object, ...], ...]
"""Per tensor: its type of number, sides, and steps in memory."""


def layout_of(tensors: Sequence[Tensor]) -> Layouts:
    """What a trace depends on beside the numbers. A side of one has no step."""
    return tuple(
        (
            str(one.dtype),
            *one.shape,
            *(step for step, side in zip(one.stride(), one.shape, strict=True) if side > 1),
        )
        for one in tensors
    )


def steady_call(geometry: CacheGeometry) -> CallShape:
    """One row that is full, one new latent frame, sinks as they are: what a stream comes to."""
    return CallShape(
        first_row=0,
        num_new=1,
        num_filled=(geometry.num_slots,),
        new_sinks=((),),
        may_replace=False,
    )


class Trace(NamedTuple):
    """What is compiled, with inputs of the kind it is compiled for."""

    module: nn.Module
    inputs: tuple[Any, ...]
    """Tensors, and lists of tensors."""

    @property
    def flat(self) -> list[Tensor]:
        """In the order in which the library takes them."""
        lists = [[one] if isinstance(one, Tensor) else one for one in self.inputs]
        return [tensor for tensors in lists for tensor in tensors]


class EncodeTrace(nn.Module):
    """`ModelCalls.encode` of any but a session's first chunk."""

    def __init__(self, vae: StreamingVAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, frames_BTCHW: Tensor, memories: list[Tensor]) -> Tensor:
        cache = VAECache(memories, [])
        return self.vae.encode(frames_BTCHW, cache, is_first=False).z_BFCHW


class DecodeTrace(nn.Module):
    """`ModelCalls.decode` of any but a session's first chunk."""

    def __init__(self, vae: StreamingVAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, z_BFCHW: Tensor, memories: list[Tensor]) -> Tensor:
        cache = VAECache([], memories)
        return self.vae.decode(z_BFCHW, cache, is_first=False).frames_BTCHW


class PredictInputs(NamedTuple):
    """Everything that a call of the DiT reads or writes, but for the weights."""

    x_BFCHW: Tensor
    t_BF: Tensor
    text: list[Tensor]
    """Keys, then values, of each block."""
    memory: list[Tensor]
    """The call's rows: keys of each block, values of each block, means of the sinks. Written."""
    tensors: list[Tensor]
    """`CallTensors`: places, cosines and sines of the queries, of the keys, then limits."""

    @property
    def flat(self) -> list[Tensor]:
        return [self.x_BFCHW, self.t_BF, *self.text, *self.memory, *self.tensors]


class PredictTrace(nn.Module):
    """`ModelCalls.predict` over a rolling cache, for calls of one shape."""

    def __init__(
        self,
        dit: CausalWanModel,
        geometry: CacheGeometry,
        tokens_per_frame: int,
        shape: CallShape,
    ) -> None:
        super().__init__()
        self.dit = dit
        self._geometry = geometry
        self._tokens_per_frame = tokens_per_frame
        self._shape = shape._replace(first_row=0)

    def forward(
        self,
        x_BFCHW: Tensor,
        t_BF: Tensor,
        text: list[Tensor],
        memory: list[Tensor],
        tensors: list[Tensor],
    ) -> Tensor:
        keys, values = text[: len(text) // 2], text[len(text) // 2 :]
        text_by_block = [TextKV(*pair) for pair in zip(keys, values, strict=True)]
        past = CachedCall(self._memory(memory), self._shape, self._tensors(tensors))
        tokens = self.dit.embed(x_BFCHW, t_BF)
        tokens = self.dit.run_blocks(tokens, text_by_block, past.begin_(tokens.x_BSE))
        return self.dit.unembed(tokens)

    def _memory(self, memory: list[Tensor]) -> CacheMemory:
        *held, sink_RKE = memory
        half = len(held) // 2
        return CacheMemory(
            self._geometry, self._tokens_per_frame, held[:half], held[half:], sink_RKE
        )

    def _tensors(self, tensors: list[Tensor]) -> CallTensors:
        places_2BS, rest = tensors[0], tensors[1:]
        limits_B = forced_B = None
        if self._shape.may_replace:
            *rest, limits_B, forced_B = rest
        turns = [Rotary(*pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
        half = len(turns) // 2
        return CallTensors(places_2BS, turns[:half], turns[half:], limits_B, forced_B)


def predict_inputs(
    x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, num_blocks: int, past: CachedCall
) -> PredictInputs:
    """What `PredictTrace` is given for this call; what it writes is `past`'s own memory."""
    memory, shape, tensors = past
    texts = [text[index] for index in range(num_blocks)]
    rotary = [part for turn in (*tensors.queries, *tensors.keys) for part in turn]
    limits = [one for one in (tensors.limits_B, tensors.forced_B) if one is not None]
    held = (*memory.k_RSHD, *memory.v_RSHD, memory.sink_RKE)
    return PredictInputs(
        x_BFCHW.contiguous(),
        t_BF.contiguous(),
        [
            *(kv.k_BKND.contiguous() for kv in texts),
            *(kv.v_BKND.contiguous() for kv in texts),
        ],
        [tensor[shape.rows] for tensor in held],
        [tensors.places_2BS, *rotary, *limits],
    )


def weights_of(trace: nn.Module) -> dict[str, Tensor]:
    """By the names that a trace gives them: parameters, and what is derived from them."""
    return {
        **dict(trace.named_parameters(remove_duplicate=False)),
        **dict(trace.named_buffers(remove_duplicate=False)),
    }
