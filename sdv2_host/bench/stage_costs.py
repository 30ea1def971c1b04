"""What each stage of a chunk costs, counted by running its very code without numbers.

Every tensor lives on torch's meta device: shapes only. Multiplications are counted with torch's
own formulas (torch.utils.flop_counter), bytes by looking at what every operation reads and writes.

# F latent frames  T pixel frames  B rows  C channels  H W size
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdv2_host.gpu.dry_run import META, RealKernels
from sdv2_host.gpu.part_bytes import NoPictures
from sdv2_host.params import Params
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.types import Layout
from sdv2_host.wan.dims import FRAMES_PER_LATENT, WanDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.streaming_vae import StreamingVAE

_MAKES_NOTHING = frozenset(("empty", "empty_like", "empty_strided", "new_empty"))
_WRITES_ONLY = frozenset(("copy_", "fill_", "zero_"))
_SCATTERS = frozenset(("index_copy_", "index_put_", "scatter_"))
"""They write as much as they are given, into a part of a tensor that may be much larger."""
_GATHERS = frozenset(("index", "index_select", "gather", "embedding"))
"""They read as much as they give, of such a part."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """Of one stage for one chunk."""

    flop: int = 0
    """Multiplications and additions of matrix products, convolutions and attention."""
    kept_bytes: int = 0
    """Weights and caches that are read and written, once for each operation on them: what no
    fusing of operations can save."""
    moved_bytes: int = 0
    """All that its operations read and write, one by one: what they move when nothing is fused.
    Attention is taken as one operation."""
    num_kernels: int = 0
    """Operations that are not only another view of a tensor: launches, when nothing is fused and
    nothing recorded."""

    def __add__(self, other: StageCost) -> StageCost:
        return _combined(lambda ours, theirs: ours + theirs, self, other)


def _combined(of: Callable[[int, int], int], one: StageCost, other: StageCost) -> StageCost:
    pairs = {f.name: of(getattr(one, f.name), getattr(other, f.name)) for f in fields(StageCost)}
    return StageCost(**pairs)


def at_depth(two: StageCost, three: StageCost, num_layers: int) -> StageCost:
    """The cost with `num_layers` blocks, which are alike, from those with two and with three."""
    return _combined(lambda a, b: a + (num_layers - 2) * (b - a), two, three)


class _Moved(NamedTuple):
    """What an operation reads or writes of one tensor."""

    num_bytes: int
    is_kept: bool


class Costs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what every operation inside it costs, for the stage that is open then.

    What was there before is kept: weights, caches, constants; but for `passing`. What operations
    make inside is not.
    """

    def __init__(self, passing: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stages: dict[str, StageCost] = {}
        self._stage = ""
        self._made = {_storage(tensor) for tensor in passing}
        # An address that is free again must not be taken for one of these.
        self._alive: list[Tensor] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is done inside counts for `name`."""
        self._stage = name
        yield
        self._stage = ""

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention as one operation, which torch would take apart on meta."""
        formula: Callable[..., int] = flop_counter.sdpa_flop_count
        flop = formula(q.shape, k.shape, v.shape)
        out = torch.empty_like(q)
        self._count(flop, map(self._size, (q, k, v, out)))
        return out

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        formula = flop_counter.flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        flop = 0 if formula is None else int(formula(*args, **kwargs, out_val=out))
        self._see(func._schema, flop, (args, kwargs), out)
        return out

    def _see(self, schema: Any, flop: int, given: Any, out: Any) -> None:
        name = schema.name.rsplit("::", 1)[-1]
        read = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if schema.is_mutable:
            self._see_write(name, flop, read, made or read[:1])
            return
        before = {_storage(tensor) for tensor in read}
        new = [tensor for tensor in made if _storage(tensor) not in before]
        for tensor in new:
            self._made_(tensor)
        if new and name not in _MAKES_NOTHING:
            parts = [self._size(one) for one in (*read, *new)]
            if name in _GATHERS:
                parts[0] = _Moved(_num_bytes(new[0]), parts[0].is_kept)
            self._count(flop, parts)

    def _see_write(self, name: str, flop: int, read: list[Tensor], written: list[Tensor]) -> None:
        """torch names what an operation writes to first, or `out`."""
        target, *others = read
        parts = [self._size(one) for one in others]
        if name in _SCATTERS:
            num_bytes = _num_bytes(others[-1])
            parts.append(_Moved(num_bytes, self._size(target).is_kept))
        else:
            targets = [self._size(one) for one in written]
            parts += targets if name in _WRITES_ONLY else [self._size(target), *targets]
        self._count(flop, parts)

    def _size(self, tensor: Tensor) -> _Moved:
        return _Moved(_num_bytes(tensor), _storage(tensor) not in self._made)

    def _made_(self, tensor: Tensor) -> None:
        self._made.add(_storage(tensor))
        self._alive.append(tensor)

    def _count(self, flop: int, parts: Iterable[_Moved]) -> None:
        parts = list(parts)
        kept = sum(part.num_bytes for part in parts if part.is_kept)
        moved = sum(part.num_bytes for part in parts)
        cost = StageCost(flop, kept, moved, num_kernels=1)
        self.stages[self._stage] = self.stages.get(self._stage, StageCost()) + cost


class WholeAttention(TorchFunctionMode):
    """Attention is one operation, as kernels have it."""

    def __init__(self, costs: Costs) -> None:
        super().__init__()
        self._costs = costs

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._costs.attention(*args[:3])


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _num_bytes(tensor: Tensor) -> int:
    """What has to be moved: an expanded tensor's bytes are there once."""
    sides = zip(tensor.shape, tensor.stride(), strict=True)
    lengths = (length if stride else min(length, 1) for length, stride in sides)
    return prod(lengths) * tensor.element_size()


class _AnyText:
    """A text encoder without an encoder, on meta."""

    def __init__(self, dims: WanDims) -> None:
        self._shape = (1, dims.text_len, dims.text_dim)

    def encode(self, prompt: str) -> Tensor:
        del prompt
        return torch.empty(self._shape, device=META)


def _no_noise(chunk_index: int, seed: int, step: int, like: Tensor) -> Tensor:
    del chunk_index, seed, step
    return torch.empty_like(like)


@torch.inference_mode()
def count_coding(vae: StreamingVAE, spec: StreamSpec) -> dict[str, StageCost]:
    """What `vae`, which must be on meta, does to encode and to decode one chunk of a stream."""
    size = (spec.height_px, spec.width_px)
    frames_BTCHW = _frames(FRAMES_PER_LATENT, spec)
    cache = vae.init_cache(1, *size, META, spec.dtype)
    with RealKernels():
        z_BFCHW = vae.encode(frames_BTCHW, cache, is_first=False).z_BFCHW
        costs = Costs(passing=[frames_BTCHW, z_BFCHW])
        with costs, WholeAttention(costs):
            with costs.stage("encode"):
                vae.encode(frames_BTCHW, cache, is_first=False)
            with costs.stage("decode"):
                vae.decode(z_BFCHW, cache, is_first=False)
    return costs.stages


@torch.inference_mode()
def count_denoising(dims: WanDims, spec: StreamSpec, params: Params) -> StageCost:
    """All that a chunk takes outside the autoencoder, its steps back to back, in a stream whose
    cache is full and prompt known. Two and three blocks are run: the others are like them.
    """
    # The reference's cache is as large, but asks the device, and meta has no answers.
    spec = replace(spec, cache=CacheMode.ROLLING, layout=Layout.SERIAL, device=META)
    two, three = (
        _denoise(replace(dims, num_layers=num_layers), spec, params) for num_layers in (2, 3)
    )
    return at_depth(two, three, dims.num_layers)


def _denoise(dims: WanDims, spec: StreamSpec, params: Params) -> StageCost:
    with META:
        dit = CausalWanModel(dims).to(spec.dtype).eval().requires_grad_(False)
    frames_BTCHW = _frames(FRAMES_PER_LATENT, spec)
    costs = Costs(passing=[frames_BTCHW])
    no_pictures = NoPictures(dims, spec)
    pipeline = StreamPipeline(dit, no_pictures, _AnyText(dims), spec, noise=_no_noise)
    with RealKernels():
        state = pipeline.fresh_state()
        pipeline.step(state, _frames(1, spec), params)
        longest = _frames(FRAMES_PER_LATENT * spec.longest_chunk, spec)
        for _ in range(1, spec.geometry.num_slots, spec.longest_chunk):
            pipeline.step(state, longest, params)
        with costs, WholeAttention(costs), costs.stage("denoise"):
            pipeline.step(state, frames_BTCHW, params)
    return costs.stages["denoise"]


def _frames(count: int, spec: StreamSpec) -> Tensor:
    shape = (1, count, 3, spec.height_px, spec.width_px)
    return torch.empty(shape, device=META, dtype=spec.dtype)
