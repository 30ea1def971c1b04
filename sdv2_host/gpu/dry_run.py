"""What a stream needs in memory, found by running it without numbers.

Every tensor of a dry run lives on torch's meta device: shapes only. So the figures come from the
code that will run, and a model of any size is measured in seconds on any machine.

# B rows  F latent frames  T pixel frames  C channels  H W size  S K tokens
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from sdv2_host.gpu.engine import StreamModels
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import RowCall
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Layout
from sdv2_host.wan.dims import FRAMES_PER_LATENT, WanDims
from sdv2_host.wan.streaming_vae import StreamingVAE

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
    """Counts the bytes of the device's tensors made inside it: alive now, and at most.

    `apart` are tensors made before, which operations give back as views of weights do.
    """

    def __init__(self, device: torch.device = META, apart: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device_type = device.type
        self.now = 0
        self.peak = 0
        self._known = WeakIdKeyDictionary()
        for tensor in apart:
            self._known[tensor.untyped_storage()] = True

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.device.type == self._device_type:
                self._watch(leaf.untyped_storage())
        return out

    def _watch(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known[storage] = True
        num_bytes = storage.nbytes()
        self.now += num_bytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, num_bytes)

    def _forget(self, num_bytes: int) -> None:
        self.now -= num_bytes


class RealKernels(TorchFunctionMode):
    """What kernels make of their inputs where torch's meta kernels differ.

    Attention is fused, without the [S, K] scores that meta makes. A convolution of channels_last
    pictures gives channels_last ones, which meta forgets.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        if func is F.conv2d and args[0].is_contiguous(memory_format=torch.channels_last):
            shape = func(*args, **(kwargs or {})).shape
            return torch.empty(
                shape,
                device=args[0].device,
                dtype=args[0].dtype,
                memory_format=torch.channels_last,
            )
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
def dry_run(
    models: StreamModels, spec: StreamSpec, steps: int, first_chunk_frames: int = 1
) -> StreamBytes:
    """Bytes of one stream at its fullest. `models` and `spec.device` must be on meta."""
    assert spec.device == META, f"a dry run on {spec.device}"
    text = _NoWords(models.dit.dims, spec.dtype)
    pipeline = StreamPipeline(models.dit, models.vae, text, spec, noise=_no_noise)
    params = Params(steps=steps)
    weights = [*models.dit.parameters(), *_weights(models.vae)]
    with LiveBytes(META, weights) as live, RealKernels():
        state = pipeline.fresh_state()
        lasting = live.now
        pipeline.step(state, _frames(first_chunk_frames, spec), params)
        rows = {state.kv.row_of(step, is_first=False) for step in range(steps)}
        for row in sorted(rows):
            state.kv.advance_([RowCall(row, spec.geometry.num_slots, 0)])
        # A batch is at its fullest when every step has a chunk.
        for _ in range(steps if spec.layout is Layout.BATCH else 1):
            pipeline.step(state, _frames(FRAMES_PER_LATENT, spec), params)
        texts = [kv for row in state.texts.entries.values() for kv in row]
        text_kv = tensor_bytes(tensor for kv in texts for tensor in kv)
    vae_cache = tensor_bytes([*state.vae_cache.encoder, *state.vae_cache.decoder])
    return StreamBytes(
        dit=tensor_bytes(models.dit.parameters()),
        vae=tensor_bytes(_weights(models.vae)),
        kv_cache=lasting - vae_cache,
        vae_cache=vae_cache,
        text_kv=text_kv,
        activations=live.peak - lasting - text_kv,
    )


def at_depth(two: StreamBytes, three: StreamBytes, num_layers: int) -> StreamBytes:
    """Bytes with `num_layers` blocks, from dry runs with two and with three.

    Blocks are alike, so weights, caches and text grow by the same for each, and activations, of
    which only one block's are alive at a time, stay. Not so from one block to two: the second has
    the first one's input beside it, which whoever called the blocks still holds.
    """
    counts = {
        field.name: getattr(two, field.name)
        + (num_layers - 2) * (getattr(three, field.name) - getattr(two, field.name))
        for field in fields(StreamBytes)
    }
    return StreamBytes(**counts)


def _frames(count: int, spec: StreamSpec) -> Tensor:
    shape = (1, count, 3, spec.height_px, spec.width_px)
    return torch.empty(shape, device=META, dtype=spec.dtype)


def _weights(vae: StreamingVAE) -> Iterable[Tensor]:
    assert isinstance(vae, nn.Module), "an autoencoder without weights"
    return vae.parameters()


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
