"""What a stream needs in memory, found by running it without numbers.

Every tensor of a dry run lives on torch's meta device: shapes only. So the figures come from the
code that will run, and a model of any size is measured in seconds on any machine.

# B rows  F latent frames  T pixel frames  C channels  H W size  S K tokens
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdv2_host.gpu.engine import StreamModels
from sdv2_host.params import Params
from sdv2_host.stream.kv_cache import RowCall
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.wan.dims import FRAMES_PER_LATENT, WanDims

META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class StreamBytes:
    """Bytes on the device."""

    dit: int
    vae: int
    kv_cache: int
    vae_cache: int
    text_kv: int
    """Of one prompt."""
    activations: int
    """The most that lives beside all that, at any moment of a chunk."""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the meta tensors made inside it: alive now, and at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.is_meta:
                self._watch(leaf.untyped_storage())
        return out

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += num_bytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, num_bytes)

    def _forget(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.now -= num_bytes


class FusedAttention(TorchFunctionMode):
    """Attention as fused kernels do it: without the [S, K] scores, which meta would make."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


class _NoWords:
    """A text encoder without an encoder."""

    def __init__(self, dims: WanDims, dtype: torch.dtype) -> None:
        self._dims = dims
        self._dtype = dtype

    def encode(self, prompt: str) -> Tensor:
        del prompt
        shape = (1, self._dims.text_len, self._dims.text_dim)
        return torch.empty(shape, device=META, dtype=self._dtype)


def _no_noise(chunk_index: int, seed: int, step: int, like: Tensor) -> Tensor:
    del chunk_index, seed, step
    return torch.empty_like(like)


@torch.inference_mode()
def dry_run(models: StreamModels, spec: StreamSpec, steps: int) -> StreamBytes:
    """Bytes of one stream at its fullest. `models` and `spec.device` must be on meta."""
    assert spec.device == META, f"a dry run on {spec.device}"
    text = _NoWords(models.dit.dims, spec.dtype)
    pipeline = StreamPipeline(models.dit, models.vae, text, spec, noise=_no_noise)
    params = Params(steps=steps)
    chunk_shape = (1, FRAMES_PER_LATENT, 3, spec.height_px, spec.width_px)
    with LiveBytes() as live, FusedAttention():
        state = pipeline.fresh_state()
        lasting = live.now
        frames_BTCHW = torch.empty(chunk_shape, device=META, dtype=spec.dtype)
        pipeline.step(state, frames_BTCHW[:, :1], params)
        rows = {state.kv.row_of(step, is_first=False) for step in range(steps)}
        for row in sorted(rows):
            state.kv.advance_([RowCall(row, spec.geometry.num_slots, 0)])
        pipeline.step(state, frames_BTCHW, params)
        texts = [kv for row in state.texts.entries.values() for kv in row]
        text_kv = tensor_bytes(tensor for kv in texts for tensor in kv)
    vae_cache = tensor_bytes([*state.vae_cache.encoder, *state.vae_cache.decoder])
    return StreamBytes(
        dit=module_bytes(models.dit),
        vae=module_bytes(models.vae) if isinstance(models.vae, nn.Module) else 0,
        kv_cache=lasting - vae_cache,
        vae_cache=vae_cache,
        text_kv=text_kv,
        activations=live.peak - lasting - text_kv,
    )


def module_bytes(module: nn.Module) -> int:
    """Of all its weights."""
    return tensor_bytes(module.state_dict().values())


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
