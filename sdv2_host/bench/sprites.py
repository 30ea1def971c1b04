"""Shapes as signed distances, and how things move: the parts a `Scene` is made of.

All lengths are in units of 1/256 of the frame height. Points are complex: x + iy, y down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Distance = Callable[[Tensor, Tensor, tuple[float, ...]], Tensor]


def _circle(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    return torch.hypot(x, y) - p[0]


def _ellipse(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    return (torch.hypot(x / p[0], y / p[1]) - 1) * min(p[0], p[1])


def _box(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    """Half width, half height, corner radius."""
    qx, qy = x.abs() - (p[0] - p[2]), y.abs() - (p[1] - p[2])
    outside = torch.hypot(qx.clamp(min=0), qy.clamp(min=0))
    return outside + torch.maximum(qx, qy).clamp(max=0) - p[2]


def _capsule(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    """Half length, radius."""
    return torch.hypot(x - x.clamp(-p[0], p[0]), y) - p[1]


def _ring(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    """Radius, half width."""
    return (torch.hypot(x, y) - p[0]).abs() - p[1]


def _star(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    """Outer radius, inner / outer radius, points. Inner ratio cos(pi/n) makes a polygon."""
    half = math.pi / p[2]
    angle = torch.remainder(torch.atan2(y, x) + half, 2 * half) - half
    radius = torch.hypot(x, y)
    qx, qy = radius * torch.cos(angle), radius * torch.sin(angle).abs()
    # The arm's edge runs from (outer, 0) to the notch; its normal points outward.
    ex = p[0] * p[1] * math.cos(half) - p[0]
    ey = p[0] * p[1] * math.sin(half)
    length = math.hypot(ex, ey)
    return ((qx - p[0]) * ey - qy * ex) / length


def _blob(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    """Radius, then pairs (amplitude, phase) of harmonics 2, 3, 5."""
    angle = torch.atan2(y, x)
    wobble = torch.ones_like(x)
    for index, harmonic in enumerate((2, 3, 5)):
        wobble = wobble + p[1 + 2 * index] * torch.cos(harmonic * angle + p[2 + 2 * index])
    return (torch.hypot(x, y) - p[0] * wobble) * 0.85


def _metaballs(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    """Radius, then centres (x, y) of two more balls: a smooth union of three."""
    soft = 0.35 * p[0]
    total = torch.exp(-(torch.hypot(x, y) - p[0]) / soft)
    for cx, cy in ((p[1], p[2]), (p[3], p[4])):
        total = total + torch.exp(-(torch.hypot(x - cx, y - cy) - 0.75 * p[0]) / soft)
    return -soft * torch.log(total + 1e-12)


def _ground(x: Tensor, y: Tensor, p: tuple[float, ...]) -> Tensor:
    """All below a wavy line: pairs (amplitude, wavelength, phase)."""
    line = torch.zeros_like(x)
    for index in range(0, len(p), 3):
        line = line + p[index] * torch.sin(x * (2 * math.pi / p[index + 1]) + p[index + 2])
    return (line - y) * 0.8


SHAPES: dict[str, Distance] = {
    "circle": _circle,
    "ellipse": _ellipse,
    "box": _box,
    "capsule": _capsule,
    "ring": _ring,
    "star": _star,
    "blob": _blob,
    "metaballs": _metaballs,
    "ground": _ground,
}


@dataclass(frozen=True, slots=True)
class Motion:
    """A similarity p(t) = scale * m + position that swings for ever and never leaves for good."""

    centre: complex
    amplitude: complex
    """Swing in x and in y."""
    rate_x: float
    rate_y: float
    """Radians per second."""
    phase_x: float
    phase_y: float
    angle: float = 0.0
    spin: float = 0.0
    """Radians per second, besides the rocking."""
    rock: float = 0.0
    rock_rate: float = 0.0
    zoom: float = 0.0
    """Amplitude of log scale."""
    zoom_rate: float = 0.0
    log_scale: float = 0.0
    shake: float = 0.0
    drift: complex = 0j
    """Units per second, for ever: planes only, their texture repeats."""

    def at(self, times_T: NDArray[np.float64]) -> tuple[NDArray[np.complex128], ...]:
        """Complex factor and offset at each time: point = factor * material + offset."""
        t = times_T
        angle = self.angle + self.spin * t + self.rock * np.sin(self.rock_rate * t)
        scale = np.exp(self.log_scale + self.zoom * np.sin(self.zoom_rate * t + self.phase_x))
        x = self.amplitude.real * np.sin(self.rate_x * t + self.phase_x)
        y = self.amplitude.imag * np.sin(self.rate_y * t + self.phase_y)
        x = x + self.shake * (np.sin(47.0 * t + self.phase_y) + 0.6 * np.sin(71.0 * t))
        y = y + self.shake * (np.sin(53.0 * t + self.phase_x) + 0.6 * np.sin(83.0 * t))
        return scale * np.exp(1j * angle), self.centre + x + 1j * y + self.drift * t


def random_motion(rng: np.random.Generator, centre: complex, speed: float) -> Motion:
    """A swing around the centre at about `speed` units per second; turns and grows in step."""
    reach_x, reach_y = rng.uniform(12, 90, 2)
    liveliness = min(1.0, speed / 120.0)
    return Motion(
        centre=centre,
        amplitude=complex(reach_x, reach_y * rng.uniform(0.2, 1.0)),
        rate_x=speed / reach_x,
        rate_y=speed / reach_y * rng.uniform(0.3, 1.1),
        phase_x=rng.uniform(0, 2 * math.pi),
        phase_y=rng.uniform(0, 2 * math.pi),
        angle=rng.uniform(-math.pi, math.pi),
        spin=rng.normal(0, 0.9) * liveliness * (rng.random() < 0.5),
        rock=rng.uniform(0, 0.5) * liveliness,
        rock_rate=rng.uniform(0.5, 3.0),
        zoom=rng.uniform(0, 0.3) * liveliness,
        zoom_rate=rng.uniform(0.4, 2.0),
    )


@dataclass(frozen=True, slots=True)
class Layer:
    """One textured thing. Without a shape it is a plane that fills the frame."""

    tile_3NN: Tensor
    motion: Motion
    parallax: float
    """How far the camera's pan moves it: 0 far away, 1 with the camera."""
    shape: str | None = None
    shape_params: tuple[float, ...] = ()
    radius: float = math.inf
    """No point of the shape is farther from its centre (material units)."""
    offset: complex = 0j
    """Where the shape's centre is in the material: parts that move together share a Motion."""
    form: float = 0.0
    """Strength of the light across it, 0..0.6."""
    rim: float = 0.0
    """Darkening towards its edge, 0..0.6."""
    shadow: float = 0.0
    """Darkness of the soft shadow it casts, 0..0.6."""


