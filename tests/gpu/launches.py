"""Counts what is launched for a chunk beside the models' calls, and refuses what would wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from sdv2_host.stream.cached_call import PastCall
from sdv2_host.stream.model_calls import EagerCalls
from sdv2_host.wan.model import TextByBlock
from sdv2_host.wan.streaming_vae import VAECache

NOT_LAUNCHED = (
    "aten::empty",
    "aten::empty_like",
    "aten::detach",
    "aten::lift_fresh",
    "aten::promote_types",
)
"""Only memory is taken, or nothing is done."""
WAITS = ("aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::is_nonzero")


class Launches(TorchDispatchMode):
    """Fields: how often each operation was called, those of `uncounted` left out."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.is_counting = True
        self.waits: list[str] = []

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func.name().split(".")[0]
        if name in WAITS:
            self.waits.append(name)
        if self.is_counting and not func.is_view and name not in NOT_LAUNCHED:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        self.is_counting = False
        try:
            yield
        finally:
            self.is_counting = True


class UncountedCalls(EagerCalls):
    """The models' calls, which are not what is counted."""

    launches: Launches

    def encode(self, frames_BTCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        with self.launches.uncounted():
            return super().encode(frames_BTCHW, cache, is_first)

    def predict(self, x_BFCHW: Tensor, t_BF: Tensor, text: TextByBlock, past: PastCall) -> Tensor:
        with self.launches.uncounted():
            return super().predict(x_BFCHW, t_BF, text, past)

    def decode(self, z_BFCHW: Tensor, cache: VAECache, is_first: bool) -> Tensor:
        with self.launches.uncounted():
            return super().decode(z_BFCHW, cache, is_first)
