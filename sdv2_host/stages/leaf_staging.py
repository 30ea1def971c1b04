"""Between a device's tensors and the host memory that a link sends from and receives into."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sdv2_host.stages.packet import Leaf, LeafShape, Token, pack_, unpack


def wait_for_nothing() -> None:
    return


class Packed(NamedTuple):
    num_bytes: int
    wait: Callable[[], None]
    """Returns when the bytes are in the buffer; for another thread than the one that packed."""
    finish: Callable[[], None] = wait_for_nothing
    """Returns when what goes beside these bytes has arrived; after `wait`, for a third thread."""


class LeafStaging(Protocol):
    """Of one direction of one link."""

    def buffer(self, num_bytes: int) -> Tensor:
        """Uint8 of any content, in host memory that copies to and from the device are fast with."""

    def pack_(self, packet: Leaf | Token, shape: LeafShape, buffer: Tensor) -> Packed:
        """The packet is on its way into the buffer. Work that is queued later may write its
        tensors."""

    def unpack(self, buffer: Tensor, shape: LeafShape) -> Leaf | Token:
        """The buffer's packet, in memory of its own on the device; the buffer may be used again.

        Raises:
            PacketError: it is no packet of this link.
        """


class HostStaging:
    """Tensors are in host memory, or are brought there by the copy itself; they arrive there."""

    def buffer(self, num_bytes: int) -> Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8)

    def pack_(self, packet: Leaf | Token, shape: LeafShape, buffer: Tensor) -> Packed:
        return Packed(pack_(packet, shape, buffer), wait_for_nothing)

    def unpack(self, buffer: Tensor, shape: LeafShape) -> Leaf | Token:
        return unpack(buffer, shape)


class PinnedStaging:
    """Tensors come from and arrive on a CUDA device, by page-locked memory, on a stream of their
    own beside what computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def buffer(self, num_bytes: int) -> Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)

    def pack_(self, packet: Leaf | Token, shape: LeafShape, buffer: Tensor) -> Packed:
        if isinstance(packet, Token):
            return Packed(pack_(packet, shape, buffer), wait_for_nothing)
        # A copy on the device costs little and lets the originals be written at once: they may be
        # the fixed outputs of a CUDA graph.
        copied = _of_each(packet, Tensor.clone)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            num_bytes = pack_(copied, shape, buffer, non_blocking=True)
        _of_each(copied, self._used_here)
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record(self._stream)
        return Packed(num_bytes, done.synchronize)

    def unpack(self, buffer: Tensor, shape: LeafShape) -> Leaf | Token:
        with torch.cuda.stream(self._stream):
            packet = unpack(buffer, shape, self._device, non_blocking=True)
        if isinstance(packet, Token):
            return packet
        # What computes runs on the default stream: memory freed there must not come back here
        # before that work is done.
        _of_each(packet, self._used_by_default)
        self._stream.synchronize()
        return packet

    def _used_here(self, tensor: Tensor) -> Tensor:
        tensor.record_stream(self._stream)
        return tensor

    def _used_by_default(self, tensor: Tensor) -> Tensor:
        tensor.record_stream(torch.cuda.default_stream(self._device))
        return tensor


def staging_of(device: torch.device) -> LeafStaging:
    return PinnedStaging(device) if device.type == "cuda" else HostStaging()


def _of_each(leaf: Leaf, do: Callable[[Tensor], Tensor]) -> Leaf:
    tokens_SE = do(leaf.tokens_SE) if leaf.tokens_SE is not None else None
    return Leaf(leaf.header, do(leaf.scalars), do(leaf.x_CHW), tokens_SE)
