"""Tensors that move between places when blocks change hands, on a group of their own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributed import Work

from sdv2_host.stages.gloo_group import NEVER, GlooGroup
from sdv2_host.stages.gloo_link import OnFailure, lost, start_thread
from sdv2_host.stages.transport import Move, TransportError


class GlooMoves:
    """`exchange` is for one thread, `stop` for any.

    An exchange waits on a thread of its own (a daemon), so that its caller can be freed.
    """

    def __init__(self, group: GlooGroup, on_failure: OnFailure) -> None:
        self._group = group
        self._on_failure = on_failure
        self._changed = threading.Condition()
        self._num_begun = 0
        self._num_done = 0
        self._stopped = ""
        """Why nothing moves any more; "" = it does."""

    def exchange(self, sends: Sequence[Move], receives: Sequence[Move]) -> None:
        """See `Transport`."""
        sent = [(peer, _in_host_memory(tensor)) for peer, tensor in sends]
        received = [(peer, _like_in_host_memory(tensor)) for peer, tensor in receives]
        works = self._posted(self._group.receive, received) + self._posted(self._group.send, sent)
        self._num_begun += 1
        start_thread(lambda: self._finish(works), "stage link moves")
        with self._changed:
            self._changed.wait_for(lambda: self._num_done == self._num_begun or self._stopped)
            if self._num_done < self._num_begun:
                raise TransportError(self._stopped)
        for (_, tensor), (_, arrived) in zip(receives, received, strict=True):
            if arrived is not tensor:
                tensor.copy_(arrived)

    def stop(self, reason: str) -> None:
        with self._changed:
            self._stopped = self._stopped or reason
            self._changed.notify_all()

    def _posted(self, post: _Post, moves: Sequence[Move]) -> list[tuple[int, Work]]:
        """With each work's peer. A tag is the tensor's number among those of its two places."""
        numbers: Counter[int] = Counter()
        works = []
        for peer, tensor in moves:
            try:
                works.append((peer, post(tensor, peer, numbers[peer])))
            except RuntimeError as error:
                reason = lost(peer, error)
                self._on_failure(reason)
                raise TransportError(self._stopped or reason) from error
            numbers[peer] += 1
        return works

    def _finish(self, works: list[tuple[int, Work]]) -> None:
        for peer, work in works:
            try:
                work.wait(NEVER)
            except RuntimeError as error:
                self._on_failure(lost(peer, error))
                return
        with self._changed:
            self._num_done += 1
            self._changed.notify_all()


_Post = Callable[[Tensor, int, int], Work]


def _in_host_memory(tensor: Tensor) -> Tensor:
    """Gloo sends from there, and in one piece."""
    return tensor.cpu().contiguous()


def _like_in_host_memory(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cpu" and tensor.is_contiguous():
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype)
