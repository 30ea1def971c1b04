"""A program for `test_full_size.py`: Wan 1.3B at full size from files, with random weights.

python -m tests.full_size write DIR             makes the checkpoints, bfloat16
python -m tests.full_size run DIR DTYPE         loads them, styles 1 + 4 frames, prints JSON
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import nn
from transformers import UMT5Config

from sdv2_host.config import Config
from sdv2_host.gpu.wan_engine import load_wan_engine
from sdv2_host.gpu.wan_models import WanFamily
from sdv2_host.models.store import ModelFiles
from sdv2_host.params import Params
from sdv2_host.types import Frame, FrameMeta
from sdv2_host.wan.dims import WAN_1_3B, WAN_VAE
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.vae import WanVAE
from tests.tiny_umt5 import install_text, write_encoder

SIDE_PX = 128
DIT_FILE, VAE_FILE = "model.pt", "Wan2.1_VAE.pth"


class RandomText:
    """In the place of UMT5-XXL, which alone would take half of the memory."""

    def encode(self, prompt: str) -> torch.Tensor:
        del prompt
        text = torch.zeros(1, WAN_1_3B.text_len, WAN_1_3B.text_dim)
        text[:, :12] = torch.randn(12, WAN_1_3B.text_dim) * 0.2
        return text


class PeakMemory:
    """The most memory of this process, sampled: all of it, and without the pages of mapped files,
    which can be had back."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.peak_rss_bytes = 0
        self._process = psutil.Process()
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            memory = self._process.memory_info()
            mapped = getattr(memory, "shared", 0)
            self.peak_bytes = max(self.peak_bytes, memory.rss - mapped)
            self.peak_rss_bytes = max(self.peak_rss_bytes, memory.rss)
            time.sleep(0.05)


def write(folder: Path) -> None:
    """In the layout of the published files: under `generator`, with the prefix `model.`."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    state = _random_state(CausalWanModel, WAN_1_3B)
    torch.save({"generator": {f"model.{k}": v for k, v in state.items()}}, folder / DIT_FILE)
    torch.save(_random_state(WanVAE, WAN_VAE), folder / VAE_FILE)


NUM_CHANCES = 1_000_003
"""As many random numbers are drawn, over and over: 1.5e9 would take a quarter of a minute. Prime,
so that no row of a matrix is the one before it."""


def _random_state(kind: type[nn.Module], dims: object) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = kind(dims).state_dict()
    chances = torch.empty(NUM_CHANCES, dtype=torch.bfloat16).normal_(0, 0.02)
    # Norms' gains near 1, all else small: numbers stay finite through 30 blocks.
    return {
        name: torch.ones(meta.shape, dtype=torch.bfloat16)
        if name.endswith(("gamma", "norm_q.weight", "norm_k.weight", "norm3.weight"))
        else _drawn(chances, meta.shape)
        for name, meta in shapes.items()
    }


def _drawn(chances: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A tensor of its own, of these numbers in their order."""
    repeats = -(-shape.numel() // len(chances))
    return chances.repeat(repeats)[: shape.numel()].reshape(shape).clone()


def write_text(folder: Path) -> None:
    """As wide as UMT5-XXL, and one block deep."""
    sizes = UMT5Config(
        vocab_size=96,
        d_model=WAN_1_3B.text_dim,
        d_kv=64,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )
    install_text(folder / "models", write_encoder(folder / "text" / "t5.safetensors", sizes))


def run(folder: Path, dtype: str) -> None:
    """Prints seconds, memory and what the frames are like."""
    memory, began = PeakMemory(), time.monotonic()
    config = Config(engine="wan-1.3b", width=SIDE_PX, height=SIDE_PX, device="cpu", dtype=dtype)
    files = ModelFiles(folder / DIT_FILE, folder / VAE_FILE, None, None, None)
    engine = load_wan_engine(
        config, files, WanFamily(WAN_1_3B), RandomText(), lambda text, done: None
    )
    loaded = time.monotonic()
    loading_peak = memory.peak_bytes
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (5, SIDE_PX, SIDE_PX, 4), dtype=np.uint8)
    frames = [Frame(FrameMeta(SIDE_PX, SIDE_PX), picture) for picture in pixels]
    params = Params(prompt="a", steps=1, noise_s_min=0.7, noise_s_max=0.8)
    first = engine.step(frames[:1], params)
    chunk = engine.step(frames[1:], params)
    report = {
        "load_s": loaded - began,
        "chunks_s": time.monotonic() - loaded,
        "loading_peak_gib": loading_peak / 2**30,
        "peak_gib": memory.peak_bytes / 2**30,
        "max_rss_gib": memory.peak_rss_bytes / 2**30,
        "shapes": [first.frames.shape, chunk.frames.shape],
        "spread": float(chunk.frames[..., :3].std()),
        "spans_ms": chunk.spans_ms,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    elif sys.argv[1] == "text":
        write_text(Path(sys.argv[2]))
    else:
        run(Path(sys.argv[2]), sys.argv[3])
