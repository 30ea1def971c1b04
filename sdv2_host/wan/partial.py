"""A module of which only some parts have memory; the rest of its weights waits where it is cheap.

A part is a submodule, named as torch names it: "blocks.3", "head", "encoder". The others are on the
meta device: names, shapes and types, no numbers. A part that is brought equals that of a module
loaded whole, bit for bit, and passes the same checks.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from sdv2_host.wan.checkpoint import Checkpoint
from sdv2_host.wan.filling import CPU, META, Progress, check, fill_

_M = TypeVar("_M", bound=nn.Module)


class SparePlace(Protocol):
    """Where the weights of parts without memory are."""

    def fill_(self, name: str, part: nn.Module, device: torch.device, progress: Progress) -> None:
        """`part`, without memory, is on `device` with its weights."""


class InFile:
    """Parts are read from the checkpoint each time. A checkpoint of torch's old format is in host
    memory whole: it can be kept no other way."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def fill_(self, name: str, part: nn.Module, device: torch.device, progress: Progress) -> None:
        fill_(part, self._checkpoint, device, progress, prefix=f"{name}.", is_read_again=True)


class InHostMemory:
    """Parts are copied from host memory, where all that are named here stay for good. The copy
    waits for nothing; where there is CUDA the memory is pinned, so that the device fetches it."""

    def __init__(self, module: nn.Module, names: Iterable[str], checkpoint: Checkpoint) -> None:
        """`module`: on the meta device, in its type, compared with `checkpoint`.

        Raises:
            ModelError: the file cannot be read, or a number is not finite.
        """
        self._in_file = InFile(checkpoint)
        self._parts: dict[str, nn.Module] = {}
        for name in names:
            part = copy.deepcopy(module.get_submodule(name))
            self._in_file.fill_(name, part, CPU, _untold)
            if torch.cuda.is_available():
                part._apply(Tensor.pin_memory)
            self._parts[name] = part

    def fill_(self, name: str, part: nn.Module, device: torch.device, progress: Progress) -> None:
        if name not in self._parts:
            self._in_file.fill_(name, part, device, progress)
            return
        source = self._parts[name].state_dict()
        try:
            part.to_empty(device=device)
            for key, tensor in part.state_dict().items():
                tensor.copy_(source[key], non_blocking=True)
        except BaseException:  # the device's memory may run out on the way
            part.to(META)
            raise
        progress(1.0)


class PartialModule(Generic[_M]):
    """Fields, per process: `module`; `held`, its parts that have memory."""

    def __init__(
        self,
        module: _M,
        checkpoint: Checkpoint,
        device: torch.device,
        dtype: torch.dtype,
        spares: Collection[str] = (),
    ) -> None:
        """Nothing has memory yet. `module` was built on the meta device, `checkpoint` stays open.

        `spares`: parts that wait in host memory; all others wait in the checkpoint.

        Raises:
            ModelError: names, shapes or types differ; or a spare holds a number that is not finite.
        """
        check(module, checkpoint)
        self.module = module.to(dtype=dtype).eval().requires_grad_(False)
        self.held: set[str] = set()
        self._device = device
        self._spare_place: SparePlace = InFile(checkpoint)
        if spares:
            self._spare_place = InHostMemory(module, spares, checkpoint)

    @torch.no_grad()
    def bring_(self, names: Iterable[str], progress: Progress | None = None) -> None:
        """These parts have memory and their weights, beside those that have.

        Raises:
            ModelError: the file cannot be read, or a number is not finite; that part and those
                after it have no memory then.
        """
        missing = [name for name in names if name not in self.held]
        for index, name in enumerate(missing):
            part = self.module.get_submodule(name)
            self._spare_place.fill_(name, part, self._device, share(progress, index, len(missing)))
            self.held.add(name)

    def drop_(self, names: Iterable[str]) -> None:
        """These parts have no memory. On CUDA it is torch's to give out again."""
        for name in self.held.intersection(names):
            self.module.get_submodule(name).to(META)
            self.held.discard(name)


def held_bytes(module: nn.Module) -> int:
    """Of the weights that have memory."""
    tensors: dict[int, Tensor] = {
        id(tensor): tensor for tensor in module.state_dict(keep_vars=True).values()
    }
    return sum(tensor.nbytes for tensor in tensors.values() if not tensor.is_meta)


def _untold(_: float) -> None:
    pass


def share(progress: Progress | None, index: int, count: int) -> Progress:
    """Progress of one of so many, as a part of the whole."""
    if progress is None:
        return _untold
    return lambda fraction: progress((index + fraction) / count)
