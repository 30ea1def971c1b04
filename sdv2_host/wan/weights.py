"""The published checkpoints -> modules, tensor by tensor, after an exact check of names and shapes.

A module is built without memory, its names and shapes are compared with the file's, and only then
it gets memory and is filled, one tensor at a time: host memory holds the model, in the type that
was asked for, and one tensor more. If anything fails on the way, nothing of the model is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from sdv2_host.errors import ModelError
from sdv2_host.wan.checkpoint import Checkpoint, open_checkpoint
from sdv2_host.wan.dims import TAEW2_1, WAN_VAE, TinyVAEDims, WanDims, WanVAEDims
from sdv2_host.wan.identify import Guess, Kind, identify
from sdv2_host.wan.key_names import dit_name, taehv_name, umt5_name, vae_name
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.tensor_file import TensorInfo
from sdv2_host.wan.tiny_vae import TGrow, TinyVAE
from sdv2_host.wan.vae import WanVAE

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


@dataclass(frozen=True, slots=True)
class Part:
    """One of the models: where it lies in a folder, and how its tensors get our names."""

    subfolder: str
    """Of a diffusers pipeline."""
    usual_names: tuple[str, ...]
    """What the publishers call it, best first."""
    rename: Callable[[str], str]
    passengers: tuple[str, ...] = ()
    """Tensors that some publishers put beside the weights, and that are none."""

    def open(self, path: Path) -> Checkpoint:
        """The checkpoint at `path` under our names, not compared with a module yet.

        Raises:
            ModelError: nothing there, not readable, damaged, or not clear which file is meant.
        """
        checkpoint = open_checkpoint(path, self.subfolder, self.usual_names)
        try:
            return checkpoint.without(self.passengers).renamed(self.rename)
        except ModelError:
            checkpoint.close()
            raise


DIT = Part("transformer", ("model.pt",), dit_name)
VAE = Part("vae", ("Wan2.1_VAE.pth",), vae_name)
TAEHV = Part("taehv", ("taew2_1.pth", "taew2_1.safetensors"), taehv_name)
UMT5 = Part(
    "text_encoder",
    ("models_t5_umt5-xxl-enc-bf16.pth",),
    umt5_name,
    # ComfyUI's files carry their tokenizer. Source: comfy/text_encoders/wan.py
    passengers=("spiece_model",),
)


def load_dit(
    path: Path,
    dims: WanDims,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> CausalWanModel:
    """The DiT of these sizes, ready for inference.

    `path`: the reference's model.pt, .safetensors whole or in shards, or a diffusers folder.

    Raises:
        ModelError: it cannot be read, is damaged, or is not this model.
    """
    with torch.device(META):
        model = CausalWanModel(dims)
    with DIT.open(path) as checkpoint:
        return load_(model, checkpoint, device, dtype, progress)


def open_dit(path: Path, dims: WanDims) -> Checkpoint:
    """The DiT's checkpoint under our names, compared with these sizes; to be read again later.

    Raises:
        ModelError: it cannot be read, is damaged, or is not this model.
    """
    with torch.device(META):
        model = CausalWanModel(dims)
    checkpoint = DIT.open(path)
    try:
        check(model, checkpoint)
    except ModelError:
        checkpoint.close()
        raise
    return checkpoint


def load_wan_vae(
    path: Path,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
    dims: WanVAEDims = WAN_VAE,
) -> WanVAE:
    """The Wan VAE of Wan2.1_VAE.pth or of a diffusers folder, ready for inference.

    Raises:
        ModelError: it cannot be read, is damaged, or is not this model.
    """
    with torch.device(META):
        vae = WanVAE(dims)
    with VAE.open(path) as checkpoint:
        return load_(vae, checkpoint, device, dtype, progress)


def load_taehv(
    path: Path,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
    dims: TinyVAEDims = TAEW2_1,
) -> TinyVAE:
    """TAEHV of taew2_1.pth, ready for inference.

    Where the file grows more frames in a layer than ours, the last ones are taken: the earlier
    ones are those that a trained model leaves out. Source: taehv.py, patch_tgrow_layers.

    Raises:
        ModelError: it cannot be read, is damaged, or is not this model.
    """
    with torch.device(META):
        vae = TinyVAE(dims)
    with TAEHV.open(path) as checkpoint:
        wanted = {
            f"decoder.{index}.conv.weight": layer.conv.weight.shape
            for index, layer in enumerate(vae.decoder)
            if isinstance(layer, TGrow)
        }
        more = {
            name: shape[0]
            for name, shape in wanted.items()
            if name in checkpoint.entries and _has_more_rows(checkpoint.entries[name], shape)
        }
        return load_(vae, checkpoint.with_last_rows(more), device, dtype, progress)


def load_umt5_state(
    path: Path,
    module: nn.Module,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> None:
    """`module`, a `UMT5EncoderModel` built on the meta device, is filled and ready for inference.

    `path`: models_t5_umt5-xxl-enc-bf16.pth or the Hugging Face layout, whole or in shards. After
    an error the module is without memory again.

    Raises:
        ModelError: it cannot be read, is damaged, or is not this model.
    """
    with UMT5.open(path) as checkpoint:
        load_(module, checkpoint, device, dtype, progress)


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
    given = checkpoint.entries
    names: dict[Tensor, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if name in given:
            names.setdefault(tensor, name)
    try:
        _fill_(module, checkpoint, names, device, progress)
    except BaseException:
        module.to(META)
        raise
    return module.eval().requires_grad_(False)


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


def _fill_(
    module: nn.Module,
    checkpoint: Checkpoint,
    names: Mapping[Tensor, str],
    device: torch.device,
    progress: Progress | None,
) -> None:
    """`names`: the module's tensors without memory -> their names in the file."""
    total = sum(tensor.numel() for tensor in names) or 1
    done = 0
    for without_memory, tensor in _with_memory(module, device):
        if without_memory in names:
            _copy_(tensor, checkpoint, names[without_memory])
            done += tensor.numel()
            if progress:
                progress(done / total)


def _with_memory(module: nn.Module, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Every tensor of a module on the meta device, and what takes its place there, one by one.

    Memory comes with the step that fills it, so that a file that lives in memory can shrink
    meanwhile. What was one tensor under two names stays one: `to_empty` alone would make it two.
    """
    made: dict[Tensor, Tensor] = {}
    for owner in module.modules():
        own = {
            **dict(owner.named_parameters(recurse=False)),
            **dict(owner.named_buffers("", False)),
        }
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
    checkpoint.forget(name)


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


def _has_more_rows(info: TensorInfo, wanted: torch.Size) -> bool:
    return info.shape[1:] == wanted[1:] and info.shape[0] > wanted[0]


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def named(fault: str, names: list[str]) -> str:
    """The names at fault as a part of a sentence, the first of them by name; '' = there is none."""
    if not names:
        return ""
    more = f" and {len(names) - _MAX_NAMED_KEYS} more" if len(names) > _MAX_NAMED_KEYS else ""
    return f"{len(names)} {fault}: {', '.join(names[:_MAX_NAMED_KEYS])}{more}"
