"""Trains the style classifier of `bench quality` on ground-truth styled procedural frames.

    python -m training.train_classifier [--minutes 5] [--seed 7] [--out FILE]

Its scenes are seeds 1,000,000 to 1,999,999: neither the generator's (below 1,000,000) nor the
held-out ones (9,000,000 and above), on which the accuracy it prints is measured.

# B images   C channels   H W size in px
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from sdv2_host.bench.classifier import CLASSES, StyleNet
from sdv2_host.bench.prompts import UNSTYLED
from sdv2_host.bench.styles import PERIOD_PX, STYLES
from sdv2_host.bench.world import Scene

SCENE_SIZE_PX = 256
FIRST_SEED, END_SEED = 1_000_000, 2_000_000
HELD_OUT_SEED = 9_500_000
DEFAULT_OUT = Path("sdv2_host/assets/tiny/classifier.safetensors")
SIZES_PX = (96, 112, 128)


def styled_crops(seed: int, num_crops: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """All classes of `num_crops` random crops of one scene: images [B, 3, H, W] and labels [B]."""
    scene = Scene.random(seed)
    size = int(rng.choice(SIZES_PX))
    frames = []
    for _ in range(num_crops):
        places = (SCENE_SIZE_PX - size) // PERIOD_PX + 1
        y, x = (int(v) * PERIOD_PX for v in rng.integers(0, places, 2))
        start = round(rng.uniform(0, 20) * 30) / 30
        clip = scene.render(1, SCENE_SIZE_PX, SCENE_SIZE_PX, start=start, crop=(y, x, size, size))
        frames.append(clip.rgb_T3HW)
    source = torch.cat(frames)
    images = [style.fn(source) for style in STYLES.values()] + [source]
    labels = torch.arange(len(CLASSES)).repeat_interleave(num_crops)
    return torch.cat(images), labels


def _with_doubles(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The batch with its hardest classes twice more: sources look like anything."""
    hard = (labels == CLASSES.index(UNSTYLED)) | (labels == CLASSES.index("comic"))
    return (
        torch.cat((images, images[hard], images[hard])),
        torch.cat((labels, labels[hard], labels[hard])),
    )


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """What a small decoder does to a picture: blur, lost detail, grain, a shift in light."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))

    def per_image(low: float, high: float, share: float = 1.0) -> Tensor:
        value = torch.rand(len(images), 1, 1, 1, generator=generator) * (high - low) + low
        chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < share
        return torch.where(chosen, value, torch.zeros_like(value))

    height, width = images.shape[-2:]
    for factor, share in ((2, 0.5), (4, 0.3)):
        small = F.avg_pool2d(images, factor)
        coarse = F.interpolate(small, size=(height, width), mode="bilinear")
        images = images + (coarse - images) * per_image(0.0, 0.9 if factor == 2 else 0.6, share)
    bank = torch.randn(6, *images.shape[1:], generator=generator)
    grain = bank[torch.randint(len(bank), (len(images),), generator=generator)]
    lumps = torch.randn(len(images), 3, height // 4, width // 4, generator=generator)
    lumps = F.interpolate(lumps, size=(height, width), mode="bilinear")
    images = images + grain * per_image(0.0, 0.05, 0.6) + lumps * per_image(0.0, 0.05, 0.5)
    contrast, light = 1 + per_image(-0.2, 0.15), per_image(-0.08, 0.08)
    images = (images - 0.5) * contrast + 0.5 + light
    # 8x8 blocks that are a little off, as compressed video has.
    blocks = torch.randn(len(images), 3, -(-height // 8), -(-width // 8), generator=generator)
    blocks = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :height, :width]
    return (images + blocks * per_image(0.0, 0.025, 0.3)).clamp(0, 1)


def accuracy(net: StyleNet, num_scenes: int, augmented: bool) -> tuple[float, dict[str, float]]:
    """Share of held-out frames named right, in all and per class."""
    rng = np.random.default_rng(5)
    right = torch.zeros(len(CLASSES))
    net.eval()
    with torch.no_grad():
        for index in range(num_scenes):
            images, labels = styled_crops(HELD_OUT_SEED + index, 1, rng)
            if augmented:
                images = augment(images, rng)
            right[labels] += (net(images).argmax(1) == labels).float()
    net.train()
    share = right / num_scenes
    return float(share.mean()), {name: float(share[i]) for i, name in enumerate(CLASSES)}


def train(minutes: float, seed: int) -> tuple[StyleNet, int]:
    """A net trained for the given time; one scene, three crops, all classes per step."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = StyleNet(len(CLASSES))
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    begin, step = time.monotonic(), 0
    while (done := (time.monotonic() - begin) / (60 * minutes)) < 1:
        rate = 2e-3 * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * min(done, 1)))
        for group in optimiser.param_groups:
            group["lr"] = rate + 1e-5
        images, labels = styled_crops(int(rng.integers(FIRST_SEED, END_SEED)), 3, rng)
        images, labels = _with_doubles(images, labels)
        loss = F.cross_entropy(net(augment(images, rng)), labels, label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step % 50 == 0:
            print(f"  {done:4.0%}  step {step}  loss {float(loss.detach()):.3f}", flush=True)
        step += 1
    return net, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=60, help="held-out scenes for the accuracy")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    options = parser.parse_args()
    print(f"training the style classifier for {options.minutes:g} minutes", flush=True)
    net, steps = train(options.minutes, options.seed)
    clean, per_class = accuracy(net, options.scenes, augmented=False)
    degraded, _ = accuracy(net, options.scenes, augmented=True)
    for name, share in per_class.items():
        print(f"  {name:<12}{share:7.1%}")
    print(f"held-out accuracy {clean:.1%}, on degraded frames {degraded:.1%}, steps {steps}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "classes": json.dumps(CLASSES),
        "seed": str(options.seed),
        "steps": str(steps),
        "minutes": str(options.minutes),
        "held_out_accuracy": f"{clean:.4f}",
        "held_out_accuracy_degraded": f"{degraded:.4f}",
    }
    weights = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(weights, options.out, metadata)
    num_weights = sum(value.numel() for value in weights.values())
    print(f"{options.out}: {num_weights} weights, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
