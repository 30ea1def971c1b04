"""Leaves of a link whose tensors go beside it, from device to device: the link carries heads."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed import Work

from sdv2_host.stages.leaf_staging import Packed, wait_for_nothing
from sdv2_host.stages.packet import (
    Leaf,
    LeafShape,
    Token,
    pack_head_,
    pack_payload_,
    payload_of,
    unpack_head,
)
from sdv2_host.stages.payload_lane import PayloadLane


class DirectStaging:
    """See `LeafStaging`. Heads and payloads leave and arrive in the same order.

    A slot is as large as a leaf, for tokens may be; the system gives it no memory beyond the first
    page before one is.
    """

    def __init__(self, lane: PayloadLane, device: torch.device) -> None:
        self._lane = lane
        self._device = device

    def buffer(self, num_bytes: int) -> Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8)

    def pack_(self, packet: Leaf | Token, shape: LeafShape, buffer: Tensor) -> Packed:
        num_bytes = pack_head_(packet, shape, buffer)
        if isinstance(packet, Token):
            return Packed(num_bytes, wait_for_nothing)
        # Memory of its own for each: nothing is written again while it is on its way.
        size = shape.payload_bytes(has_tokens=packet.header.has_tokens)
        payload = torch.empty(size, dtype=torch.uint8, device=self._device)
        pack_payload_(packet, shape, payload)
        sending = _Sending(self._lane, payload)
        return Packed(num_bytes, sending.post, sending.finish)

    def unpack(self, buffer: Tensor, shape: LeafShape) -> Leaf | Token:
        head = unpack_head(buffer, shape)
        if isinstance(head, Token):
            return head
        payload = self._lane.receive(shape.payload_bytes(has_tokens=head.has_tokens))
        return payload_of(head, shape, payload)


class _Sending:
    """One payload, which is there when what is queued by now is done."""

    def __init__(self, lane: PayloadLane, payload: Tensor) -> None:
        self._lane = lane
        self._payload = payload
        self._after = lane.prepared()
        self._work: Work | None = None
        """None = not on its way yet."""

    def post(self) -> None:
        """It is on its way. The head follows: a receiver that has it finds the payload coming."""
        self._work = self._lane.send(self._payload, self._after)

    def finish(self) -> None:
        """It has arrived."""
        assert self._work is not None, "posted before"
        self._lane.finish(self._work)
