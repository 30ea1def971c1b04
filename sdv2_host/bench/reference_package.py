"""The reference's published package, PyPI `streamdiffusionv2`, built with weights of ours.

What is published runs unchanged: its `SingleGPUInferencePipeline` (stream batch, or one step after
the other) with its own YAML. Outside of the path that is timed three things are done for it:

- Its models come from memory, through the package's own registry of models by name, and not from
  checkpoint files that a bench has not got; its text encoder is one that gives a fixed embedding.
- Its size tables know two models only, so the number of blocks and heads is set after building.
- torchvision, with which it reads video files, is not loaded: its wheels run beside one build of
  torch only. An empty module stands in its place while the package is imported.

It runs on the CPU by itself, attention through torch where `flash_attn` is not installed.

Source: streamdiffusionv2 0.1.1: streamv2v/inference.py, streamv2v/inference_wo_batch.py,
models/wan/causal_stream_inference.py, models/wan/wan_wrapper.py, models/wan/taehv_wrapper.py.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata, resources
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from sdv2_host.bench.model import Cell
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.types import Layout
from sdv2_host.wan.dims import WanDims, WanVAEDims
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import HybridVAE, WanVAE

PACKAGE, VERSION = "streamdiffusionv2", "0.1.1"
NEEDED = ("einops", "omegaconf", "av", "diffusers", "ftfy", "regex")
"""Of what it imports, what a torch installation does not bring."""
MODEL_TYPES = {"wan-1.3b": "T2V-1.3B", "wan-14b": "T2V-14B"}
HEAD_DIM = 128
"""The reference's caches are made for heads of this size."""
TEXT_LEN = 512
REGISTERED = "sdv2-host"
"""The name of our weights in its registry of models."""
_VIDEO_READER = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def require_package() -> None:
    """The package and what it needs are installed.

    Raises:
        ConfigError: one is not, or it is another release; saying how to get it.
    """
    how = (
        f"pip install --no-deps {PACKAGE}=={VERSION} einops omegaconf, and pip install diffusers "
        "if it is missing (--no-deps: its own pins would replace torch by 2.6 and numpy by 1.24)"
    )
    try:
        found = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise ConfigError(
            f"--against {PACKAGE}: the package is not installed beside this program: {how}"
        ) from None
    if found != VERSION:
        raise ConfigError(
            f"--against {PACKAGE}: version {found} is installed, expected {VERSION}: {how}"
        )
    missing = [name for name in NEEDED if not _is_installed(name)]
    if missing:
        raise ConfigError(f"--against {PACKAGE}: it also needs {', '.join(missing)}: {how}")


def why_not(cell: Cell) -> str:
    """What the package has not got of the cell; '' = it has it all."""
    if cell.engine not in MODEL_TYPES:
        return f"it has no model {cell.engine}, only {' and '.join(MODEL_TYPES)}"
    if cell.vae not in ("wan", "hybrid"):
        return f"it has no VAE {cell.vae}; wan is its default, hybrid its --use_taehv"
    return ""


def attention_backend() -> str:
    """With what it attends here."""
    for name in ("flash_attn_interface", "flash_attn"):
        if _is_installed(name):
            return name
    return "torch (flash_attn is not installed)"


def build_manager(cell: Cell, models: StreamModels, layout: Layout) -> Any:
    """Its SingleGPUInferencePipeline with the weights of `models`, ready for a session.

    Its DiT shares memory with ours, its autoencoder has a copy: there the order in memory differs.
    """
    with _without_torchvision():
        batched = layout is Layout.BATCH
        module = import_module(f"streamv2v.inference{'' if batched else '_wo_batch'}")
        common = import_module("streamv2v.inference_common")
    dims = models.dit.dims
    assert (dims.head_dim, dims.text_len) == (HEAD_DIM, TEXT_LEN), dims
    asked = {
        "model_name": REGISTERED,
        "generator_name": REGISTERED,
        "model_type": MODEL_TYPES[cell.engine],
        "height": cell.size.height,
        "width": cell.size.width,
        "step": cell.steps,
        "t2v": False,
    }
    settings = resources.files("streamv2v") / "configs" / "wan_causal_dmd_v2v.yaml"
    with resources.as_file(settings) as path:
        config = common.merge_cli_config(str(path), asked)
    # Said once by `attention_backend`; it says so in every layer.
    warnings.filterwarnings("ignore", message="flash_attn")
    # With a handler there, it adds none of its own that would write into our progress.
    logging.getLogger("SingleGPUInference").addHandler(logging.NullHandler())
    with _registered(models):
        manager = module.SingleGPUInferencePipeline(config, cell.device)
    manager.pipeline.num_transformer_blocks = dims.num_layers
    manager.pipeline.num_heads = dims.num_heads
    return manager


@contextmanager
def _registered(models: StreamModels) -> Iterator[None]:
    """Inside, its registry makes models with our weights by the name `REGISTERED`."""

    def vae(**_: Any) -> Any:
        return _taehv(models.vae) if isinstance(models.vae, HybridVAE) else _wan_vae(models.vae)

    registry = import_module("models")
    made = {
        "DIFFUSION_NAME_TO_CLASS": lambda **_: _generator(models),
        "TEXT_ENCODER_NAME_TO_CLASS": lambda **_: _FixedText(models),
        "VAE_NAME_TO_CLASS": vae,
    }
    for table, make in made.items():
        getattr(registry, table)[REGISTERED] = make
    try:
        yield
    finally:
        for table in made:
            del getattr(registry, table)[REGISTERED]


