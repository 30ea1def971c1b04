"""The test pattern: a drifting painted backdrop, shapes, a walking figure and a frame counter.

A pure function of the frame number. Everything that is costly (noise, sprites, digits) is drawn
once, three times too large, and scaled down; a frame is copies and blends of small windows, so that
the pattern takes little from the engine on a small machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sdv2_host.sources.source import SourceFrame
from sdv2_host.types import Size

OVERSAMPLE = 3
WALK_PHASES = 24
WALK_S = 1.2
"""Seconds per two steps."""
DRIFT_S = 24.0
"""Seconds in which the backdrop has drifted once around its tile."""

Picture = NDArray[np.uint8]

# Limbs of the figure in units of its height, y down, origin at the hip.
_HEAD_RADIUS, _SHOULDER_Y, _HEAD_Y = 0.075, -0.27, -0.385
_THIGH, _SHIN, _UPPER_ARM, _FOREARM = 0.215, 0.225, 0.16, 0.15
_COAT, _SKIN, _TROUSERS = (196, 62, 48), (228, 182, 150), (38, 48, 92)


class Sprite(NamedTuple):
    """A picture with soft edges: colour times alpha, and 255 - alpha, for one cheap blend."""

    premultiplied: Picture
    """[h, w, 3]"""
    cover: NDArray[np.uint16]
    """[h, w, 1], 255 = the backdrop stays."""


@dataclass(frozen=True, slots=True)
class Orbit:
    """Where a shape is: an ellipse around a point, in units of the frame's size."""

    centre: tuple[float, float]
    reach: tuple[float, float]
    turns_per_s: float
    phase: float

    def at(self, t_s: float, size: Size) -> tuple[float, float]:
        """Centre of the shape, px."""
        angle = 2 * math.pi * (self.turns_per_s * t_s + self.phase)
        x = self.centre[0] + self.reach[0] * math.sin(angle)
        y = self.centre[1] + self.reach[1] * math.cos(1.3 * angle)
        return x * size.width, y * size.height


_ORBITS = (
    Orbit((0.26, 0.3), (0.16, 0.12), 0.11, 0.0),
    Orbit((0.76, 0.28), (0.14, 0.14), 0.08, 0.35),
    Orbit((0.5, 0.22), (0.34, 0.1), 0.05, 0.6),
    Orbit((0.8, 0.66), (0.12, 0.16), 0.13, 0.8),
)


