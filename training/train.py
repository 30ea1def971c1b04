"""Makes the embedded model from nothing: `python -m training.train [--work DIR] [--minutes N]`.

Renders procedural clips, trains the autoencoder, encodes the clips in every style, trains the
DiT with its text encoder, polishes the decoder, and writes sdv2_host/assets/tiny/tiny.safetensors.
Clips, autoencoder and latents stay in the work folder, so an interrupted run does not begin anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from sdv2_host.bench.styles import STYLES
from sdv2_host.wan.dims import TINY_VAE
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.tiny_weights import TINY_PATH, TinyModels, save_tiny
from training.data import encode_all, render_all
from training.polish import make_pairs, polish
from training.train_dit import Stage, Student, train_dit
from training.train_vae import train_vae

SMALL_PX, LARGE_PX = 128, 256
SEED = 2026


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "work")
    parser.add_argument("--out", type=Path, default=TINY_PATH)
    parser.add_argument("--small-clips", type=int, default=1300)
    parser.add_argument("--large-clips", type=int, default=110)
    parser.add_argument("--vae-steps", type=int, default=2600)
    parser.add_argument("--dit-steps", type=int, default=9000)
    parser.add_argument("--vae-minutes", type=float, default=13, help="limit for the autoencoder")
    parser.add_argument("--polish-minutes", type=float, default=8, help="limit for the decoder")
    parser.add_argument("--minutes", type=float, default=55, help="limit for the DiT")
    return parser.parse_args()


def autoencoder(options: argparse.Namespace, clips: Path) -> TinyVAE:
    """The trained autoencoder, from the work folder if it is there."""
    path = options.work / "vae.pt"
    if path.exists():
        vae = TinyVAE(TINY_VAE)
        vae.load_state_dict(torch.load(path, weights_only=True))
        vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        vae.eval().requires_grad_(False)
        return vae
    vae = train_vae(clips, options.vae_steps, options.vae_minutes, SEED)
    torch.save(vae.state_dict(), path)
    return vae


def card(options: argparse.Namespace, began: float) -> dict[str, Any]:
    """What is written into the weight file about how it came to be."""
    return {
        "name": "sdv2-host tiny",
        "licence": "Apache-2.0",
        "styles": {name: style.prompt for name, style in STYLES.items()},
        "data": f"{options.small_clips} procedural clips of {SMALL_PX} px, "
        f"{options.large_clips} of {LARGE_PX} px, 18 frames each, no real footage",
        "vae_steps": options.vae_steps,
        "dit_steps_at_most": options.dit_steps,
        "dit_minutes_at_most": options.minutes,
        "polish_minutes": options.polish_minutes,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "torch": torch.__version__,
        "seed": SEED,
    }


def main() -> None:
    options = arguments()
    torch.set_flush_denormal(True)
    began = time.monotonic()
    small = render_all(options.work, options.small_clips, SMALL_PX, first_seed=0)
    vae = autoencoder(options, small)
    large = render_all(options.work, options.large_clips, LARGE_PX, first_seed=500_000)
    small_latents = encode_all(vae, small, styles_per_clip=3, seed=SEED)
    large_latents = encode_all(vae, large, styles_per_clip=3, seed=SEED + 1)

    def save(student: Student, path: Path) -> None:
        save_tiny(TinyModels(student.dit, vae, student.text, card(options, began)), path)

    steps = options.dit_steps
    stages = [
        Stage(small_latents, round(steps * 0.25), batch=16, cells=8),
        Stage(small_latents, round(steps * 0.45), batch=8, cells=12),
        Stage(small_latents, round(steps * 0.20), batch=8, cells=16, pixel_weight=0.2),
        Stage(large_latents, round(steps * 0.10), batch=2, cells=32, pixel_weight=0.2),
    ]
    checkpoint = options.work / "checkpoint.safetensors"
    student = train_dit(
        vae, stages, SEED, options.minutes, on_checkpoint=lambda s: save(s, checkpoint)
    )
    pairs = make_pairs(student, small, small_latents, min(options.small_clips, 700), SEED)
    vae = polish(vae, pairs, options.polish_minutes, SEED)
    save(student, options.out)
    print(json.dumps(card(options, began), indent=1))


if __name__ == "__main__":
    main()