@contextmanager
def attending_by_torch() -> Iterator[None]:
    """Inside, it attends as it does where flash_attn, which knows no float32, is not installed."""
    flags = [
        (import_module("models.wan.causal_model"), "FLASH_ATTN_AVAILABLE"),
        (import_module("models.wan.wan_base.modules.attention"), "FLASH_ATTN_2_AVAILABLE"),
        (import_module("models.wan.wan_base.modules.attention"), "FLASH_ATTN_3_AVAILABLE"),
    ]
    before = [getattr(module, name) for module, name in flags]
    for module, name in flags:
        setattr(module, name, False)
    try:
        yield
    finally:
        for (module, name), is_there in zip(flags, before, strict=True):
            setattr(module, name, is_there)


class _FixedText(nn.Module):
    """In the place of its text encoder."""

    embeds: Tensor

    def __init__(self, models: StreamModels) -> None:
        super().__init__()
        self.register_buffer("embeds", models.text.encode(""))

    def forward(self, text_prompts: list[str]) -> dict[str, Tensor]:
        return {"prompt_embeds": self.embeds.repeat(len(text_prompts), 1, 1)}


def _generator(models: StreamModels) -> Any:
    """Its DiT and sampler around our weights, which it does not write to."""
    wrapper, flow = import_module("models.wan.wan_wrapper"), import_module("models.wan.flow_match")
    generator = _bare(wrapper.CausalWanDiffusionWrapper)
    generator.model = _causal_model(models.dit.dims, "meta")
    generator.model.load_state_dict(models.dit.state_dict(), strict=True, assign=True)
    # Its rotary table is no parameter: a model without blocks has it in memory.
    generator.model.freqs = _causal_model(models.dit.dims, "cpu", num_layers=0).freqs
    generator.model.eval().requires_grad_(False)
    generator.uniform_timestep = False
    generator.scheduler = flow.FlowMatchScheduler(shift=8.0, sigma_min=0.0, extra_one_step=True)
    generator.scheduler.set_timesteps(1000, training=True)
    generator.seq_len = 32760
    generator.post_init()
    return generator


def _causal_model(dims: WanDims, device: str, num_layers: int | None = None) -> Any:
    with torch.device(device):
        return import_module("models.wan.causal_model").CausalWanModel(
            model_type="t2v",
            patch_size=dims.patch,
            text_len=dims.text_len,
            in_dim=dims.in_dim,
            dim=dims.dim,
            ffn_dim=dims.ffn_dim,
            freq_dim=dims.freq_dim,
            text_dim=dims.text_dim,
            out_dim=dims.out_dim,
            num_heads=dims.num_heads,
            num_layers=dims.num_layers if num_layers is None else num_layers,
            cross_attn_norm=True,
            eps=dims.eps,
        )


def _wan_vae(ours: Any) -> Any:
    """Its wrapper of the Wan VAE around a copy of our weights."""
    assert isinstance(ours, WanVAE), type(ours)
    dims: WanVAEDims = ours.dims
    with torch.device("meta"):
        theirs = import_module("models.wan.wan_base.modules.vae").WanVAE_(
            dim=dims.base,
            z_dim=dims.z_dim,
            dim_mult=list(dims.dim_mult),
            num_res_blocks=dims.num_res_blocks,
            temperal_downsample=list(dims.temporal_downsample),
        )
    theirs.load_state_dict(_planar(ours), strict=True, assign=True)
    wrapper = _bare(import_module("models.wan.wan_wrapper").WanVAEWrapper)
    wrapper.mean = torch.tensor(dims.latent_mean, dtype=torch.float32)
    wrapper.std = torch.tensor(dims.latent_std, dtype=torch.float32)
    wrapper.model = theirs.eval().requires_grad_(False)
    return wrapper


def _taehv(ours: HybridVAE) -> Any:
    """Its wrapper for --use_taehv: the Wan VAE encodes, TAEHV decodes."""
    module = import_module("models.wan.taehv_wrapper")
    tiny: TinyVAE = ours.tiny
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "taew2_1.pth"
        torch.save(_planar(tiny), checkpoint)
        decoder = module.TAEHV(str(checkpoint))
    wrapper = _bare(module.TAEHVWanVAEWrapper)
    wrapper.use_tensorrt = wrapper.parallel_decode = False
    wrapper.model = SimpleNamespace(first_encode=True, first_decode=True)
    wrapper.decode_context_latents = 3
    wrapper._decode_latent_cache = None
    wrapper.encoder_vae = _wan_vae(ours.encoder)
    wrapper.taehv = decoder.eval().requires_grad_(False)
    return wrapper


def _planar(module: nn.Module) -> dict[str, Tensor]:
    """Copies of its weights in the order in memory that published files have."""
    return {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }


def _bare(kind: Any) -> Any:
    """One of its modules as it is before its constructor reads checkpoint files."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    return module


def _is_installed(name: str) -> bool:
    return find_spec(name) is not None


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Inside, what is imported gets an empty torchvision, whether there is one or not."""
    for name in ("diffusers.models.modeling_utils", "diffusers.utils", "transformers"):
        # These ask whether there is a torchvision, and remember the answer.
        import_module(name)
    assert import_module("transformers").AutoTokenizer
    kept = {name: sys.modules.get(name) for name in _VIDEO_READER}
    parent: ModuleType | None = None
    for name in _VIDEO_READER:
        module = ModuleType(name)
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], module)
        sys.modules[name] = parent = module
    try:
        yield
    finally:
        for name, module_before in kept.items():
            del sys.modules[name]
            if module_before is not None:
                sys.modules[name] = module_before
