"""What is in a scene: backgrounds and arrangements as cameras see them, and loose shapes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.sprites import Layer, Motion, random_motion, random_shape
from sdv2_host.bench.textures import (
    HAIR_TONES,
    PHOTO_PALETTES,
    SKIN_TONES,
    TEXTURE_KINDS,
    make_tile,
    random_palette,
    tone_palette,
)

PLANE_TILE = 256
SPRITE_TILE = 128
STILL = Motion(0j, 0j, 0.0, 0.0, 0.0, 0.0)


def _photo(name: str, rng: np.random.Generator) -> NDArray[np.float32]:
    base = np.array(PHOTO_PALETTES[name], np.float32) * rng.uniform(0.8, 1.15)
    return np.clip(base + rng.normal(0, 0.02, 3), 0, 1).astype(np.float32)


def _plane(kind: str, palette: NDArray[np.float32], rng: np.random.Generator) -> Layer:
    motion = dataclasses.replace(
        STILL,
        angle=rng.uniform(-0.3, 0.3) if kind != "gradient" else 0.0,
        log_scale=rng.uniform(-0.1, 0.5),
    )
    return Layer(make_tile(kind, PLANE_TILE, palette, rng), motion, rng.uniform(0.1, 0.5))


def _ground(
    height: float, roughness: float, palette: NDArray[np.float32], rng: np.random.Generator
) -> Layer:
    """Hills or a floor: all below a wavy line at `height` units under the frame's centre."""
    waves = [
        v
        for wavelength in (rng.uniform(180, 420), rng.uniform(70, 150), rng.uniform(25, 50))
        for v in (roughness * wavelength * 0.12, wavelength, rng.uniform(0, 6.28))
    ]
    kind = str(rng.choice(["rock", "cloud", "fur", "stripes", "bricks", "plain"]))
    return Layer(
        make_tile(kind, PLANE_TILE, palette, rng),
        dataclasses.replace(STILL, centre=1j * height),
        rng.uniform(0.4, 0.9),
        shape="ground",
        shape_params=tuple(float(v) for v in waves),
        form=0.0,
        rim=rng.uniform(0, 0.3),
        shadow=rng.uniform(0, 0.25),
    )


def horizon(rng: np.random.Generator) -> list[Layer]:
    """Sky, one or two ridges or a floor."""
    sky = _photo(str(rng.choice(["sky", "dusk", "sky", "dim", "snow"])), rng)[::-1].copy()
    layers = [_plane(str(rng.choice(["gradient", "cloud"])), sky, rng)]
    level = rng.uniform(-40, 30)
    for _ in range(int(rng.integers(1, 3))):
        name = str(rng.choice(["foliage", "earth", "stone", "snow", "water", "wood"]))
        layers.append(_ground(level, rng.choice([0.05, 0.6, 1.2]), _photo(name, rng), rng))
        level += rng.uniform(20, 70)
    return layers


def skyline(rng: np.random.Generator) -> list[Layer]:
    """Buildings with windows against a sky."""
    sky = _photo(str(rng.choice(["sky", "dusk", "dim"])), rng)[::-1].copy()
    layers = [_plane("gradient", sky, rng)]
    for index in range(int(rng.integers(4, 7))):
        half_w, half_h = rng.uniform(18, 45), rng.uniform(50, 130)
        name = str(rng.choice(["stone", "dim", "cloth", "wall", "earth"]))
        kind = str(rng.choice(["windows", "windows", "bricks", "stripes"]))
        layers.append(
            Layer(
                make_tile(kind, SPRITE_TILE, _photo(name, rng), rng),
                dataclasses.replace(STILL, centre=complex(rng.uniform(-170, 170), 110)),
                0.45 + 0.05 * index,
                shape="box",
                shape_params=(half_w, half_h, 0.5),
                radius=math.hypot(half_w, half_h),
                form=rng.uniform(0, 0.3),
                shadow=rng.uniform(0, 0.2),
            )
        )
    return layers


def room(rng: np.random.Generator) -> list[Layer]:
    """An indoor wall with furniture: large smooth areas, straight edges."""
    wall = _photo(str(rng.choice(["wall", "stone", "cloth", "dim", "wall"])), rng)
    layers = [_plane(str(rng.choice(["plain", "gradient", "bricks", "plain"])), wall, rng)]
    for _ in range(int(rng.integers(2, 5))):
        half_w, half_h = rng.uniform(15, 60, 2)
        kind = str(rng.choice(["stripes", "blocks", "plain", "cloud", "gradient"]))
        palette = _photo("wood", rng) if rng.random() < 0.4 else random_palette(rng)
        centre = complex(rng.uniform(-140, 140), rng.uniform(-90, 110))
        layers.append(
            Layer(
                make_tile(kind, SPRITE_TILE, palette, rng),
                dataclasses.replace(STILL, centre=centre),
                rng.uniform(0.4, 0.6),
                shape="box",
                shape_params=(half_w, half_h, rng.uniform(0, 6)),
                radius=math.hypot(half_w, half_h),
                form=rng.uniform(0, 0.3),
                rim=rng.uniform(0, 0.4),
                shadow=rng.uniform(0.1, 0.5),
            )
        )
    return layers


