"""What a CUDA graph does, on the CPU: operations with the tensors and numbers of one run, again.

Tensors are the same memory every time; numbers, and tensors that only the recorded run knew, are
those of that run. So whatever a call takes from Python that may differ next time gives a wrong
picture here as it would on CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKS_THE_DEVICE = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal")
SENDS_TO_THE_DEVICE = ("lift_fresh",)


class PlayedOps:
    """A `Recorder`."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        tape = _OpTape()
        with tape:
            out = run()
        tape.undo_()

        def replay() -> Tensor:
            tape.play_()
            return out

        return replay


class _OpTape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ops: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []
        self._before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ASKS_THE_DEVICE, f"{name} waits for the device"
        assert name not in SENDS_TO_THE_DEVICE, f"{name} sends numbers to the device"
        kwargs = kwargs or {}
        for argument, given in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._before += [(one, one.clone()) for one in tree_leaves(given)]
        out = func(*args, **kwargs)
        self._ops.append((func, args, kwargs, out))
        return out

    def undo_(self) -> None:
        """Everything that was written to is as before."""
        for tensor, before in reversed(self._before):
            tensor.copy_(before)
        self._before.clear()

    def play_(self) -> None:
        for func, args, kwargs, out in self._ops:
            known = {_memory(leaf) for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
            new = func(*args, **kwargs)
            for old, one in zip(tree_leaves(out), tree_leaves(new), strict=True):
                if _is_tensor(old) and _memory(old) not in known:
                    old.copy_(one)


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
