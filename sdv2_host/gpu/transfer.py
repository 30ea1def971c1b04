"""The way of bytes to a device and back, without making the host wait for what computes.

Page-locked host memory comes from torch's own pool of it, which gives a piece out again only when
the copies that were made with it are done: that is the ring of buffers, as long as it has to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Arrival(Protocol):
    """Tensors on their way to the host."""

    @property
    def is_done(self) -> bool:
        """They are there."""

    def wait(self) -> list[NDArray[Any]]:
        """The tensors; waits for them, and for all that was queued before them."""


class Transfer(Protocol):
    """Of one device."""

    def up(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """All of these pictures of one shape, [.., H, W, C] on the device, one after the other.
        What is queued from now on finds them there."""

    def down(self, tensors: Sequence[Tensor]) -> Arrival:
        """As they are when all that is queued by now is done. Nobody writes to them again."""


class Arrived(NamedTuple):
    """Tensors that were on the host all along, or were waited for."""

    arrays: list[NDArray[Any]]
    is_done: bool = True

    def wait(self) -> list[NDArray[Any]]:
        return self.arrays


class DirectTransfer:
    """Of a CPU, where nothing is copied; of a device without streams of its own, whose copies are
    waited for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def up(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        return [torch.from_numpy(one)[None].to(self._device) for one in pictures]

    def down(self, tensors: Sequence[Tensor]) -> Arrival:
        return Arrived([tensor.cpu().numpy() for tensor in tensors])


class _OnItsWay(NamedTuple):
    host: list[Tensor]
    done: torch.cuda.Event
    sources: list[Tensor]
    """Held until they are read: their memory would be given to the stream that made them."""

    @property
    def is_done(self) -> bool:
        return bool(self.done.query())  # type: ignore[no-untyped-call]

    def wait(self) -> list[NDArray[Any]]:
        self.done.synchronize()
        return [tensor.numpy() for tensor in self.host]


class PinnedTransfer:
    """Of a CUDA device: a stream of its own for each way, as both can be under way at once, and
    page-locked memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._down: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def up(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        shape = (len(pictures), *pictures[0].shape)
        host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        np.stack(pictures, out=host.numpy())
        computes = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            there = host.to(self._device, non_blocking=True)
        computes.wait_stream(self._up)
        # It was made for the copying stream, which must not have it back while it is read.
        there.record_stream(computes)
        return [there]

    def down(self, tensors: Sequence[Tensor]) -> Arrival:
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        host = [torch.empty(one.shape, dtype=one.dtype, pin_memory=True) for one in tensors]
        done: torch.cuda.Event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._down):
            for target, source in zip(host, tensors, strict=True):
                target.copy_(source, non_blocking=True)
            done.record()
        return _OnItsWay(host, done, list(tensors))


def transfer_of(device: torch.device) -> Transfer:
    return PinnedTransfer(device) if device.type == "cuda" else DirectTransfer(device)
