"""Tensors in one direction between two neighbours, from device to device, beside their link.

One lane has a group of two places to itself, so that lanes do not wait for each other in one
communicator. Each message is announced by the link first: the receiving end begins to receive only
then, so an idle lane has nothing under way, on no device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributed import Work
from torch.distributed.distributed_c10d import Store

from sdv2_host.stages.gloo_group import NEVER, Membership
from sdv2_host.stages.transport import TransportError

_SENDER, _RECEIVER = 0, 1
"""Places in a lane's group."""


class PayloadGroup(Protocol):
    """`NcclGroup`, or `GlooGroup` for tensors in host memory."""

    def connect(self) -> None: ...
    def send(self, tensor: Tensor, peer: int, tag: int) -> Work: ...
    def receive(self, tensor: Tensor, peer: int, tag: int) -> Work: ...
    def close(self) -> None: ...


MakePayloadGroup = Callable[[Store, str, Membership], PayloadGroup]


class LaneSpec(NamedTuple):
    """Equal at both ends, but for `interface` and `device`."""

    name: str
    interface: str
    """See `Membership`."""
    device: torch.device


class PayloadLane:
    """One end. `send` is for one thread at a time, and so is `receive`; `close` is for any.

    On a CUDA device all is queued on a stream of the lane's own, beside what computes.
    """

    def __init__(
        self, make_group: MakePayloadGroup, store: Store, spec: LaneSpec, *, is_sender: bool
    ) -> None:
        self._is_sender = is_sender
        self._changed = threading.Condition()
        self._is_met = False
        self._is_closed = False
        self._device = spec.device
        place = _SENDER if is_sender else _RECEIVER
        self._group = make_group(store, spec.name, Membership(place, 2, spec.interface))
        self._stream: torch.cuda.Stream | None = None
        """None: tensors are in host memory, and `torch.cuda.stream` of it does nothing."""
        if spec.device.type == "cuda":
            self._stream = torch.cuda.Stream(spec.device)  # type: ignore[no-untyped-call]

    def connect(self) -> None:
        """Both ends are there. Blocks until they are.

        Raises:
            RuntimeError: they are not, or this is closed.
        """
        self._group.connect()
        # NCCL makes the communicator for the first message, and blocks meanwhile.
        if self._is_sender:
            first = torch.ones(1, dtype=torch.uint8, device=self._device)
            self.finish(self._send(first, self.prepared()))
        else:
            self._receive(1)
        with self._changed:
            self._is_met = True
            self._changed.notify_all()

    def prepared(self) -> torch.cuda.Event | None:
        """Done when all that is queued on the current stream by now is."""
        if self._stream is None:
            return None
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def send(self, payload: Tensor, after: torch.cuda.Event | None) -> Work:
        """The payload, uint8, is on its way once `connect` is done; it must stay as it is, and the
        work be kept, until `finish`. Waits for `after` first: a message that begins before its
        tensor is ready keeps both devices spinning.

        Raises:
            RuntimeError: closed, before or meanwhile, or the other end is gone.
        """
        self._wait_for_both()
        return self._send(payload, after)

    def receive(self, num_bytes: int) -> Tensor:
        """What the other end has sent next, which is so many bytes; on the device, there now. See
        `send`."""
        self._wait_for_both()
        return self._receive(num_bytes)

    def finish(self, work: Work) -> None:
        """Blocks until what was sent or received is there."""
        with torch.cuda.stream(self._stream):
            work.wait(NEVER)
        if self._stream is not None:
            self._stream.synchronize()

    def close(self) -> None:
        """Who waits here or at the other end is freed; what then seems to arrive is nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._group.close()

    def _send(self, payload: Tensor, after: torch.cuda.Event | None) -> Work:
        if after is not None:
            after.synchronize()
        with torch.cuda.stream(self._stream):
            return self._group.send(payload, _RECEIVER, 0)

    def _receive(self, num_bytes: int) -> Tensor:
        with torch.cuda.stream(self._stream):
            payload = torch.empty(num_bytes, dtype=torch.uint8, device=self._device)
            work = self._group.receive(payload, _SENDER, 0)
        self.finish(work)
        if self._stream is not None:
            # What computes runs on the default stream: memory freed there must not come back here
            # before that work is done.
            payload.record_stream(torch.cuda.default_stream(self._device))
        return payload

    def _wait_for_both(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_met or self._is_closed)
            if self._is_closed:
                raise TransportError("the epoch is over")