def person(rng: np.random.Generator, speed: float) -> list[Layer]:
    """Head and shoulders that sway together: the commonest picture of a webcam."""
    size = rng.uniform(0.6, 1.35)
    motion = dataclasses.replace(
        random_motion(rng, complex(rng.uniform(-45, 45), rng.uniform(-15, 30)), speed),
        angle=rng.normal(0, 0.08),
        spin=0.0,
        log_scale=math.log(size),
        zoom=rng.uniform(0, 0.1),
    )
    skin_tone = SKIN_TONES[int(rng.integers(len(SKIN_TONES)))]
    skin = make_tile(
        "plain" if rng.random() < 0.6 else "cloud", SPRITE_TILE, tone_palette(skin_tone, rng), rng
    )
    hair_tone = HAIR_TONES[int(rng.integers(len(HAIR_TONES)))]
    hair = make_tile("fur", SPRITE_TILE, tone_palette(hair_tone, rng), rng)
    cloth_kind = str(rng.choice(["plain", "stripes", "cloud", "checker"]))
    cloth = make_tile(cloth_kind, SPRITE_TILE, random_palette(rng), rng)
    dark = make_tile("plain", SPRITE_TILE, tone_palette((0.07, 0.06, 0.07), rng), rng)
    white = make_tile("plain", SPRITE_TILE, tone_palette((0.9, 0.9, 0.9), rng), rng)
    lips = make_tile("plain", SPRITE_TILE, tone_palette((0.66, 0.30, 0.28), rng), rng)
    form, rim = rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.4)

    def part(
        tile: Tensor, x: float, y: float, half_w: float, half_h: float, shape: str = "ellipse"
    ) -> Layer:
        params = (half_w, half_h, 30.0) if shape == "box" else (half_w, half_h)
        solid = half_w > 12
        return Layer(
            tile,
            motion,
            0.8,
            shape=shape,
            shape_params=params,
            radius=math.hypot(half_w, half_h),
            offset=complex(x, y),
            form=form if solid else 0.0,
            rim=rim if solid else 0.0,
            shadow=0.35 if solid else 0.1,
        )

    hair_low = rng.uniform(-12, 30)
    layers = [
        part(hair, 0, -18 + hair_low * 0.4, 37, 44 + hair_low * 0.5),
        part(skin, 0, 40, 14, 26, "box"),
        part(cloth, 0, 128, 78, 78, "box"),
        part(skin, 0, -6, 31, 41),
        part(hair, 0, -42, 29, 13),
    ]
    for side in (-1, 1):
        layers += [
            part(white, side * 12.5, -11, 6.5, 3.6),
            part(dark, side * 12.5, -11, 3.0, 3.4),
            part(hair, side * 12.5, -19.5, 7.5, 1.8),
        ]
    layers += [part(lips, 0, 18, 10, 3.2), part(dark, 0, 7.5, 4.0, 1.6)]
    if rng.random() < 0.3:
        arm = part(cloth, rng.choice([-72, 72]), 95, 20, 60, "box")
        layers.append(arm)
    return layers


def loose_shape(rng: np.random.Generator, speed: float) -> Layer:
    """One textured shape that swings about the frame."""
    size = float(np.exp(rng.uniform(math.log(9), math.log(72))))
    shape, params, radius = random_shape(rng, size)
    kind = str(rng.choice(TEXTURE_KINDS))
    centre = complex(rng.uniform(-140, 140), rng.uniform(-105, 105))
    return Layer(
        make_tile(kind, SPRITE_TILE, random_palette(rng), rng),
        random_motion(rng, centre, speed),
        rng.uniform(0.4, 1.2),
        shape=shape,
        shape_params=params,
        radius=radius,
        form=rng.uniform(0, 0.5),
        rim=rng.uniform(0, 0.5),
        shadow=rng.uniform(0, 0.5) * (rng.random() < 0.7),
    )


def random_layers(rng: np.random.Generator, num_shapes: int, speed: float) -> list[Layer]:
    """Back to front: a background, an arrangement (often a person), then loose shapes."""
    kind = str(rng.choice(["plane", "plane", "horizon", "skyline", "room", "room"]))
    if kind == "plane":
        texture = str(rng.choice(TEXTURE_KINDS))
        layers = [_plane(texture, random_palette(rng), rng)]
    else:
        layers = {"horizon": horizon, "skyline": skyline, "room": room}[kind](rng)
    has_person = rng.random() < (0.55 if kind == "room" else 0.25)
    if has_person:
        num_shapes = max(1, num_shapes // 3)
    shapes = [
        loose_shape(rng, speed * float(np.exp(rng.normal(0, 0.7)))) for _ in range(num_shapes)
    ]
    behind = int(rng.integers(len(shapes) + 1))
    middle = person(rng, 0.4 * speed) if has_person else []
    return layers + shapes[:behind] + middle + shapes[behind:]
