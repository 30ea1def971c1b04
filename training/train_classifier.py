"""Trains the style classifier of `bench quality` on ground-truth styled procedural frames.

    python -m training.train_classifier [--steps 700] [--seed 7] [--out FILE]

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
POOL_SIZE_PX = 112
POOL_IMAGES = 4000
BATCH = 48


def styled_crops(
    seed: int, num_crops: int, rng: np.random.Generator, size: int
) -> tuple[Tensor, Tensor]:
    """All classes of `num_crops` random crops of one scene: images [B, 3, H, W] and labels [B]."""
    scene = Scene.random(seed)
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


class Pool:
    """The latest styled crops, so that a batch mixes many scenes; oldest make room."""

    def __init__(self, capacity: int) -> None:
        self._images = torch.zeros(capacity, 3, POOL_SIZE_PX, POOL_SIZE_PX, dtype=torch.uint8)
        self._labels = torch.zeros(capacity, dtype=torch.long)
        self._added = 0

    def add(self, images: Tensor, labels: Tensor) -> None:
        places = torch.arange(self._added, self._added + len(labels)) % len(self._labels)
        self._images[places] = (images * 255).round().to(torch.uint8)
        self._labels[places] = labels
        self._added += len(labels)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Random images and labels; the hardest classes, which look like anything, more often."""
        filled = self._labels[: min(self._added, len(self._labels))]
        weight = torch.ones(len(CLASSES))
        weight[CLASSES.index(UNSTYLED)] = 4.0
        weight[CLASSES.index("comic")] = 2.5
        share = weight[filled].double().numpy()
        chosen = torch.from_numpy(rng.choice(len(filled), count, p=share / share.sum()))
        return self._images[chosen].float() / 255, self._labels[chosen]


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
            images, labels = styled_crops(HELD_OUT_SEED + index, 1, rng, 96 + 16 * (index % 3))
            if augmented:
                images = augment(images, rng)
            right[labels] += (net(images).argmax(1) == labels).float()
    net.train()
    share = right / num_scenes
    return float(share.mean()), {name: float(share[i]) for i, name in enumerate(CLASSES)}


def train(steps: int, seed: int) -> StyleNet:
    """A trained net, equal for equal arguments; every other step adds a scene."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = StyleNet(len(CLASSES))
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    pool = Pool(POOL_IMAGES)
    for _ in range(12):
        pool.add(*_new_crops(rng))
    for step in range(steps):
        done = step / steps
        rate = 2e-3 * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate + 1e-5
        if step % 2 == 0:
            pool.add(*_new_crops(rng))
        images, labels = pool.sample(BATCH, rng)
        loss = F.cross_entropy(net(augment(images, rng)), labels, label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0:
            print(f"  {done:4.0%}  step {step}  loss {float(loss.detach()):.3f}", flush=True)
    return net


def _new_crops(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    return styled_crops(int(rng.integers(FIRST_SEED, END_SEED)), 2, rng, POOL_SIZE_PX)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=60, help="held-out scenes for the accuracy")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    options = parser.parse_args()
    began, began_cpu = time.monotonic(), time.process_time()
    print(f"training the style classifier for {options.steps} steps", flush=True)
    net = train(options.steps, options.seed)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - began_cpu
    clean, per_class = accuracy(net, options.scenes, augmented=False)
    degraded, _ = accuracy(net, options.scenes, augmented=True)
    for name, share in per_class.items():
        print(f"  {name:<12}{share:7.1%}")
    print(f"held-out accuracy {clean:.1%}, on degraded frames {degraded:.1%}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "classes": json.dumps(CLASSES),
        "seed": str(options.seed),
        "steps": str(options.steps),
        "seconds": f"{seconds:.0f}",
        "cpu_seconds": f"{cpu_seconds:.0f}",
        "held_out_accuracy": f"{clean:.4f}",
        "held_out_accuracy_degraded": f"{degraded:.4f}",
    }
    weights = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(weights, options.out, metadata)
    num_weights = sum(value.numel() for value in weights.values())
    print(f"{options.out}: {num_weights} weights, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
