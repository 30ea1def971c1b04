"""A stream as it is between two chunks, copied, and put back: the next chunk goes on from there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from sdv2_host.stream.prompt import TextBank
from sdv2_host.stream.state import StreamState
from sdv2_host.wan.streaming_vae import VAECache


@torch.inference_mode()
def snapshot(state: StreamState) -> StreamState:
    """A copy in memory of its own, but for the prompts, which are a memo. Nothing in flight."""
    assert not state.batch.chunks, "chunks in flight have pictures that someone waits for"
    copied: StreamState = _copied(state)
    return copied


@torch.inference_mode()
def restore_(state: StreamState, saved: StreamState) -> None:
    """`state` goes on where `saved` was, in its own memory; `saved` stays as it is."""
    assert not state.batch.chunks, "chunks in flight have pictures that someone waits for"
    _restored_(state, saved)


def state_bytes(state: StreamState) -> int:
    """What a snapshot of it takes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(state))


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All of a state's, always in the same order; none of the prompts, which are a memo."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, VAECache | list):
        for item in value:
            yield from tensors_of(item)
    elif is_dataclass(value) and not isinstance(value, TextBank):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name))


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, VAECache):
        return VAECache(_copied(value.encoder), _copied(value.decoder))
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if not is_dataclass(value) or isinstance(value, TextBank):
        return value
    copied: Any = copy.copy(value)
    for field in fields(value):
        setattr(copied, field.name, _copied(getattr(value, field.name)))
    return copied


def _restored_(target: Any, saved: Any) -> Any:
    """What `target` shall be: itself, written in place, wherever it is a state with tensors."""
    if isinstance(saved, Tensor):
        return target.copy_(saved)
    if isinstance(saved, VAECache):
        halves = zip(target, saved, strict=True)
        return VAECache(*(_restored_(*half) for half in halves))
    if isinstance(saved, list):
        if len(target) == len(saved) and all(isinstance(item, Tensor) for item in saved):
            return [_restored_(*pair) for pair in zip(target, saved, strict=True)]
        return _copied(saved)
    if not is_dataclass(saved) or isinstance(saved, TextBank):
        return saved
    for field in fields(saved):
        restored = _restored_(getattr(target, field.name), getattr(saved, field.name))
        setattr(target, field.name, restored)
    return target
