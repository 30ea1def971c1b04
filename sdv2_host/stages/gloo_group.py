"""One process group of one epoch: made in the background, and ended so that nobody stays stuck."""

from __future__ import annotations

import contextlib
import sys
import threading
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroupGloo, Work
from torch.distributed.distributed_c10d import PrefixStore, Store

from sdv2_host.stages.transport import TransportError

NEVER = timedelta(days=30)
"""How long a wait may take that only a closed socket should end."""

CARRIER = "tcp" if sys.platform == "linux" else "libuv"
"""Gloo's transport under all groups: Windows and macOS have another, and neither understands the
other. Source: `Op` in gloo/transport/tcp/pair.h and gloo/transport/uv/pair.h."""

MAY_BE_SHORTER = CARRIER == "tcp"
"""Whether a message may be shorter than the receive that waits for it. A receive of libuv takes as
many bytes as it has room for, those of the next message too. Source: gloo/transport/uv/pair.cc,
`Pair::onRead`."""

_CONNECT = timedelta(seconds=60)
"""Within it all places must have begun the epoch; a member that died meanwhile is the driver's to
notice, which begins another one."""
_AT_ONCE = timedelta(milliseconds=1)
_END_TAG = 1 << 20
"""No packet has it."""


class Membership(NamedTuple):
    """Which place of how many a process takes in a group."""

    place: int
    num_places: int
    interface: str
    """Address of this machine by which the others reach it."""


class GlooGroup:
    """A process group that may not be there yet. For threads of any number.

    The group of an ended epoch is never used again: the objects are dropped.
    """

    def __init__(self, store: Store, name: str, membership: Membership) -> None:
        self._store = store
        self._name = name
        self._membership = membership
        self._changed = threading.Condition()
        self._group: ProcessGroupGloo | None = None
        self._is_closed = False

    def connect(self) -> None:
        """The group is there. Blocks until all places have come.

        Raises:
            RuntimeError: they have not, or the store was cancelled, or this is closed.
        """
        if self._is_closed:
            raise TransportError("the epoch is over")
        options = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        options._devices = [ProcessGroupGloo.create_device(hostname=self._membership.interface)]
        options._timeout = _CONNECT
        options._threads = 1
        place, num_places = self._membership.place, self._membership.num_places
        group = ProcessGroupGloo(PrefixStore(self._name, self._store), place, num_places, options)
        with self._changed:
            self._group = group
            self._changed.notify_all()
            is_closed = self._is_closed
        if is_closed:
            self.close()

    def send(self, tensor: Tensor, peer: int, tag: int) -> Work:
        """The tensor is on its way once `connect` is done; it must stay as it is until then, and
        until the work is done.

        Raises:
            RuntimeError: closed, before or meanwhile, or the peer is gone.
        """
        work: Work = self._met().send([tensor], peer, tag)  # type: ignore[attr-defined]
        return work

    def receive(self, tensor: Tensor, peer: int, tag: int) -> Work:
        """What the peer sends with this tag goes into the tensor; see `send`."""
        work: Work = self._met().recv([tensor], peer, tag)  # type: ignore[attr-defined]
        return work

    def close(self) -> None:
        """Every wait for a peer fails, here and at the peers. Takes 10 ms for each of them.

        Neither abort() nor shutdown() of a group frees who waits; a wait that runs into its own
        timeout does, as gloo then closes all sockets of the group. By libuv it does not: there
        who waits stays until the process ends, and the peers miss the pulses.
        """
        with self._changed:
            group, self._group = self._group, None
            self._is_closed = True
            self._changed.notify_all()
        if group is None:
            return
        for peer in range(self._membership.num_places):
            if peer != self._membership.place:
                with contextlib.suppress(RuntimeError):
                    group.recv([torch.empty(1)], peer, _END_TAG).wait(_AT_ONCE)  # type: ignore[attr-defined]

    def _met(self) -> ProcessGroupGloo:
        with self._changed:
            self._changed.wait_for(lambda: self._group is not None or self._is_closed)
            if self._is_closed or self._group is None:
                raise TransportError("the epoch is over")
            return self._group
