"""Periodic colour tiles for the procedural world.

# N tile size in px (a power of two)   C colour channels
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Colour = tuple[float, float, float]

# Colours as cameras see them; ordered dark to light inside a palette.
PHOTO_PALETTES: dict[str, tuple[Colour, ...]] = {
    "foliage": ((0.07, 0.12, 0.05), (0.19, 0.29, 0.10), (0.38, 0.47, 0.18), (0.60, 0.64, 0.33)),
    "earth": ((0.16, 0.11, 0.08), (0.36, 0.26, 0.18), (0.58, 0.46, 0.33), (0.76, 0.66, 0.52)),
    "stone": ((0.20, 0.20, 0.21), (0.42, 0.41, 0.40), (0.62, 0.61, 0.58), (0.80, 0.79, 0.76)),
    "sky": ((0.32, 0.50, 0.76), (0.52, 0.68, 0.87), (0.74, 0.83, 0.92), (0.95, 0.96, 0.97)),
    "dusk": ((0.17, 0.15, 0.30), (0.48, 0.27, 0.40), (0.86, 0.47, 0.34), (0.98, 0.78, 0.52)),
    "water": ((0.04, 0.14, 0.20), (0.10, 0.30, 0.38), (0.30, 0.52, 0.58), (0.70, 0.83, 0.86)),
    "wall": ((0.66, 0.63, 0.58), (0.76, 0.73, 0.68), (0.84, 0.82, 0.78), (0.90, 0.89, 0.86)),
    "wood": ((0.22, 0.12, 0.06), (0.42, 0.25, 0.13), (0.58, 0.38, 0.21), (0.72, 0.53, 0.33)),
    "snow": ((0.58, 0.63, 0.71), (0.76, 0.80, 0.85), (0.89, 0.91, 0.94), (0.98, 0.98, 0.99)),
    "dim": ((0.05, 0.05, 0.06), (0.10, 0.10, 0.12), (0.18, 0.17, 0.18), (0.32, 0.29, 0.27)),
    "cloth": ((0.08, 0.10, 0.22), (0.15, 0.20, 0.38), (0.28, 0.34, 0.52), (0.52, 0.57, 0.68)),
}
SKIN_TONES: tuple[Colour, ...] = (
    (0.94, 0.78, 0.68),
    (0.87, 0.67, 0.54),
    (0.74, 0.53, 0.40),
    (0.55, 0.37, 0.27),
    (0.36, 0.23, 0.17),
)
HAIR_TONES: tuple[Colour, ...] = (
    (0.06, 0.05, 0.05),
    (0.20, 0.12, 0.08),
    (0.42, 0.27, 0.14),
    (0.75, 0.60, 0.36),
    (0.62, 0.61, 0.60),
)
TEXTURE_KINDS = (
    "cloud",
    "cloud",
    "rock",
    "camouflage",
    "plain",
    "gradient",
    "checker",
    "stripes",
    "dots",
    "bricks",
    "fur",
    "blocks",
)


def hsv_to_rgb(hue: float, saturation: float, value: float) -> Colour:
    """Colour of a hue in turns; saturation and value 0..1."""
    k = [(n + hue * 6.0) % 6.0 for n in (5, 3, 1)]
    r, g, b = (value * (1 - saturation * max(0.0, min(x, 4 - x, 1.0))) for x in k)
    return r, g, b


def random_palette(rng: np.random.Generator) -> NDArray[np.float32]:
    """[4, 3] colours 0..1, dark to light: two in three photo-like, the others saturated."""
    if rng.random() < 0.6:
        name = list(PHOTO_PALETTES)[int(rng.integers(len(PHOTO_PALETTES)))]
        base = np.array(PHOTO_PALETTES[name], np.float32)
        return np.clip(base * rng.uniform(0.75, 1.2) + rng.normal(0, 0.025, 3), 0, 1).astype("f4")
    hue, spread = rng.random(), rng.uniform(-0.18, 0.18)
    if rng.random() < 0.25:
        spread = 0.5
    saturation, dark = rng.uniform(0.3, 1.0), rng.uniform(0.05, 0.6)
    values = np.linspace(dark, rng.uniform(max(dark, 0.5), 1.0), 4)
    rows = [hsv_to_rgb(hue + spread * i / 3, saturation, float(v)) for i, v in enumerate(values)]
    return np.array(rows, np.float32)


def tone_palette(tone: Colour, rng: np.random.Generator) -> NDArray[np.float32]:
    """[4, 3] shades around one colour, for skin, hair and lips."""
    shades = np.array([0.78, 0.93, 1.03, 1.12], np.float32)[:, None]
    return np.clip(shades * np.array(tone, np.float32) + rng.normal(0, 0.02, 3), 0, 1).astype("f4")


def power_noise(size: int, slope: float, rng: np.random.Generator, aspect: float = 1.0) -> Tensor:
    """Periodic noise [N, N] with 1/f**slope amplitude (natural images: about 1), 5..95 % in 0..1.

    Wavelengths under 3.5 px are left out: they would alias when the tile moves.
    """
    fy = np.fft.fftfreq(size)[:, None] * aspect
    fx = np.fft.rfftfreq(size)[None, :] / aspect
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1.0
    amplitude = radius ** (-slope) * np.exp(-((np.hypot(fx, fy) * 3.2) ** 4))
    amplitude[0, 0] = 0.0
    spectrum = amplitude * np.exp(2j * np.pi * rng.random(radius.shape))
    field = np.fft.irfft2(spectrum, s=(size, size))
    spread = 3.3 * field.std() + 1e-9
    return torch.from_numpy(np.clip(field / spread + 0.5, 0, 1).astype(np.float32))


def colourise(field_NN: Tensor, palette: NDArray[np.float32]) -> Tensor:
    """The field 0..1 through a piecewise-linear palette: [3, N, N]."""
    table = torch.from_numpy(palette)
    position = field_NN.clamp(0, 1) * (len(table) - 1)
    low = position.floor().clamp(max=len(table) - 2).long()
    fraction = (position - low).unsqueeze(-1)
    colour = table[low] * (1 - fraction) + table[low + 1] * fraction
    return colour.permute(2, 0, 1).contiguous()


def _edge(wave: Tensor, sharpness: float) -> Tensor:
    return torch.sigmoid(wave * sharpness)


def _axes(size: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(size, dtype=torch.float32) / size * 2 * math.pi
    return axis[None, :].expand(size, size), axis[:, None].expand(size, size)


def _noise_pattern(kind: str, size: int, rng: np.random.Generator) -> Tensor | None:
    """The kinds made of noise; None for the others."""
    match kind:
        case "cloud":
            field = power_noise(size, rng.uniform(1.4, 2.1), rng)
        case "rock":
            field = power_noise(size, rng.uniform(0.9, 1.3), rng)
        case "fur":
            field = power_noise(size, 1.2, rng, aspect=float(rng.choice([0.33, 0.5, 2.0, 3.0])))
        case "camouflage":
            base = power_noise(size, 1.7, rng)
            levels = int(rng.integers(2, 5))
            steps = [_edge(base - (i + 0.5) / levels, 40.0) for i in range(levels)]
            field = torch.stack(steps).mean(0)
        case _:
            return None
    return field


def _windows(size: int, cells: int, x: Tensor, y: Tensor) -> Tensor:
    """House fronts: a grid of panes, half of them lit."""
    pane = torch.minimum(torch.sin(x * cells * 2), torch.sin(y * cells * 2))
    lit = torch.rand(cells * 2, cells * 2, generator=torch.Generator().manual_seed(cells))
    repeat = -(-size // (cells * 2))
    glow = lit.repeat_interleave(repeat, 0).repeat_interleave(repeat, 1)[:size, :size]
    return _edge(pane - 0.1, 8.0) * (0.4 + 0.6 * (glow > 0.5)) * 0.9


def _pattern(kind: str, size: int, rng: np.random.Generator) -> Tensor:
    """A scalar field [N, N] 0..1 of the named kind; all are periodic in N."""
    x, y = _axes(size)
    cells = int(rng.integers(2, 7)) * size // 128
    noise = _noise_pattern(kind, size, rng)
    if noise is not None:
        return noise
    match kind:
        case "gradient":
            wave = torch.sin(y + rng.uniform(0, 6.28)) * math.copysign(1, rng.normal())
            field = 0.5 + 0.5 * wave
        case "checker":
            field = _edge(torch.sin(x * cells) * torch.sin(y * cells), 9.0)
        case "stripes":
            kx, ky = int(rng.integers(-cells, cells + 1)), int(rng.integers(1, cells + 1))
            field = _edge(torch.sin(x * kx + y * ky) + rng.uniform(-0.4, 0.4), 6.0)
        case "dots":
            field = _edge(torch.cos(x * cells) + torch.cos(y * cells) - rng.uniform(0.4, 1.0), 5.0)
        case "bricks":
            rows = _edge(torch.cos(y * cells * 2) - 0.8, 12.0)
            odd = _edge(torch.sin(y * cells), 20.0)
            columns = _edge(torch.cos(x * cells + odd * math.pi) - 0.9, 16.0)
            field = 1 - torch.maximum(rows, columns)
        case "windows":
            field = _windows(size, cells, x, y)
        case "blocks":
            values = torch.from_numpy(rng.random((8, 8)).astype(np.float32))
            field = values.repeat_interleave(size // 8, 0).repeat_interleave(size // 8, 1)
        case _:
            assert kind == "plain", f"unknown texture {kind}"
            field = torch.full((size, size), rng.uniform(0.2, 0.8))
    return field


def make_tile(
    kind: str, size: int, palette: NDArray[np.float32], rng: np.random.Generator
) -> Tensor:
    """A periodic tile [3, N, N], 0..1: the kind's pattern in the palette, plus fine detail."""
    field = _pattern(kind, size, rng)
    detail = power_noise(size, rng.uniform(0.8, 1.5), rng) - 0.5
    amount = rng.uniform(0.0, 0.06) if kind in ("plain", "gradient") else rng.uniform(0.0, 0.2)
    tint = torch.from_numpy(rng.normal(0, 0.15, 3).astype(np.float32))[:, None, None]
    return (colourise(field + 0.5 * amount * detail, palette) + amount * detail * (1 + tint)).clamp(
        0, 1
    )
