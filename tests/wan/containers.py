"""One state dict in every container and under every published naming, and the savers for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdv2_host.wan.key_names import DIT_IN_BLOCK, DIT_OUTSIDE

State = dict[str, Tensor]


def random_like(state: State) -> State:
    """Other numbers for the same names, shapes and types, from a fixed seed."""
    torch.manual_seed(0)
    return {name: torch.randn_like(value) for name, value in state.items()}


def diffusers_name(name: str) -> str:
    """Of a tensor of our DiT, written out apart from the loader's own rules."""
    block, index, rest = name.split(".", 2) if name.startswith("blocks.") else ("", "", name)
    table = DIT_IN_BLOCK if block else DIT_OUTSIDE | {"patch_embedding": "patch_embedding"}
    ours = next(one for one in table if f"{rest}.".startswith(f"{one}."))
    theirs = table[ours] + rest.removeprefix(ours)
    return f"{block}.{index}.{theirs}" if block else theirs


def in_diffusers_names(state: State) -> State:
    return {diffusers_name(name): value for name, value in state.items()}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def fsdp(state: State) -> State:
    blocks = "blocks."
    return {
        "model._fsdp_wrapped_module." + name.replace("self_attn", "_fsdp_wrapped_module.self_attn")
        if name.startswith(blocks)
        else "model." + name: value
        for name, value in state.items()
    }


def save_shards(state: State, folder: Path, num_shards: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    for index in range(num_shards):
        names = sorted(state)[index::num_shards]
        shard = f"model-{index + 1:05}-of-{num_shards:05}.safetensors"
        save_file({name: state[name] for name in names}, str(folder / shard))
        weight_map |= dict.fromkeys(names, shard)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return path


def save_legacy(state: State, path: Path) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def save_pt(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def save_st(state: State, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(path))
    return path


CONTAINERS: dict[str, Callable[[State, Path], Path]] = {
    "pt, flat": lambda s, d: save_pt(s, d / "model.pt"),
    "pt, generator": lambda s, d: save_pt({"generator": prefixed(s, "model.")}, d / "model.pt"),
    "pt, generator_ema": lambda s, d: save_pt({"generator_ema": s, "step": 7}, d / "model.pt"),
    "pt, state_dict": lambda s, d: save_pt({"state_dict": s, "epoch": 1.5}, d / "model.pt"),
    "pt, two wrappers": lambda s, d: save_pt({"state_dict": {"generator": s}}, d / "model.pt"),
    "pt, parameters": lambda s, d: save_pt(
        {"generator": {k: nn.Parameter(v) for k, v in s.items()}}, d / "model.pt"
    ),
    "pt, critic beside": lambda s, d: save_pt(
        {"generator": s, "critic": {"x": torch.zeros(1)}, "optimizer": [1, {}]}, d / "model.pt"
    ),
    "pt, module.model.": lambda s, d: save_pt(prefixed(s, "module.model."), d / "m.pt"),
    "pt, fsdp": lambda s, d: save_pt({"generator": fsdp(s)}, d / "model.pt"),
    "pt, step beside": lambda s, d: save_pt({**s, "step": 3}, d / "model.pt"),
    "pt, old format": lambda s, d: save_legacy(prefixed(s, "model."), d / "model.pth"),
    "safetensors": lambda s, d: save_st(s, d / "model.safetensors"),
    "safetensors, comfy": lambda s, d: save_st(
        prefixed(s, "model.diffusion_model."), d / "model.safetensors"
    ),
    "safetensors under a wrong name": lambda s, d: save_st(s, d / "model.pt"),
    "shards": save_shards,
    "folder of shards": lambda s, d: save_shards(s, d).parent,
    "folder": lambda s, d: save_st(s, d / "diffusion_pytorch_model.safetensors").parent,
    "folder of the reference": lambda s, d: save_pt(s, d / "model.pt").parent,
    "diffusers": lambda s, d: save_st(in_diffusers_names(s), d / "model.safetensors"),
    "diffusers pipeline": lambda s, d: (
        save_shards(in_diffusers_names(s), d / "transformer").parent.parent
    ),
    "diffusers, wrapped in pt": lambda s, d: save_pt(
        {"state_dict": prefixed(in_diffusers_names(s), "module.")}, d / "model.bin"
    ),
}
