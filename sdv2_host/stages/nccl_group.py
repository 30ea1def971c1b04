"""A process group of NCCL: tensors go from device to device without passing host memory.

NCCL exists on Linux with CUDA devices only. Its operations are kernels, which spin until the peer
has posted the other side: post one only when the peer is known to do so too.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributed import Work, distributed_c10d, is_nccl_available
from torch.distributed.distributed_c10d import PrefixStore, Store

from sdv2_host.errors import ConfigError
from sdv2_host.stages.gloo_group import NEVER, Membership
from sdv2_host.stages.payload_lane import MakePayloadGroup
from sdv2_host.stages.transport import TransportError

ChoosePayloadGroup = Callable[[str, torch.device], MakePayloadGroup | None]


def payload_group_of(transport: str, device: torch.device) -> MakePayloadGroup | None:
    """By what the tensors of leaves go beside their heads, with this `Config.transport`; None = by
    nothing: they go with them.

    Raises:
        ConfigError: NCCL was asked for, and this device or this PyTorch has none.
    """
    if transport != "nccl":
        return None
    reason = ""
    if sys.platform != "linux":
        reason = f"NCCL exists on Linux only, this is {sys.platform}"
    elif device.type != "cuda":
        reason = f"NCCL moves tensors of CUDA devices only, this one is {device}"
    elif not is_nccl_available():
        reason = f"this PyTorch {torch.__version__} was built without NCCL"
    if reason:
        raise ConfigError(f"--transport nccl: {reason}; use --transport gloo")
    return NcclGroup


class NcclGroup:
    """See `GlooGroup`; peers are told apart and messages kept in order by NCCL itself, so tags
    mean nothing.

    Nothing in torch ends the group or its process by itself: who is gone or hangs is found out by
    the links of gloo.
    """

    def __init__(self, store: Store, name: str, membership: Membership) -> None:
        self._store = store
        self._name = name
        self._membership = membership
        self._lock = threading.Lock()
        self._group: distributed_c10d.ProcessGroupNCCL | None = None
        self._is_closed = False

    def connect(self) -> None:
        """The group is there. The places meet only by the first message between two.

        Raises:
            TransportError: closed.
        """
        # Read when a group is made. 0: on an error torch neither aborts nor ends the process.
        os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
        # A wait for a peer is no sign that this process hangs.
        os.environ["TORCH_NCCL_ENABLE_MONITORING"] = "0"
        options = distributed_c10d.ProcessGroupNCCL.Options()
        options._timeout = NEVER
        store = PrefixStore(self._name, self._store)
        place, num_places = self._membership.place, self._membership.num_places
        with self._lock:
            if self._is_closed:
                raise TransportError("the epoch is over")
            self._group = distributed_c10d.ProcessGroupNCCL(store, place, num_places, options)

    def send(self, tensor: Tensor, peer: int, tag: int) -> Work:
        """The tensor is on its way, after what is queued on the current stream; `connect` is done.

        Raises:
            RuntimeError: closed, or the peer is gone.
        """
        work: Work = self._open().send([tensor], peer, tag)  # type: ignore[attr-defined]
        return work

    def receive(self, tensor: Tensor, peer: int, tag: int) -> Work:
        """What the peer sends goes into the tensor; see `send`."""
        work: Work = self._open().recv([tensor], peer, tag)  # type: ignore[attr-defined]
        return work

    def close(self) -> None:
        """Kernels that wait for a peer end, and what they wrote is nothing. Never destroyed: that
        would wait for the peers."""
        with self._lock:
            group, self._group = self._group, None
            self._is_closed = True
        if group is not None:
            group.abort()

    def _open(self) -> distributed_c10d.ProcessGroupNCCL:
        with self._lock:
            if self._group is None:
                raise TransportError("the epoch is over")
            return self._group
