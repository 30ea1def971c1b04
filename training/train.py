"""Makes the embedded model from nothing: `python -m training.train [--minutes N] [--out FILE]`.

Renders procedural clips, trains the autoencoder while more of them come, encodes them in styles,
trains the DiT with its text encoder, makes it indifferent to resets of positions, polishes the
decoder, and writes one file. A part that gets 0 minutes is left out. On an accelerator if there is
one: about ten minutes; on a CPU give it small batches and many hours.
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
from sdv2_host.wan.tiny_weights import TINY_PATH, TinyModels, load_tiny, save_tiny
from training import jumps
from training.data import Encoded, Renderer, encode_variants
from training.optim import Limit
from training.polish import make_pairs, polish
from training.train_dit import Stage, Student, train_dit
from training.train_vae import train_vae

SIDE_PX = 256
SEED = 2026


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=TINY_PATH)
    parser.add_argument(
        "--start", type=Path, help="a model to go on from, its autoencoder as it is"
    )
    parser.add_argument("--first-seed", type=int, default=0, help="of the clips' scenes")
    parser.add_argument("--clips", type=int, default=2500)
    parser.add_argument("--vae-clips", type=int, default=800, help="the autoencoder begins with")
    parser.add_argument("--styles-per-clip", type=int, default=6)
    parser.add_argument("--vae-batch", type=int, default=64)
    parser.add_argument("--vae-steps", type=int, default=20_000)
    parser.add_argument("--vae-minutes", type=float, default=1.7, help="limit for the autoencoder")
    parser.add_argument(
        "--batch", type=int, default=128, help="clips of 128 px; of 256 px a fourth"
    )
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--minutes", type=float, default=5.5, help="limit for the DiT")
    parser.add_argument("--pixel-weight", type=float, default=0.5)
    parser.add_argument("--jump-batch", type=int, default=64, help="clips of 128 px")
    parser.add_argument("--jump-minutes", type=float, default=0.5, help="limit for the resets")
    parser.add_argument("--polish-clips", type=int, default=400)
    parser.add_argument("--polish-batch", type=int, default=16)
    parser.add_argument("--polish-minutes", type=float, default=0.5, help="limit for the decoder")
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 2) - 2, 1))
    options = parser.parse_args()
    if not options.minutes and options.start is None:
        parser.error("--minutes 0 leaves no DiT: give --start FILE to go on from")
    if options.jump_batch < jumps.FEWEST:
        parser.error(f"--jump-batch {options.jump_batch} is too few: at least {jumps.FEWEST}")
    return options


def card(options: argparse.Namespace, device: torch.device, began: float) -> dict[str, Any]:
    """What is written into the weight file about how it came to be."""
    is_cuda = device.type == "cuda"
    return {
        "name": "sdv2-host tiny",
        "licence": "Apache-2.0",
        "styles": {name: style.prompt for name, style in STYLES.items()},
        "data": f"{options.clips} procedural clips of {SIDE_PX} px, 18 frames each, in "
        f"{options.styles_per_clip} styles, no real footage",
        "vae_minutes": options.vae_minutes,
        "dit_minutes": options.minutes,
        "jump_minutes": options.jump_minutes,
        "polish_minutes": options.polish_minutes,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "hardware": torch.cuda.get_device_name(device)
        if is_cuda
        else f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "torch": torch.__version__,
        "seed": SEED,
    }


def models_of(path: Path, device: torch.device) -> tuple[Student, TinyVAE]:
    """What a model file holds, to be trained on; the spread of its latents may have been other."""
    loaded = load_tiny(path)
    student, vae = Student(), TinyVAE(TINY_VAE)
    student.dit.load_state_dict(loaded.dit.state_dict())
    student.text.load_state_dict(loaded.text.state_dict())
    vae.load_state_dict(loaded.vae.state_dict())
    vae.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return student, vae.eval().requires_grad_(False)


def main() -> None:
    options = arguments()
    torch.set_flush_denormal(True)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:.0f} s] {text}", flush=True)

    renderer = Renderer(options.clips, SIDE_PX, options.first_seed, options.workers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    start: Student | None = None
    if options.start is None:
        clips = renderer.wait(options.vae_clips).to(device)
        say(f"{len(clips)} clips, training the autoencoder")
        limit = Limit(options.vae_minutes, options.vae_steps)
        vae = train_vae(clips, options.vae_batch, limit, SEED)
        del clips
    else:
        start, vae = models_of(options.start, device)
    # Every odd last batch of a style would be benchmarked anew.
    torch.backends.cudnn.benchmark = False
    clips = renderer.wait(options.clips)
    say(f"{len(clips)} clips, encoding them")
    encoded = encode_variants(vae, clips, options.styles_per_clip, SEED, device)
    torch.backends.cudnn.benchmark = True
    if options.minutes:
        say("training the DiT")
        small, large = (options.batch, 16), (max(options.batch // 4, 1), 32)
        stages = [Stage(0.55, (small,)), Stage(1.0, (small, large))]
        limit = Limit(options.minutes, options.steps)
        start = train_dit(vae, encoded, stages, limit, SEED, options.pixel_weight, start)
    assert start is not None, "neither trained nor given"
    student = start
    if options.jump_minutes:
        say("making it indifferent to resets")
        student = jumps.learn_jumps(
            student, encoded, options.jump_batch, Limit(options.jump_minutes), SEED
        )
    if options.polish_minutes:
        say("polishing the decoder")
        few = min(options.clips, options.polish_clips)
        part = Encoded(encoded.latents_NVFCHW[:few], encoded.styles_NV[:few])
        pairs = make_pairs(student, clips[:few], part, SEED)
        vae = polish(vae, pairs, options.polish_batch, options.polish_minutes, SEED)
    models = TinyModels(student.dit, vae, student.text, card(options, device, began))
    save_tiny(models, options.out)
    say(f"wrote {options.out}")
    print(json.dumps(models.card, indent=1))


if __name__ == "__main__":
    main()