class TestPattern:
    """Endless; frame n is the same picture in every run. All fields live as long as it does."""

    __test__ = False  # a source, not a test class of pytest

    def __init__(self, size: Size, fps: float = 30.0) -> None:
        self.size = size
        self.fps = fps
        self.title = f"test pattern {size} at {fps:g} fps"
        unit_px = min(size.width, size.height)
        self._backdrop = _draw_backdrop(size)
        self._ground = _draw_ground(size)
        self._shapes = _draw_shapes(unit_px)
        figure_px = round(0.62 * size.height)
        self._walk = [_draw_figure(figure_px, n / WALK_PHASES) for n in range(WALK_PHASES)]
        self._digits = _draw_digits(max(12, unit_px // 14))

    def frames(self) -> Iterator[SourceFrame]:
        """Frame after frame without end."""
        index = 0
        while True:
            yield SourceFrame(self.draw(index), index / self.fps)
            index += 1

    def draw(self, index: int) -> Picture:
        """Picture number `index`: uint8 [H, W, 4], opaque."""
        t_s = index / self.fps
        width, height = self.size
        out = np.empty((height, width, 4), np.uint8)
        out[..., 3] = 255
        rgb = out[..., :3]
        tile_h, tile_w = self._backdrop.shape[0] - height, self._backdrop.shape[1] - width
        x = int(t_s / DRIFT_S * tile_w) % tile_w
        y = int(tile_h / 2 * (1 + math.sin(2 * math.pi * t_s / DRIFT_S))) % tile_h
        rgb[:] = self._backdrop[y : y + height, x : x + width]
        for sprite, orbit in zip(self._shapes, _ORBITS, strict=True):
            _blend(rgb, sprite, *orbit.at(t_s, self.size))
        _blend(rgb, self._ground, width / 2, height - self._ground.cover.shape[0] / 2)
        phase = int(t_s / WALK_S * WALK_PHASES) % WALK_PHASES
        stride_x = (0.5 + 0.3 * math.sin(2 * math.pi * t_s / 14)) * width
        _blend(rgb, self._walk[phase], stride_x, 0.6 * height)
        self._draw_counter(rgb, index)
        return out

    def close(self) -> None:
        """Nothing to give back."""

    def _draw_counter(self, rgb: Picture, index: int) -> None:
        x = 0.02 * self.size.width
        for character in f"{index:06d}":
            sprite = self._digits[int(character)]
            digit_h, digit_w = sprite.cover.shape[:2]
            _blend(rgb, sprite, x + digit_w / 2, self.size.height - digit_h)
            x += digit_w


def _blend(rgb: Picture, sprite: Sprite, x: float, y: float) -> None:
    """Lays the sprite over `rgb` with its centre at (x, y) px, in place; clipped at the edges."""
    height, width = sprite.cover.shape[:2]
    left, top = round(x - width / 2), round(y - height / 2)
    x0, x1 = max(left, 0), min(left + width, rgb.shape[1])
    y0, y1 = max(top, 0), min(top + height, rgb.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    window = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    target = rgb[y0:y1, x0:x1]
    # 255 * 255 fits uint16; >> 8 after + 255 is a division by 255 that is exact at both ends.
    behind = (target * sprite.cover[window] + 255) >> 8
    target[:] = behind.astype(np.uint8) + sprite.premultiplied[window]


def _to_sprite(image: Image.Image, size: tuple[int, int]) -> Sprite:
    """The oversampled RGBA drawing at its final size."""
    small = image.resize(size, Image.Resampling.LANCZOS)
    rgba = np.asarray(small, dtype=np.uint16)
    alpha = rgba[..., 3:]
    premultiplied = (rgba[..., :3] * alpha // 255).astype(np.uint8)
    return Sprite(premultiplied, 255 - alpha)


def _smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> NDArray[np.uint8]:
    """Periodic noise of (height, width) px with `cells` hills across."""
    height, width = size
    rows = max(2, round(cells * height / width))
    grid = np.pad(rng.integers(0, 256, (rows, cells), dtype=np.uint8), ((2, 2), (2, 2)), "wrap")
    box = (2.0, 2.0, cells + 2.0, rows + 2.0)
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image)


def _draw_backdrop(size: Size) -> Picture:
    """A dusk sky of three painted octaves, one tile plus one frame large: any window wraps."""
    rng = np.random.default_rng(7)
    tile = (size.height, size.width * 2)
    hills = sum(
        _smooth_noise(rng, tile, cells).astype(np.float32) * weight
        for cells, weight in ((6, 0.55), (14, 0.3), (48, 0.15))
    )
    level = np.clip((np.asarray(hills) - 60) / 136, 0, 1)[..., None]
    low, middle, high = (
        np.array(c, np.float32) for c in ((40, 62, 122), (224, 150, 126), (250, 222, 170))
    )
    rgb = np.where(
        level < 0.5, low + (middle - low) * 2 * level, middle + (high - middle) * (2 * level - 1)
    )
    picture = np.clip(rgb, 0, 255).astype(np.uint8)
    repeats = (-(-(tile[0] + size.height) // tile[0]), 2, 1)
    wrapped = np.tile(picture, repeats)
    return np.ascontiguousarray(wrapped[: tile[0] + size.height, : tile[1] + size.width])


def _draw_ground(size: Size) -> Sprite:
    """The floor the figure walks on: planks towards a horizon at 80 % of the height."""
    width, height = size.width, max(8, round(0.2 * size.height))
    image = Image.new("RGBA", (width * 2, height * 2), (96, 74, 58, 255))
    draw = ImageDraw.Draw(image)
    for n in range(-12, 13):
        top, bottom = width + n * width / 9, width + n * width / 3
        colour = (118, 92, 70, 255) if n % 2 else (80, 62, 50, 255)
        corners = [
            (top, 0),
            (top + width / 9, 0),
            (bottom + width / 3, height * 2),
            (bottom, height * 2),
        ]
        draw.polygon(corners, fill=colour)
    return _to_sprite(image, (width, height))


def _draw_shapes(unit_px: int) -> list[Sprite]:
    """Ball, star, ring and box, in the order of the orbits."""
    return [
        _draw_shape(round(share * unit_px), kind)
        for kind, share in (("ball", 0.24), ("star", 0.26), ("ring", 0.22), ("box", 0.2))
    ]


def _draw_shape(side_px: int, kind: str) -> Sprite:
    side = max(4, side_px) * OVERSAMPLE
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    edge = side // 14
    inner = (edge, edge, side - edge, side - edge)
    if kind == "ball":
        draw.ellipse(inner, fill=(40, 150, 138, 255))
        light = Image.new("RGBA", (side, side))
        spot = (side * 0.22, side * 0.18, side * 0.56, side * 0.5)
        ImageDraw.Draw(light).ellipse(spot, fill=(206, 246, 226, 220))
        image.alpha_composite(light.filter(ImageFilter.GaussianBlur(side / 14)))
    elif kind == "star":
        points = [
            (
                side / 2 + radius * side * math.sin(math.pi * n / 5),
                side / 2 - radius * side * math.cos(math.pi * n / 5),
            )
            for n, radius in ((n, 0.47 if n % 2 == 0 else 0.2) for n in range(10))
        ]
        draw.polygon(points, fill=(246, 204, 62, 255), outline=(142, 92, 20, 255), width=edge // 2)
    elif kind == "ring":
        draw.ellipse(inner, outline=(206, 72, 136, 255), width=side // 5)
    else:
        draw.rounded_rectangle(inner, side // 8, fill=(78, 92, 200, 255))
        for n in range(1, 4):
            y = side * n // 4
            draw.line([(edge, y), (side - edge, y)], fill=(236, 238, 250, 255), width=edge)
    return _to_sprite(image, (side_px, side_px))


def _draw_figure(height_px: int, phase: float) -> Sprite:
    """A walking person seen from the side at `phase` 0..1 of the double step."""
    scale = max(8, height_px) * OVERSAMPLE
    width = round(0.62 * scale)
    image = Image.new("RGBA", (width, scale))
    draw = ImageDraw.Draw(image)
    bob = 0.012 * math.cos(4 * math.pi * phase)
    hip = (width / 2, (0.48 + bob) * scale)
    shoulder = (hip[0] + 0.015 * scale, hip[1] + _SHOULDER_Y * scale)
    swing = math.sin(2 * math.pi * phase)
    for side in (-1.0, 1.0):  # the far limbs first, and darker
        shade = 0.72 if side < 0 else 1.0
        bend = max(0.0, math.cos(2 * math.pi * phase) * side)
        leg = (0.5 * swing * side, 0.5 * swing * side - 0.75 * bend)
        _limb(draw, hip, leg, (_THIGH, _SHIN), (0.085, scale, _shaded(_TROUSERS, shade)))
        arm = (-0.45 * swing * side, -0.45 * swing * side + 0.4)
        if side < 0:
            _limb(draw, shoulder, arm, (_UPPER_ARM, _FOREARM), (0.06, scale, _shaded(_COAT, shade)))
    neck = (shoulder[0], shoulder[1] - 0.03 * scale)
    draw.line([shoulder, neck], fill=_shaded(_SKIN, 0.8), width=round(0.06 * scale))
    torso = [
        (shoulder[0] - 0.075 * scale, shoulder[1]),
        (shoulder[0] + 0.075 * scale, shoulder[1]),
        (hip[0] + 0.07 * scale, hip[1] + 0.04 * scale),
        (hip[0] - 0.07 * scale, hip[1] + 0.04 * scale),
    ]
    draw.polygon(torso, fill=(*_COAT, 255), outline=(*_COAT, 255), width=round(0.03 * scale))
    head = (shoulder[0] + 0.01 * scale, hip[1] + _HEAD_Y * scale)
    radius = _HEAD_RADIUS * scale
    draw.ellipse(
        (head[0] - radius, head[1] - radius, head[0] + radius, head[1] + radius), fill=(*_SKIN, 255)
    )
    hair = (head[0] - radius, head[1] - radius, head[0] + radius, head[1] + 0.6 * radius)
    draw.chord(hair, 170, 350, fill=(58, 40, 34, 255))
    near_arm = (-0.45 * swing, -0.45 * swing + 0.4)
    _limb(draw, shoulder, near_arm, (_UPPER_ARM, _FOREARM), (0.06, scale, _shaded(_COAT, 0.86)))
    return _to_sprite(image, (max(4, round(0.62 * height_px)), max(8, height_px)))


def _shaded(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int, int]:
    red, green, blue = (round(channel * factor) for channel in colour)
    return red, green, blue, 255


def _limb(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    angles: tuple[float, float],
    lengths: tuple[float, float],
    pen: tuple[float, float, tuple[int, int, int, int]],
) -> None:
    """Two bones with round joints from `start`; angles in radians from straight down."""
    thickness, scale, colour = pen
    x, y = start
    radius = thickness * scale / 2
    for angle, length in zip(angles, lengths, strict=True):
        end_x = x + math.sin(angle) * length * scale
        end_y = y + math.cos(angle) * length * scale
        draw.line([(x, y), (end_x, end_y)], fill=colour, width=round(2 * radius))
        for joint_x, joint_y in ((x, y), (end_x, end_y)):
            draw.ellipse(
                (joint_x - radius, joint_y - radius, joint_x + radius, joint_y + radius),
                fill=colour,
            )
        x, y = end_x, end_y


def _draw_digits(height_px: int) -> list[Sprite]:
    """The digits 0 to 9, white on a translucent dark cell, all of one width."""
    font = ImageFont.load_default(height_px * OVERSAMPLE)
    cell_w, cell_h = round(0.66 * height_px), round(1.2 * height_px)
    sprites = []
    for digit in "0123456789":
        image = Image.new("RGBA", (cell_w * OVERSAMPLE, cell_h * OVERSAMPLE), (16, 16, 20, 150))
        middle = (image.width / 2, image.height / 2)
        ImageDraw.Draw(image).text(middle, digit, (255, 255, 255, 255), font, anchor="mm")
        sprites.append(_to_sprite(image, (cell_w, cell_h)))
    return sprites
