"""The published checkpoints -> modules, ready for inference. How: `wan/filling.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sdv2_host.errors import ModelError
from sdv2_host.wan.checkpoint import Checkpoint, open_checkpoint
from sdv2_host.wan.dims import TAEW2_1, WAN_VAE, TinyVAEDims, WanDims, WanVAEDims
from sdv2_host.wan.filling import CPU, META, Progress, check, load_
from sdv2_host.wan.fp8 import by_kernel
from sdv2_host.wan.key_names import dit_name, taehv_name, umt5_name, vae_name
from sdv2_host.wan.model import Block, CausalWanModel
from sdv2_host.wan.partial import PartialModule, share
from sdv2_host.wan.tensor_file import TensorInfo
from sdv2_host.wan.tiny_vae import TGrow, TinyVAE
from sdv2_host.wan.vae import WanVAE


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


def load_dit8(
    path: Path,
    dims: WanDims,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.bfloat16,
    progress: Progress | None = None,
) -> CausalWanModel:
    """The same with the large linears in 8 bits (wan/fp8.py). On the way the device holds no more
    than that and one block in `dtype`.

    Raises:
        ModelError: it cannot be read, is damaged, or is not this model.
    """
    with torch.device(META):
        model = CausalWanModel(dims)
    with DIT.open(path) as checkpoint:
        parts = PartialModule(model, checkpoint, device, dtype)
        shared = [name for name, _ in model.named_children() if name != "blocks"]
        groups = [shared, *([f"blocks.{index}"] for index in range(dims.num_layers))]
        try:
            for index, names in enumerate(groups):
                parts.bring_(names, share(progress, index, len(groups)))
                for block in map(model.get_submodule, names):
                    if isinstance(block, Block):
                        block.quantise_(by_kernel)
        except BaseException:
            model.to(META)
            raise
    return model


def open_dit(path: Path, dims: WanDims) -> Checkpoint:
    """The DiT's checkpoint under our names, compared with these sizes; to be read again later.

    Raises:
        ModelError: it cannot be read, is damaged, or is not this model.
    """
    with torch.device(META):
        model = CausalWanModel(dims)
    return _checked(DIT.open(path), model)


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
        return load_(vae, _with_last_frames(checkpoint, vae), device, dtype, progress)


def open_taehv(path: Path, dims: TinyVAEDims = TAEW2_1) -> Checkpoint:
    """TAEHV's checkpoint under our names, compared with these sizes; to be read again later.

    Raises:
        ModelError: it cannot be read, is damaged, or is not this model.
    """
    with torch.device(META):
        vae = TinyVAE(dims)
    return _checked(_with_last_frames(TAEHV.open(path), vae), vae)


def _with_last_frames(checkpoint: Checkpoint, vae: TinyVAE) -> Checkpoint:
    """The same, but where it grows more frames in a layer than `vae` does, only the last ones."""
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
    return checkpoint.with_last_rows(more)


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


def _checked(checkpoint: Checkpoint, module: nn.Module) -> Checkpoint:
    try:
        check(module, checkpoint)
    except ModelError:
        checkpoint.close()
        raise
    return checkpoint


def _has_more_rows(info: TensorInfo, wanted: torch.Size) -> bool:
    return info.shape[1:] == wanted[1:] and info.shape[0] > wanted[0]
