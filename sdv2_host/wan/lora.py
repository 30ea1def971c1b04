"""A LoRA file as changes of our DiT's weights.

# O out  I in  R rank

Factors stay in the file's own format on the CPU; a change is computed where it is needed. Only
.safetensors files are read: nothing in them can be executed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.loras import LORA_SUFFIX
from sdv2_host.wan.dims import TINY_DIT, WAN_1_3B, WAN_14B, WanDims
from sdv2_host.wan.lora_alpha import Alphas
from sdv2_host.wan.lora_names import Role, parse_key
from sdv2_host.wan.model import CausalWanModel

CPU = torch.device("cpu")
_MAX_NAMED = 3
_MAX_FAULT_CHARS = 400
_MODELS_BY_DIM = {
    TINY_DIT.dim: "the embedded tiny model",
    WAN_1_3B.dim: "Wan 1.3B",
    3072: "Wan 2.2 5B",
    WAN_14B.dim: "Wan 14B",
}
_ATTENTION = (".q.weight", ".k.weight", ".v.weight", ".o.weight")


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    up_OR: Tensor
    down_RI: Tensor
    scale: float
    """alpha / rank."""


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    change: Tensor
    """In the weight's shape."""
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """One file's changes, complete and checked. Equal only to itself."""

    name: str
    changes: Mapping[str, tuple[LowRank | Difference, ...]]
    """By native weight name."""
    shapes: Mapping[str, torch.Size]
    """Of the same weights."""
    num_ignored: int
    """Tensors for parts that this model lacks: image-to-video inputs, text encoders."""

    def delta(self, name: str, device: torch.device = CPU) -> Tensor:
        """The change of one weight at strength 1: float32, the weight's shape."""
        return self.add_(torch.zeros(self.shapes[name], device=device), name, 1.0)

    def add_(self, weight: Tensor, name: str, strength: float) -> Tensor:
        """`weight` += strength x change, computed on its device and in its dtype."""
        for change in self.changes[name]:
            if isinstance(change, LowRank):
                up_OR, down_RI = change.up_OR.to(weight), change.down_RI.to(weight)
                flat_OI = weight.view(weight.shape[0], -1)
                flat_OI.addmm_(up_OR, down_RI, alpha=strength * change.scale)
            else:
                weight.add_(change.change.to(weight), alpha=strength * change.scale)
        return weight


class LoraTarget(NamedTuple):
    """The model that a LoRA has to fit. Made once per model: enumerating its weights takes time."""

    dims: WanDims
    shapes: Mapping[str, torch.Size]

    @classmethod
    def of(cls, dims: WanDims) -> LoraTarget:
        with torch.device("meta"):
            model = CausalWanModel(dims)
        return cls(dims, {name: weight.shape for name, weight in model.named_parameters()})


def read_lora(path: Path, dims: WanDims) -> Lora:
    """The whole file, checked against a model of these dims.

    Raises:
        ModelError: not a .safetensors file, damaged, of a kind that cannot be merged, for another
            model, or without anything for this one.
    """
    reader = LoraReader(path, LoraTarget.of(dims))
    reader.read_(math.inf)
    return reader.lora


class _Keys(NamedTuple):
    """The tensors of one module's change of one weight."""

    parameter: str
    keys: dict[Role, str]
    is_kohya: bool
    module: str


