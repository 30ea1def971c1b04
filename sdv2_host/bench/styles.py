"""Ground-truth styles: pure functions of one frame's pixels, fixed to the screen, the same in time.

Each is meant to be named at first sight, and to be drawable by a model that sees the picture at
1/8 resolution in 2x2 patches and knows relative places only: lines of 2 px and more, patterns of
8 or 16 px period from the frame's corner. So crops must start at multiples of `PERIOD_PX` for a
crop's style to be the style's crop (but for `REACH_PX` at its edges).

# T frames   C channels (3, or 1 for scalar fields)   H W size in px
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

REACH_PX = 14
"""No style looks farther than this (neighbourhood of a pixel)."""
GRID_PX = 8
PERIOD_PX = 16
"""All screen-fixed patterns repeat after this."""
LUMA = (0.299, 0.587, 0.114)
Ramp = tuple[tuple[float, float, float, float], ...]
"""Colour stops (position, r, g, b), positions ascending from 0 to 1."""

THERMAL: Ramp = (
    (0.0, 0.02, 0.0, 0.22),
    (0.2, 0.22, 0.0, 0.72),
    (0.38, 0.0, 0.55, 0.85),
    (0.52, 0.1, 0.82, 0.2),
    (0.66, 0.98, 0.92, 0.05),
    (0.82, 1.0, 0.25, 0.0),
    (1.0, 1.0, 0.92, 0.9),
)
FIRE: Ramp = (
    (0.0, 0.04, 0.0, 0.0),
    (0.3, 0.45, 0.02, 0.0),
    (0.55, 0.95, 0.28, 0.0),
    (0.8, 1.0, 0.72, 0.08),
    (1.0, 1.0, 0.97, 0.72),
)
GOLD: Ramp = (
    (0.0, 0.10, 0.05, 0.0),
    (0.3, 0.52, 0.32, 0.04),
    (0.6, 0.88, 0.66, 0.16),
    (0.85, 1.0, 0.90, 0.50),
    (1.0, 1.0, 0.98, 0.84),
)
VAPOR: Ramp = (
    (0.0, 0.16, 0.04, 0.36),
    (0.33, 0.78, 0.12, 0.70),
    (0.6, 1.0, 0.48, 0.80),
    (0.82, 0.30, 0.88, 0.96),
    (1.0, 0.86, 1.0, 1.0),
)
NIGHT: Ramp = (
    (0.0, 0.0, 0.01, 0.06),
    (0.5, 0.06, 0.14, 0.34),
    (0.85, 0.24, 0.40, 0.68),
    (1.0, 0.62, 0.76, 0.95),
)
SEPIA: Ramp = ((0.0, 0.13, 0.07, 0.03), (0.5, 0.56, 0.40, 0.25), (1.0, 0.98, 0.90, 0.74))


def _luma(rgb_T3HW: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, device=rgb_T3HW.device, dtype=rgb_T3HW.dtype)
    return (rgb_T3HW * weights[:, None, None]).sum(1, keepdim=True)


def _box(x_TCHW: Tensor, radius: int) -> Tensor:
    """Mean over a (2 radius + 1) px square; edges repeated."""
    height, width = x_TCHW.shape[-2:]
    padded = F.pad(x_TCHW, (radius,) * 4, mode="replicate")
    # Shifted adds: three times as fast as avg_pool2d on a CPU.
    rows = padded[..., :width].clone()
    for shift in range(1, 2 * radius + 1):
        rows += padded[..., shift : shift + width]
    total = rows[..., :height, :].clone()
    for shift in range(1, 2 * radius + 1):
        total += rows[..., shift : shift + height, :]
    return total.mul_(1.0 / (2 * radius + 1) ** 2)


def _grow(x_T1HW: Tensor) -> Tensor:
    """Each pixel becomes the largest of its 3x3 neighbours."""
    return F.max_pool2d(x_T1HW, 3, 1, 1)


def _step(x: Tensor, edge: float, softness: float) -> Tensor:
    """0 below, 1 above the edge, a straight ramp of the given width between: steady in motion."""
    return ((x - edge) / softness + 0.5).clamp(0, 1)


def _gradient(x_TCHW: Tensor) -> Tensor:
    """Length of the gradient of each channel, central differences of neighbours two apart."""
    padded = F.pad(x_TCHW, (1,) * 4, mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return torch.sqrt(dx * dx + dy * dy + 1e-8)


def _lines(rgb_T3HW: Tensor, threshold: float, blur: int = 2) -> Tensor:
    """Outlines [T, 1, H, W] 0..1, 3 px wide or more: where the smoothed picture changes fast."""
    smooth = _box(_box(rgb_T3HW, blur), 1)
    strength = _gradient(smooth).amax(1, keepdim=True)
    return _box(_step(strength, threshold, 0.7 * threshold), 1)


def _ramp(value_T1HW: Tensor, ramp: Ramp) -> Tensor:
    """A gradient map: value 0..1 through the colour stops, [T, 3, H, W]."""
    table = torch.tensor(ramp, device=value_T1HW.device, dtype=value_T1HW.dtype)
    value = value_T1HW.clamp(0, 1)
    out = table[0, 1:, None, None].expand(value.shape[0], 3, *value.shape[2:]).clone()
    for low, high in itertools.pairwise(table):
        share = ((value - low[0]) / (high[0] - low[0])).clamp(0, 1)
        out += share * (high[1:] - low[1:])[:, None, None]
    return out


def _saturate(rgb_T3HW: Tensor, amount: float) -> Tensor:
    grey = _luma(rgb_T3HW)
    return (grey + (rgb_T3HW - grey) * amount).clamp(0, 1)


def _posterise(x: Tensor, levels: int, softness: float = 0.25) -> Tensor:
    """Steps with short ramps between (hard steps would flicker on moving noise)."""
    scaled = x.clamp(0, 1) * levels
    base = (scaled - 0.5).floor()
    return ((base + _step(scaled - base, 1.0, softness)) / levels).clamp(0, 1)


def _colour(r: float, g: float, b: float, like: Tensor) -> Tensor:
    return torch.tensor((r, g, b), device=like.device, dtype=like.dtype)[:, None, None]


def _mix(a: Tensor, b: Tensor, share_T1HW: Tensor) -> Tensor:
    return a + (b - a) * share_T1HW


def _screen(like: Tensor, kind: str) -> Tensor:
    """A screen-fixed pattern [H, W] 0..1 with an 8-px period."""
    x = torch.arange(like.shape[-1], device=like.device, dtype=like.dtype)
    y = torch.arange(like.shape[-2], device=like.device, dtype=like.dtype)[:, None]
    if kind == "hatch":
        return 1 - ((x + y) % GRID_PX - 3.5).abs() / 4
    if kind == "scan":
        return (1 - ((y % GRID_PX) - 3.5).abs() / 4).expand(like.shape[-2:])
    dx, dy = x % GRID_PX - 3.5, y % GRID_PX - 3.5
    return 1 - torch.hypot(dx, dy) / 5.0


def _kuwahara(rgb_T3HW: Tensor, radius: int) -> Tensor:
    """Edge-keeping smoothing: mean of the calmest of four corner windows, chosen softly."""
    pad = radius
    mean = _box(F.pad(rgb_T3HW, (pad,) * 4, mode="replicate"), radius // 2)
    luma = F.pad(_luma(rgb_T3HW), (pad,) * 4, mode="replicate")
    variance = _box(luma * luma, radius // 2) - _box(luma, radius // 2) ** 2
    height, width = rgb_T3HW.shape[-2:]
    shift = (radius + 1) // 2
    total = torch.zeros_like(rgb_T3HW)
    weight = torch.zeros_like(rgb_T3HW[:, :1])
    for dy in (-shift, shift):
        for dx in (-shift, shift):
            rows = slice(pad + dy, pad + dy + height)
            columns = slice(pad + dx, pad + dx + width)
            calm = 1 / (variance[..., rows, columns].clamp(min=0) + 4e-4) ** 2
            total += mean[..., rows, columns] * calm
            weight += calm
    return total / weight


def watercolor(rgb_T3HW: Tensor) -> Tensor:
    """Flat pale washes on grained paper, pigment gathered at their edges."""
    wash = _saturate(_kuwahara(_box(rgb_T3HW, 1), 6), 1.7)
    x = torch.arange(wash.shape[-1], device=wash.device, dtype=wash.dtype) * (math.pi / 8)
    y = torch.arange(wash.shape[-2], device=wash.device, dtype=wash.dtype)[:, None] * (math.pi / 8)
    grain = torch.sin(x + 2 * torch.sin(y)) * torch.sin(y + 2 * torch.sin(x))
    pale = 1 - (1 - wash) * (0.5 + 0.05 * grain)
    edge = _lines(wash, 0.07, 1)
    tinted = pale * _colour(1.0, 0.985, 0.93, pale)
    return (tinted * (1 - 0.5 * edge * (1.1 - wash))).clamp(0, 1)


def pencil(rgb_T3HW: Tensor) -> Tensor:
    """Graphite outlines on white paper, diagonal hatching in the shade."""
    lines = _lines(rgb_T3HW, 0.075)
    shade = _step(0.42 - _box(_luma(rgb_T3HW), 2), 0.05, 0.2)
    hatch = _step(_screen(rgb_T3HW, "hatch"), 0.55, 0.5) * shade
    ink = torch.maximum(lines * 0.85, hatch * 0.42)
    return (0.97 - ink).clamp(0, 1) * _colour(1.0, 1.0, 0.99, rgb_T3HW)


def neon(rgb_T3HW: Tensor) -> Tensor:
    """Glowing tubes in the colour of what they outline, on black."""
    lines = _grow(_lines(rgb_T3HW, 0.07))
    smooth = _box(rgb_T3HW, 3)
    peak = smooth.amax(1, keepdim=True)
    low = smooth.amin(1, keepdim=True)
    hue = (smooth - low) / (peak - low + 0.02)
    faint = 1 - _step(peak - low, 0.06, 0.08)
    hue = _mix(hue, _colour(0.1, 0.75, 1.0, hue).expand_as(hue), faint)
    glow = _box(_box(lines, 4), 3)
    light = hue * (lines * 1.0 + 0.75 * glow) + 0.35 * lines * lines
    return (light + _colour(0.02, 0.0, 0.05, light)).clamp(0, 1)


def comic(rgb_T3HW: Tensor) -> Tensor:
    """Flat loud colours in few steps, black outlines."""
    smooth = _kuwahara(rgb_T3HW, 4)
    grey = _luma(smooth)
    tone = 0.16 + 0.84 * _posterise(grey.clamp(0, 1) ** 0.8 * 1.1, 4)
    flat = _saturate((smooth * (tone / (grey + 0.03))).clamp(0, 1), 1.9)
    return flat * (1 - _lines(smooth, 0.08, 1))


def mosaic(rgb_T3HW: Tensor) -> Tensor:
    """Square tiles of one colour, 8 px each, with dark joints."""
    height, width = rgb_T3HW.shape[-2:]
    cells = F.avg_pool2d(rgb_T3HW, GRID_PX, ceil_mode=True)
    blocks = cells.repeat_interleave(GRID_PX, -1).repeat_interleave(GRID_PX, -2)
    x = (torch.arange(width, device=rgb_T3HW.device) + 1) % GRID_PX < 2
    y = (torch.arange(height, device=rgb_T3HW.device)[:, None] + 1) % GRID_PX < 2
    joint = 1 - 0.5 * (x | y).to(rgb_T3HW.dtype)
    return _saturate(0.06 + 0.94 * blocks[..., :height, :width], 1.5) * joint


def noir(rgb_T3HW: Tensor) -> Tensor:
    """Black and white, hard light: an S-curve."""
    grey = _box(_luma(rgb_T3HW), 1)
    curve = torch.sigmoid((grey - 0.42) * 11)
    return curve.expand(-1, 3, -1, -1).contiguous()


def sepia(rgb_T3HW: Tensor) -> Tensor:
    """An old brown photograph."""
    return _ramp((_luma(rgb_T3HW) - 0.5) * 0.95 + 0.52, SEPIA)


def thermal(rgb_T3HW: Tensor) -> Tensor:
    """A heat camera: violet, blue, green, yellow, red, white."""
    return _ramp((_box(_luma(rgb_T3HW), 2) - 0.5) * 1.15 + 0.5, THERMAL)


def blueprint(rgb_T3HW: Tensor) -> Tensor:
    """White drafting lines on blue."""
    lines = _lines(rgb_T3HW, 0.07)
    x = torch.arange(rgb_T3HW.shape[-1], device=rgb_T3HW.device)
    y = torch.arange(rgb_T3HW.shape[-2], device=rgb_T3HW.device)[:, None]
    sheet = ((x % 16 < 2) | (y % 16 < 2)).to(rgb_T3HW.dtype) * 0.09
    base = _colour(0.05, 0.22, 0.55, rgb_T3HW) * (0.8 + 0.35 * _box(_luma(rgb_T3HW), 3))
    return _mix(base + sheet, _colour(0.93, 0.97, 1.0, base), lines).clamp(0, 1)


def gold(rgb_T3HW: Tensor) -> Tensor:
    """Polished gold: light that bands as metal does."""
    grey = _box(_luma(rgb_T3HW), 1)
    shine = 0.5 + 0.5 * torch.sin(grey * 11.0 - 1.2)
    return _ramp(0.55 * grey + 0.45 * shine, GOLD)


def night(rgb_T3HW: Tensor) -> Tensor:
    """Moonlight: dark and blue."""
    moon = _ramp(_luma(rgb_T3HW) * 0.92, NIGHT)
    return (moon + 0.10 * (rgb_T3HW - _luma(rgb_T3HW))).clamp(0, 1)


def vaporwave(rgb_T3HW: Tensor) -> Tensor:
    """Purple shadows, pink middle, cyan light."""
    return _ramp((_luma(rgb_T3HW) - 0.5) * 1.25 + 0.5, VAPOR)


def fire(rgb_T3HW: Tensor) -> Tensor:
    """Lava: black, red, orange, yellow."""
    return _ramp((_box(_luma(rgb_T3HW), 1) - 0.5) * 1.2 + 0.48, FIRE)


def matrix(rgb_T3HW: Tensor) -> Tensor:
    """A green phosphor screen with scan lines."""
    grey = _luma(rgb_T3HW) + 0.5 * _lines(rgb_T3HW, 0.1)
    lit = (grey * 1.15 - 0.12).clamp(0, 1)
    lit = lit * (0.3 + 0.85 * _step(_screen(rgb_T3HW, "scan"), 0.5, 0.6))
    return torch.cat((lit**2.2 * 0.55, lit * 1.05, lit**1.8 * 0.5), 1).clamp(0, 1)


def popart(rgb_T3HW: Tensor) -> Tensor:
    """Red halftone dots on yellow, ink-blue shade: a screen print."""
    grey = _box(_luma(rgb_T3HW), 2)
    dots = _step(_screen(rgb_T3HW, "dots") - 1.15 * grey.clamp(0.12, 0.8) + 0.5, 0.5, 0.3)
    paper = _colour(1.0, 0.86, 0.12, rgb_T3HW).expand_as(rgb_T3HW)
    print_ = _mix(paper, _colour(0.95, 0.10, 0.38, paper), dots)
    shade = _step(0.13 - grey, 0.0, 0.08)
    return _mix(print_, _colour(0.10, 0.08, 0.42, paper), shade)


def woodcut(rgb_T3HW: Tensor) -> Tensor:
    """Black ink on cream paper, nothing between; middle tones carved in level strokes."""
    grey = _box(_box(_luma(rgb_T3HW), 2), 1)
    stroke = (_screen(rgb_T3HW, "scan") - 0.5) * 0.34
    level = 0.2 + 0.5 * _box(grey, 8)
    ink = _step(level - grey + stroke, 0.0, 0.12)
    return _mix(_colour(0.96, 0.90, 0.76, grey), _colour(0.07, 0.05, 0.05, grey), ink)


@dataclass(frozen=True, slots=True)
class Style:
    """A look with a name: `fn` maps rgb [T, 3, H, W] 0..1 to the same shape and range."""

    name: str
    title: str
    prompt: str
    """The plainest words for it."""
    fn: Callable[[Tensor], Tensor]


_ALL = (
    Style("watercolor", "Watercolour", "watercolor painting", watercolor),
    Style("pencil", "Pencil sketch", "pencil sketch", pencil),
    Style("neon", "Neon outlines", "neon lights", neon),
    Style("comic", "Comic", "comic book", comic),
    Style("mosaic", "Mosaic", "pixel mosaic", mosaic),
    Style("noir", "Film noir", "film noir", noir),
    Style("sepia", "Sepia", "sepia photograph", sepia),
    Style("thermal", "Thermal camera", "thermal camera", thermal),
    Style("blueprint", "Blueprint", "blueprint drawing", blueprint),
    Style("gold", "Gold", "polished gold", gold),
    Style("night", "Moonlight", "moonlit night", night),
    Style("vaporwave", "Vaporwave", "vaporwave", vaporwave),
    Style("fire", "Fire", "fire and lava", fire),
    Style("matrix", "Green screen terminal", "green matrix terminal", matrix),
    Style("popart", "Pop art", "pop art print", popart),
    Style("woodcut", "Woodcut", "woodcut print", woodcut),
)
STYLES: dict[str, Style] = {style.name: style for style in _ALL}
