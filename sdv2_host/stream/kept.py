"""What a stream remembers, as tensors and numbers that a file can hold, and back.

Whatever is read is checked against the stream that it is for: a file may come from anyone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sdv2_host.blend import Blend
from sdv2_host.errors import ModelError
from sdv2_host.stream.kv_cache import RollingKVCache
from sdv2_host.stream.prompt import LookMemory
from sdv2_host.stream.recent import PastChunk
from sdv2_host.stream.reference_cache import ReferenceKVCache
from sdv2_host.stream.snapshot import tensors_of
from sdv2_host.stream.state import StreamState

_Count = Annotated[int, Field(ge=0, le=2**53)]
_Text = Annotated[str, Field(max_length=10_000)]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RollingFacts(_Facts):
    kind: Literal["rolling"] = "rolling"
    num_written: list[_Count]


class ReferenceFacts(_Facts):
    kind: Literal["reference"] = "reference"
    queues: list[list[list[_Count]]]
    num_filled: list[_Count]
    end_frame: list[_Count]
    passes_left: _Count
    num_steps: _Count


class StreamFacts(_Facts):
    """The numbers of a `StreamState`; see there."""

    chunk_index: _Count
    num_latents: _Count
    num_steps: _Count
    num_recached: _Count
    has_new_weights: bool
    in_sinks: Blend | None
    newest: Blend | None
    drift_blend: Blend | None
    """Of the watched look; None = none is."""
    drift_values: list[str | bool | int | float]
    recent: list[PastChunk]
    kv: Annotated[RollingFacts | ReferenceFacts, Field(discriminator="kind")]


class KeptStream(NamedTuple):
    """Nothing is in flight in it."""

    facts: StreamFacts
    tensors: list[Tensor]
    """On the CPU."""


@torch.inference_mode()
def kept(state: StreamState) -> KeptStream:
    """A copy, but for the prompts, which are a memo. Nothing in flight."""
    assert not state.batch.chunks, "chunks in flight have pictures that someone waits for"
    look = state.drift.look
    blend: Any = look[0] if look is not None else None
    values: Any = list(look[1:]) if look is not None else []
    facts = StreamFacts(
        chunk_index=state.chunk_index,
        num_latents=state.num_latents,
        num_steps=state.num_steps,
        num_recached=state.num_recached,
        has_new_weights=state.has_new_weights,
        in_sinks=state.look.in_sinks,
        newest=state.look.newest,
        drift_blend=blend,
        drift_values=values,
        recent=state.recent.chunks,
        kv=_cache_facts(state.kv),
    )
    return KeptStream(facts, [_copied(tensor) for tensor in tensors_of(state)])


def _copied(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)


@torch.inference_mode()
def put_back_(state: StreamState, stream: KeptStream) -> None:
    """`state` goes on where the kept one was, in its own memory.

    Raises:
        ModelError: it is of another model, size or number of steps; `state` is half changed then.
    """
    facts, targets = stream.facts, list(tensors_of(state))
    shapes = [target.shape for target in targets]
    if shapes != [tensor.shape for tensor in stream.tensors]:
        raise ModelError("what was remembered is of another engine, size or --max-steps")
    for target, source in zip(targets, stream.tensors, strict=True):
        if target.dtype != source.dtype:
            raise ModelError(f"what was remembered is in {source.dtype}, this is {target.dtype}")
        target.copy_(source)
    _put_back_cache_(state.kv, facts.kv)
    state.recent.chunks = _checked(facts.recent, state.recent.capacity)
    state.chunk_index, state.num_latents = facts.chunk_index, facts.num_latents
    state.num_steps, state.num_recached = facts.num_steps, facts.num_recached
    state.has_new_weights = facts.has_new_weights
    state.look = LookMemory(facts.in_sinks, facts.newest)
    is_watched = facts.drift_blend is not None
    state.drift.look = (facts.drift_blend, *facts.drift_values) if is_watched else None


def _cache_facts(kv: object) -> RollingFacts | ReferenceFacts:
    if isinstance(kv, RollingKVCache):
        return RollingFacts(num_written=kv.num_written)
    assert isinstance(kv, ReferenceKVCache), f"{type(kv).__name__} is neither"
    return ReferenceFacts(
        queues=kv.queues,
        num_filled=kv.num_filled,
        end_frame=kv.end_frame,
        passes_left=kv.passes_left,
        num_steps=kv.num_steps,
    )


def _put_back_cache_(kv: object, facts: RollingFacts | ReferenceFacts) -> None:
    if isinstance(kv, RollingKVCache) and isinstance(facts, RollingFacts):
        _same_length(kv.num_written, facts.num_written)
        kv.num_written[:] = facts.num_written
        return
    if not isinstance(kv, ReferenceKVCache) or not isinstance(facts, ReferenceFacts):
        raise ModelError("what was remembered is of another --mode")
    most = kv.geometry.num_slots
    _same_length(kv.queues, facts.queues)
    for queues, others in zip(kv.queues, facts.queues, strict=True):
        _same_length(queues, others)
        if any(len(queue) > most or max(queue, default=0) > most for queue in others):
            raise ModelError("what was remembered names slots that there are not")
    _same_length(kv.num_filled, facts.num_filled)
    _same_length(kv.end_frame, facts.end_frame)
    kv.queues[:] = facts.queues
    kv.num_filled[:], kv.end_frame[:] = facts.num_filled, facts.end_frame
    kv.passes_left, kv.num_steps = facts.passes_left, facts.num_steps


def _checked(chunks: list[PastChunk], capacity: int) -> list[PastChunk]:
    total = sum(chunk.num_frames for chunk in chunks)
    is_odd = any(chunk.num_frames < 1 or chunk.first_frame < 0 for chunk in chunks)
    if is_odd or total > capacity + 64:
        raise ModelError("what was remembered of the newest frames is not of a stream")
    return chunks


def _same_length(ours: list[Any], theirs: list[Any]) -> None:
    if len(ours) != len(theirs):
        raise ModelError("what was remembered has another number of rows: see --max-steps")