def random_shape(rng: np.random.Generator, size: float) -> tuple[str, tuple[float, ...], float]:
    """A shape, its parameters and its bounding radius, all from `size` (about half its width)."""
    kind = str(
        rng.choice(
            ["circle", "ellipse", "box", "box", "capsule", "ring", "star", "blob", "metaballs"]
        )
    )
    params, radius = _random_params(kind, size, rng)
    return kind, tuple(float(v) for v in params), radius


def _random_params(
    kind: str, s: float, rng: np.random.Generator
) -> tuple[tuple[float, ...], float]:
    """Parameters of one kind of shape and the radius that bounds it."""
    match kind:
        case "circle":
            result: tuple[tuple[float, ...], float] = (s,), s
        case "ellipse":
            result = (s, s * rng.uniform(0.45, 0.9)), s
        case "box":
            half = s * rng.uniform(0.35, 1.0)
            result = (s, half, min(s, half) * rng.uniform(0, 0.5)), math.hypot(s, half)
        case "capsule":
            thick = s * rng.uniform(0.2, 0.45)
            result = (s, thick), s + thick
        case "ring":
            result = (s * 0.8, s * rng.uniform(0.12, 0.25)), s * 1.05
        case "star":
            points = int(rng.integers(3, 8))
            polygon = math.cos(math.pi / points)
            inner = polygon if rng.random() < 0.5 else rng.uniform(0.45, 0.7)
            result = (s, min(inner, polygon), float(points)), s
        case "blob":
            waves = [v for _ in range(3) for v in (rng.uniform(0, 0.16), rng.uniform(0, 6.28))]
            result = (s, *waves), s * 1.5
        case _:
            assert kind == "metaballs", f"no parameters for {kind}"
            result = (s * 0.6, *(rng.uniform(-0.8, 0.8, 4) * s)), s * 2.2
    return result
