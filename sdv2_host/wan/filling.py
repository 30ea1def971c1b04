"""An open checkpoint -> a module, after an exact check of names and shapes.

A module is built without memory, its names and shapes are compared with the file's, and only then
it gets memory and is filled, one tensor at a time: host memory holds the model, in the type that
was asked for, and one tensor more. If anything fails on the way, nothing of the model is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from sdv2_host.errors import ModelError
from sdv2_host.wan.checkpoint import Checkpoint
from sdv2_host.wan.identify import Guess, Kind, identify
from sdv2_host.wan.tensor_file import TensorInfo

Progress = Callable[[float], None]
"""Told how much is loaded, 0..1, after every tensor."""

CPU = torch.device("cpu")
META = torch.device("meta")
WEIGHT_DTYPES = (
    *(torch.float64, torch.float32, torch.bfloat16, torch.float16),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
)
"""What weights may be stored in. Others would have to mean something by their numbers."""
_MAX_NAMED_KEYS = 5

_M = TypeVar("_M", bound=nn.Module)


def load_(
    module: _M,
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress | None = None,
) -> _M:
    """`module`, built on the meta device, has memory, the weights, and no gradients.

    After an error it is without memory again, so that nothing holds a half-filled model, not even
    the error. Constants outside of the state dict are the module's own to set when it is moved.

    Raises:
        ModelError: names, shapes or types differ, or a number is not finite.
    """
    check(module, checkpoint)
    module.to(dtype=dtype)
    fill_(module, checkpoint, device, progress)
    return module.eval().requires_grad_(False)


def fill_(
    module: nn.Module,
    checkpoint: Checkpoint,
    device: torch.device,
    progress: Progress | None = None,
    *,
    prefix: str = "",
    is_read_again: bool = False,
) -> None:
    """`module`, without memory and compared with `checkpoint`, has memory and the weights.

    After an error it is without memory again. `prefix`: what stands before its names in the
    checkpoint. `is_read_again`: the checkpoint keeps what was read, so that the module can be
    dropped and filled once more.

    Raises:
        ModelError: the file cannot be read, or a number is not finite.
    """
    given = checkpoint.entries
    names: dict[Tensor, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if prefix + name in given:
            names.setdefault(tensor, prefix + name)
    total = sum(tensor.numel() for tensor in names) or 1
    done = 0
    try:
        for without_memory, tensor in _with_memory(module, device):
            if without_memory not in names:
                continue
            name = names[without_memory]
            _copy_(tensor, checkpoint, name)
            if not is_read_again:
                checkpoint.forget(name)
            done += tensor.numel()
            if progress:
                progress(done / total)
    except BaseException:
        module.to(META)
        raise


def check(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Nothing is missing, unexpected, or of another shape or type; nothing is read for that.

    Of tensors that share their memory under several names, one name is enough.

    Raises:
        ModelError: naming the tensors at fault, and which model the file looks like.
    """
    state = module.state_dict(keep_vars=True)
    wanted = {name: tuple(tensor.shape) for name, tensor in state.items()}
    given = checkpoint.entries
    both = sorted(wanted.keys() & given.keys())
    present = {id(state[name]) for name in both}
    wrong_shapes = [
        f"{name} {_sizes(given[name].shape)} for {_sizes(wanted[name])}"
        for name in both
        if wanted[name] != given[name].shape
    ]
    wrong_types = [
        f"{name} {str(given[name].dtype).removeprefix('torch.')}"
        for name in both
        if state[name].is_floating_point() and given[name].dtype not in WEIGHT_DTYPES
    ]
    missing = [name for name in wanted if id(state[name]) not in present]
    faults = [
        named("missing", missing),
        named("unexpected", sorted(given.keys() - wanted.keys())),
        named("of the wrong shape", wrong_shapes),
        named("of a type that is not for weights", wrong_types),
    ]
    if any(faults):
        text = "; ".join(fault for fault in faults if fault)
        guess, meant = identify(given), identify(_infos(state))
        is_same = guess == meant and guess != Guess(Kind.OTHER, Kind.OTHER.description)
        likeness = f"it looks like a damaged copy of {guess.description}"
        raise ModelError(f"{checkpoint.path}: {text}; {likeness if is_same else guess.sentence}")


def _infos(state: Mapping[str, Tensor]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(tuple(value.shape), value.dtype) for name, value in state.items()}


def _with_memory(module: nn.Module, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Every tensor of a module on the meta device, and what takes its place there, one by one.

    Memory comes with the step that fills it, so that a file that lives in memory can shrink
    meanwhile. What was one tensor under two names stays one: `to_empty` alone would make it two.
    """
    made: dict[Tensor, Tensor] = {}
    # All are looked at before the first gets memory: linears that are joined get theirs with the
    # module they are joined in (wan/joined.py).
    owned = [
        (
            owner,
            {
                **dict(owner.named_parameters(recurse=False)),
                **dict(owner.named_buffers("", False)),
            },
        )
        for owner in module.modules()
    ]
    for owner, own in owned:
        shared = [leaf for leaf, tensor in own.items() if tensor in made]
        for leaf in shared:
            setattr(owner, leaf, None)
        # Keeps the axes' order in memory, which modules choose for speed.
        owner.to_empty(device=device, recurse=False)
        for leaf, tensor in own.items():
            if leaf in shared:
                setattr(owner, leaf, made[tensor])
            else:
                made[tensor] = getattr(owner, leaf)
                yield tensor, made[tensor]


def _copy_(tensor: Tensor, checkpoint: Checkpoint, name: str) -> None:
    stored = checkpoint.read(name)
    with torch.no_grad():
        tensor.copy_(stored)
    if not _is_finite(tensor):
        raise ModelError(f"{checkpoint.path}: {_not_finite(name, stored, tensor.dtype)}")


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    # The ends show both infinities and, as they propagate it, a NaN; no mask of the tensor's size.
    lowest, highest = tensor.aminmax()
    return bool(torch.isfinite(lowest) & torch.isfinite(highest))


def _not_finite(name: str, stored: Tensor, dtype: torch.dtype) -> str:
    if _is_finite(stored.to(torch.float64)):
        target = str(dtype).removeprefix("torch.")
        return f"{name} holds numbers too large for {target}; load it with --dtype bfloat16"
    return f"{name} holds NaN or infinite numbers, the picture would be black; download it again"


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def named(fault: str, names: list[str]) -> str:
    """The names at fault as a part of a sentence, the first of them by name; '' = there is none."""
    if not names:
        return ""
    more = f" and {len(names) - _MAX_NAMED_KEYS} more" if len(names) > _MAX_NAMED_KEYS else ""
    return f"{len(names)} {fault}: {', '.join(names[:_MAX_NAMED_KEYS])}{more}"