class LoraReader:
    """A LoRA file that is read bit by bit, so that nobody has to wait for it.

    Fields, for the life of one reading: the open file, what is still to be read, what was read.
    Names and shapes are checked when it opens, values as they are read.
    """

    def __init__(self, path: Path, target: LoraTarget) -> None:
        """Raises: ModelError, see `read_lora`."""
        self._path = path
        self._target = target
        self._file = _open(path)
        self._alphas = Alphas(self._file.metadata() or {}, path.name)
        self._changes: dict[str, list[LowRank | Difference]] = {}
        self._num_ignored = 0
        self._todo = self._sort_keys()
        self._check_shapes()

    @property
    def is_done(self) -> bool:
        return not self._todo

    @property
    def lora(self) -> Lora:
        """The result, once `is_done`."""
        assert self.is_done, f"{self._path.name} is not read yet"
        changes = {name: tuple(parts) for name, parts in self._changes.items()}
        shapes = {name: self._target.shapes[name] for name in changes}
        return Lora(self._path.stem, changes, shapes, self._num_ignored)

    def read_(self, budget_bytes: float) -> float:
        """At least one change more was read; what is left of the budget, below 0 if exceeded.

        Raises:
            ModelError: the file is damaged, or holds what is not a number.
        """
        while self._todo and budget_bytes > 0:
            keys = self._todo.pop(0)
            tensors = {role: self._tensor(key) for role, key in keys.keys.items()}
            budget_bytes -= sum(tensor.nbytes for tensor in tensors.values())
            for name, change in self._change(keys, tensors):
                self._changes.setdefault(name, []).append(change)
        return budget_bytes

    def _fault(self, text: str) -> ModelError:
        # Keys come from the file: they must not forge or flood a log.
        plain = "".join(letter if letter.isprintable() else "?" for letter in text)
        return ModelError(f"{self._path.name} {plain[:_MAX_FAULT_CHARS]}")

    def _tensor(self, key: str) -> Tensor:
        try:
            # A copy: the file may be replaced while its changes are in use.
            tensor: Tensor = self._file.get_tensor(key).clone()
        except (SafetensorError, OSError) as error:
            raise self._fault(f"cannot be read at {key} ({error})") from error
        if not tensor.is_floating_point() and tensor.numel() > 1:
            raise self._fault(f"holds {key} as {tensor.dtype}, expected floating point")
        if not bool(torch.isfinite(tensor.float()).all()):
            raise self._fault(f"is damaged: {key} holds values that are not finite")
        return tensor

    def _change(
        self, keys: _Keys, tensors: dict[Role, Tensor]
    ) -> list[tuple[str, LowRank | Difference]]:
        shape = self._target.shapes[keys.parameter]
        changes: list[tuple[str, LowRank | Difference]] = []
        if Role.DIFF in tensors:
            changes.append((keys.parameter, Difference(tensors[Role.DIFF].reshape(shape), 1.0)))
        if Role.UP in tensors:
            up_OR, down_RI = tensors[Role.UP].flatten(1), tensors[Role.DOWN].flatten(1)
            alpha = tensors.get(Role.ALPHA)
            stated = None if alpha is None else float(alpha.float().reshape(()))
            rank = up_OR.shape[1]
            scale = self._alphas.scale(keys.module, keys.is_kohya, stated, rank)
            changes.append((keys.parameter, LowRank(up_OR, down_RI, scale)))
            if Role.UP_BIAS in tensors:
                bias = keys.parameter.removesuffix("weight") + "bias"
                changes.append((bias, Difference(tensors[Role.UP_BIAS], scale)))
        return changes

    def _sort_keys(self) -> list[_Keys]:
        """What belongs together, in the order of the model's weights."""
        parts: dict[str, _Keys] = {}
        for key in self._file.keys():  # noqa: SIM118
            try:
                found = parse_key(key)
            except ModelError as error:
                raise self._fault(str(error)) from None
            if found is None:
                self._num_ignored += 1
                continue
            name = found.parameter
            if found.role is Role.UP_BIAS:
                name = name.removesuffix("bias") + "weight"
            part = parts.setdefault(name, _Keys(name, {}, found.is_kohya, found.module))
            if found.role in part.keys:
                raise self._fault(f"holds {name} twice, as {part.keys[found.role]} and {key}")
            part.keys[found.role] = key
        if not parts:
            ignored = f"{self._num_ignored} tensors for image-to-video or text encoders only"
            raise self._fault(f"changes no weight of this model: it holds {ignored}")
        self._check_model(parts)
        order = {name: index for index, name in enumerate(self._target.shapes)}
        return sorted(parts.values(), key=lambda part: order[part.parameter])

    def _check_model(self, parts: dict[str, _Keys]) -> None:
        """Every weight exists here; a LoRA of another size says which model it is for."""
        wanted = self._target.dims
        ours = f"this model is {_model_name(wanted.dim)}"
        for name, part in parts.items():
            if name.endswith(_ATTENTION) and Role.DOWN in part.keys:
                dim = math.prod(self._shape(part.keys[Role.DOWN])[1:])
                if dim != wanted.dim:
                    raise self._fault(f"is for {_model_name(dim)}, {ours}")
        unknown = [name for name in parts if name not in self._target.shapes]
        if unknown:
            blocks = f"with {wanted.num_layers} blocks"
            raise self._fault(f"is for another model: it changes {unknown[0]}, {ours} {blocks}")

    def _check_shapes(self) -> None:
        faults: list[str] = []
        for part in self._todo:
            shape = self._target.shapes[part.parameter]
            given = {role: self._shape(key) for role, key in part.keys.items()}
            if not _fits(given, shape):
                shown = ", ".join(f"{role.value} {tuple(s)}" for role, s in given.items())
                faults.append(f"{part.parameter} {tuple(shape)} from {shown}")
        if faults:
            more = f" and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
            raise self._fault(f"does not fit this model: {'; '.join(faults[:_MAX_NAMED])}{more}")

    def _shape(self, key: str) -> torch.Size:
        return torch.Size(self._file.get_slice(key).get_shape())


def _open(path: Path) -> Any:
    """The open file: safetensors gives its handle no type."""
    if path.suffix.lower() != LORA_SUFFIX:
        raise ModelError(
            f"{path.name} is not a {LORA_SUFFIX} file: convert it to safetensors first (a pickle "
            "can run code when it is opened)"
        )
    if not path.is_file():
        raise ModelError(f"{path.name} is not there")
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name} is damaged or no {LORA_SUFFIX} file ({error})") from error


def _fits(given: dict[Role, torch.Size], shape: torch.Size) -> bool:
    """Whether tensors of these shapes make up a change of a weight of this shape."""
    num_out, num_in = shape[0], math.prod(shape[1:])
    up, down = given.get(Role.UP), given.get(Role.DOWN)
    fits = (up is None) == (down is None) and (up is not None or Role.DIFF in given)
    if up is not None and down is not None:
        rank = down[0] if len(down) > 1 else 0
        fits &= rank > 0 and len(shape) > 1 and len(up) > 1
        fits &= math.prod(down[1:]) == num_in and up[:2] == (num_out, rank)
        fits &= math.prod(up[2:]) == 1
    if Role.DIFF in given:
        diff = given[Role.DIFF]
        flat = torch.Size((num_out, num_in))
        fits &= diff == flat or _without_ones(diff) == _without_ones(shape)
    if Role.UP_BIAS in given:
        fits &= up is not None and given[Role.UP_BIAS] == (num_out,)
    if Role.ALPHA in given:
        fits &= up is not None and math.prod(given[Role.ALPHA]) == 1
    return fits


def _without_ones(shape: torch.Size) -> list[int]:
    return [size for size in shape if size != 1]


def _model_name(dim: int) -> str:
    known = _MODELS_BY_DIM.get(dim)
    return f"{known} (dim {dim})" if known else f"a model of dim {dim}"
