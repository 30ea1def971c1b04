"""The camera of a scene: where it looks, its light, lens and sensor, and its grid of pixels.

# T frames   H W size in px
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdv2_host.bench.sprites import Motion

UNITS_HIGH = 256
MARGIN_PX = 1
"""Pixels rendered around a crop, for the lens blur."""
NOISE_TILE = 256


class Crop(NamedTuple):
    """Window of the full picture, px."""

    y: int
    x: int
    height: int
    width: int


class Grid(NamedTuple):
    """Pixel centres of the rendered window in units, and px per unit."""

    x_W: Tensor
    y_H: Tensor
    px_per_unit: float


@dataclass(frozen=True, slots=True)
class Look:
    """The camera's picture: exposure, light, lens and sensor."""

    gain_3: tuple[float, float, float]
    contrast: float
    saturation: float
    vignette: float
    light: complex
    """Direction the light comes from, unit length."""
    light_slope: float
    blur: float
    """Weight of each neighbour in the 3-tap lens blur."""
    noise: float
    """Standard deviation of the sensor noise."""
    noise_seed: int


def random_camera(rng: np.random.Generator, speed: float) -> Motion:
    """A camera that pans, rocks, zooms and sometimes shakes, as lively as the scene's shapes."""
    calm = min(speed, 160.0) * float(rng.uniform(0, 1.0)) * (rng.random() < 0.75)
    reach_x, reach_y = rng.uniform(10, 60, 2)
    moving = calm > 0
    return Motion(
        centre=0j,
        amplitude=complex(reach_x, 0.6 * reach_y) if moving else 0j,
        rate_x=calm / reach_x,
        rate_y=calm / reach_y * rng.uniform(0.3, 1.0),
        phase_x=rng.uniform(0, 2 * math.pi),
        phase_y=rng.uniform(0, 2 * math.pi),
        rock=rng.uniform(0, 0.12) * moving,
        rock_rate=rng.uniform(0.3, 1.5),
        zoom=rng.uniform(0, 0.15) * moving,
        zoom_rate=rng.uniform(0.3, 1.5),
        log_scale=rng.uniform(-0.1, 0.25),
        shake=rng.uniform(0.2, 1.6) * (rng.random() < 0.15),
    )


def random_look(rng: np.random.Generator, seed: int) -> Look:
    """Exposure, light, lens and sensor as cheap cameras have them."""
    exposure = float(np.exp(rng.normal(0, 0.16)))
    balance = np.exp(rng.normal(0, 0.06, 3)) * exposure
    angle = rng.uniform(0, 2 * math.pi)
    return Look(
        gain_3=(float(balance[0]), float(balance[1]), float(balance[2])),
        contrast=rng.uniform(0.8, 1.25),
        saturation=rng.uniform(0.6, 1.2),
        vignette=rng.uniform(0, 0.35),
        light=complex(math.cos(angle), math.sin(angle)),
        light_slope=rng.uniform(0, 0.25),
        blur=rng.uniform(0, 0.22),
        noise=rng.uniform(0, 0.022) * (rng.random() < 0.8),
        noise_seed=seed,
    )


def make_grid(height: int, width: int, window: Crop, device: torch.device) -> Grid:
    """Pixel centres of the window and its margin, of a height x width picture."""
    m = MARGIN_PX
    unit = UNITS_HIGH / height
    columns = torch.arange(window.x - m, window.x + window.width + m, device=device)
    rows = torch.arange(window.y - m, window.y + window.height + m, device=device)
    return Grid((columns + (0.5 - width / 2)) * unit, (rows + (0.5 - height / 2)) * unit, 1 / unit)


def expose(rgb_3THW: Tensor, look: Look, grid: Grid, window: Crop, first_frame: int) -> Tensor:
    """Light, exposure, lens blur and sensor noise on the window with its margin."""
    nx_W, ny_H = grid.x_W / (UNITS_HIGH / 2), grid.y_H / (UNITS_HIGH / 2)
    radius2_HW = nx_W[None, :] ** 2 + ny_H[:, None] ** 2
    slope_HW = look.light.real * nx_W[None, :] + look.light.imag * ny_H[:, None]
    light_HW = (1 - look.vignette * 0.5 * radius2_HW).clamp(min=0.2)
    light_HW = light_HW * (1 + look.light_slope * slope_HW.clamp(-1.5, 1.5))
    gain = torch.tensor(look.gain_3, device=rgb_3THW.device)[:, None, None, None]
    rgb_3THW = rgb_3THW * gain * light_HW
    grey_1THW = rgb_3THW.mean(0, keepdim=True)
    rgb_3THW = grey_1THW + (rgb_3THW - grey_1THW) * look.saturation
    rgb_3THW = (rgb_3THW - 0.4) * look.contrast + 0.4
    b = look.blur
    middle = rgb_3THW.clone()
    middle[..., 1:-1] = rgb_3THW[..., 1:-1] * (1 - 2 * b)
    middle[..., 1:-1] += b * (rgb_3THW[..., :-2] + rgb_3THW[..., 2:])
    blurred = middle.clone()
    blurred[..., 1:-1, :] = middle[..., 1:-1, :] * (1 - 2 * b)
    blurred[..., 1:-1, :] += b * (middle[..., :-2, :] + middle[..., 2:, :])
    if look.noise:
        blurred += look.noise * _sensor_noise(look.noise_seed, blurred, window, first_frame)
    return blurred


def _sensor_noise(seed: int, like_3THW: Tensor, window: Crop, first_frame: int) -> Tensor:
    """Unit noise keyed by scene, frame number and absolute pixel, so that crops agree."""
    rng = np.random.default_rng((seed, 77))
    tile = torch.from_numpy(rng.standard_normal((3, NOISE_TILE, NOISE_TILE)).astype(np.float32))
    tile = tile.to(like_3THW.device)
    _, num_frames, rows, columns = like_3THW.shape
    row = torch.arange(rows) + window.y - MARGIN_PX
    column = torch.arange(columns) + window.x - MARGIN_PX
    frames = []
    for index in range(first_frame, first_frame + num_frames):
        dy, dx = np.random.default_rng((seed, 78, max(index, 0))).integers(0, NOISE_TILE, 2)
        r, c = (row + int(dy)) % NOISE_TILE, (column + int(dx)) % NOISE_TILE
        frames.append(tile[:, r.to(tile.device)][:, :, c.to(tile.device)])
    return torch.stack(frames, 1)
