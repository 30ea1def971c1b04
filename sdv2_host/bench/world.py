"""Procedural 2.5-D video that knows its own optical flow.

A scene is a stack of flat textured layers, each moved by a similarity transform, seen by a moving
camera. The colour of a material point never changes but for light and sensor, so the flow is exact.

# T frames   H W size in px   K layers   N tile size
Lengths inside a scene are units of 1/256 of the frame height, origin at the frame's centre, y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.bench.camera import (
    MARGIN_PX,
    Crop,
    Grid,
    Look,
    expose,
    make_grid,
    random_camera,
    random_look,
)
from sdv2_host.bench.compose import random_layers
from sdv2_host.bench.sprites import SHAPES, Layer, Motion
from sdv2_host.bench.warp import warp, warp_error

__all__ = ["Clip", "Scene", "warp", "warp_error"]

SHADOW_REACH = 24.0
"""Units past a shape's bounding circle."""


class Clip(NamedTuple):
    """A rendered clip; all tensors on the device it was rendered on."""

    rgb_T3HW: Tensor
    """float32 0..1."""
    flow_T2HW: Tensor
    """(x, y) px: what is at pixel p of frame t was at p + flow in frame t-1; frame 0 is zero."""
    visible_T1HW: Tensor
    """bool: in frame t-1 that point was inside the picture and not covered; frame 0 is False."""
    layer_id_THW: Tensor
    """int16, 0 = background."""


class _Pose(NamedTuple):
    """Where each layer is: screen = factor * material + offset (units), complex [K, T]."""

    factor_KT: NDArray[np.complex128]
    offset_KT: NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Scene:
    """Layers back to front, a camera and a look. Made by `random`; rendering never changes it."""

    layers: tuple[Layer, ...]
    camera: Motion
    look: Look

    @staticmethod
    def random(seed: int, *, num_layers: int | None = None, speed: float | None = None) -> Scene:
        """The scene of a seed, the same on every machine.

        Args:
            num_layers: loose shapes, 3..8; drawn from the seed when None.
            speed: typical speed of shapes in units per second, 0..400; drawn when None.
        """
        rng = np.random.default_rng(seed)
        num_shapes = int(rng.integers(3, 9))
        drawn = float(np.exp(rng.uniform(math.log(6), math.log(260)))) * (rng.random() > 0.06)
        chosen = drawn if speed is None else speed
        layers = random_layers(rng, num_shapes if num_layers is None else num_layers, chosen)
        return Scene(tuple(layers), random_camera(rng, chosen), random_look(rng, seed))

    def render(
        self,
        num_frames: int,
        height: int,
        width: int,
        *,
        start: float = 0.0,
        fps: float = 30.0,
        crop: tuple[int, int, int, int] | None = None,
        plain: bool = False,
        device: str | torch.device = "cpu",
    ) -> Clip:
        """The clip from `start` seconds on, of the whole height x width picture or a window of it.

        Args:
            crop: (y, x, height, width) in px; gives the pixels that cropping the whole would.
            plain: leave light, shadow, lens and sensor out: then colours follow the flow exactly.
        """
        window = Crop(0, 0, height, width) if crop is None else Crop(*crop)
        grid = make_grid(height, width, window, torch.device(device))
        times_T = start + np.arange(-1, num_frames) / fps
        pose = self._pose(times_T)
        shown = _Pose(pose.factor_KT[:, 1:], pose.offset_KT[:, 1:])
        rgb_3THW, id_THW = self._composite(shown, grid, num_frames, plain)
        if not plain:
            first = round(start * fps)
            rgb_3THW = expose(rgb_3THW, self.look, grid, window, first)
        m = MARGIN_PX
        rgb_T3HW = rgb_3THW[:, :, m:-m, m:-m].transpose(0, 1).clamp(0, 1).contiguous()
        inner_THW = id_THW[:, m:-m, m:-m].contiguous()
        flow_T2HW = _flow(pose, inner_THW, grid)
        visible_T1HW = _visible(inner_THW, flow_T2HW)
        return Clip(rgb_T3HW, flow_T2HW, visible_T1HW, inner_THW)

    def _pose(self, times_T: NDArray[np.float64]) -> _Pose:
        zoom_T, pan_T = self.camera.at(times_T)
        factors, offsets = [], []
        for layer in self.layers:
            factor_T, offset_T = layer.motion.at(times_T)
            factors.append(zoom_T * factor_T)
            offsets.append(zoom_T * offset_T + layer.parallax * pan_T)
        return _Pose(np.stack(factors), np.stack(offsets))

    def _composite(
        self, pose: _Pose, grid: Grid, num_frames: int, plain: bool
    ) -> tuple[Tensor, Tensor]:
        """Layers painted back to front: [3, T, H, W] and the id of the topmost, [T, H, W]."""
        size = (num_frames, len(grid.y_H), len(grid.x_W))
        rgb_3THW = torch.zeros(3, *size, device=grid.x_W.device)
        id_THW = torch.zeros(size, dtype=torch.int16, device=grid.x_W.device)
        light = self.look.light
        for index, layer in enumerate(self.layers):
            factor_T, offset_T = pose.factor_KT[index], pose.offset_KT[index]
            centre_T = factor_T * layer.offset + offset_T
            rows, columns = _bounds(centre_T, np.abs(factor_T) * layer.radius, layer.shadow, grid)
            if rows.stop <= rows.start or columns.stop <= columns.start:
                continue
            window = Grid(grid.x_W[columns], grid.y_H[rows], grid.px_per_unit)
            target_3THW, target_id_THW = rgb_3THW[:, :, rows, columns], id_THW[:, rows, columns]
            _paint(
                (target_3THW, target_id_THW),
                layer,
                (factor_T, offset_T),
                window,
                (index, None if plain else light),
            )
        return rgb_3THW, id_THW


def _bounds(
    centre_T: NDArray[np.complex128], radius_T: NDArray[np.float64], shadow: float, grid: Grid
) -> tuple[slice, slice]:
    """Rows and columns of the window the shape (and its shadow) can touch in any frame."""
    reach_T = radius_T + (SHADOW_REACH if shadow else 0.0) + 2.0
    slices = []
    for position_T, axis in ((centre_T.imag, grid.y_H), (centre_T.real, grid.x_W)):
        low, high = (position_T - reach_T).min(), (position_T + reach_T).max()
        first = float(axis[0])
        begin = (low - first) * grid.px_per_unit if math.isfinite(low) else 0.0
        end = (high - first) * grid.px_per_unit + 1 if math.isfinite(high) else len(axis)
        slices.append(slice(max(0, math.floor(begin)), min(len(axis), math.ceil(end))))
    return slices[0], slices[1]


def _per_frame(values_T: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(values_T.astype(np.float32)).to(like.device)[:, None, None]


def _paint(
    target: tuple[Tensor, Tensor],
    layer: Layer,
    transform: tuple[NDArray[np.complex128], NDArray[np.complex128]],
    grid: Grid,
    kind: tuple[int, complex | None],
) -> None:
    """Paints one layer over the target (rgb [3, T, h, w] and ids), in place.

    `kind` is the layer's id and the direction of light (None: no light, no shadow).
    """
    rgb_3THW, id_THW = target
    factor_T, offset_T = transform
    index, light = kind
    inverse_T = 1 / factor_T
    shift_T = -offset_T * inverse_T
    x_11W, y_1H1 = grid.x_W[None, None, :], grid.y_H[None, :, None]
    re, im = _per_frame(inverse_T.real, grid.x_W), _per_frame(inverse_T.imag, grid.x_W)
    x_THW = x_11W * re - y_1H1 * im + _per_frame(shift_T.real, grid.x_W)
    y_THW = x_11W * im + y_1H1 * re + _per_frame(shift_T.imag, grid.x_W)
    colour_3THW = _sample(layer.tile_3NN.to(grid.x_W.device), x_THW, y_THW)
    if layer.shape is None:
        rgb_3THW.copy_(colour_3THW)
        return
    if layer.offset:
        x_THW, y_THW = x_THW - layer.offset.real, y_THW - layer.offset.imag
    distance_THW = SHAPES[layer.shape](x_THW, y_THW, layer.shape_params)
    distance_THW = distance_THW * _per_frame(np.abs(factor_T), grid.x_W)
    alpha_THW = (0.5 - distance_THW * grid.px_per_unit).clamp(0, 1)
    if light is not None and (layer.form or layer.rim or layer.shadow):
        tilt_T = np.exp(1j * np.angle(factor_T))
        toward_THW = _toward_light(x_THW, y_THW, light * np.conj(tilt_T))
        if layer.shadow:
            away_THW = (0.5 - 0.5 * toward_THW.clamp(-1, 1)) * layer.shadow
            dark_THW = away_THW * torch.exp(distance_THW.clamp(min=0) * -0.16)
            if math.isfinite(layer.radius):
                # Nothing is left where `_bounds` cuts, or the cut would show in the picture.
                far_THW = torch.hypot(x_THW, y_THW) - layer.radius
                dark_THW *= (
                    SHADOW_REACH / 6 - far_THW * _per_frame(np.abs(factor_T) / 6, x_THW)
                ).clamp(0, 1)
            rgb_3THW.mul_(1 - dark_THW)
        if layer.form or layer.rim:
            shade = 1 + layer.form * toward_THW.clamp(-1, 1)
            edge = torch.exp(distance_THW.clamp(max=0) * 0.14)
            colour_3THW = colour_3THW * (shade - layer.rim * edge * (0.6 - 0.4 * toward_THW))
    rgb_3THW.add_((colour_3THW - rgb_3THW) * alpha_THW)
    id_THW.masked_fill_(alpha_THW > 0.5, index)


def _toward_light(x_THW: Tensor, y_THW: Tensor, light_T: NDArray[np.complex128]) -> Tensor:
    """-1..1 across a shape: 1 on the side that faces the light (light in material axes)."""
    dot = x_THW * _per_frame(light_T.real, x_THW) + y_THW * _per_frame(light_T.imag, x_THW)
    return dot / (torch.hypot(x_THW, y_THW) + 6.0)


def _sample(tile_3NN: Tensor, x_THW: Tensor, y_THW: Tensor) -> Tensor:
    """The periodic tile at material coordinates, one texel per unit: [3, T, H, W]."""
    size = tile_3NN.shape[-1]
    padded = F.pad(tile_3NN[None], (0, 1, 0, 1), mode="circular")
    num_frames, height, width = x_THW.shape
    # Texel i sits at coordinate i; the padded tile spans 0..size, mapped to -1..1.
    grid = torch.stack((torch.remainder(x_THW, size), torch.remainder(y_THW, size)), -1)
    grid = grid.mul_(2 / size).sub_(1).view(1, num_frames * height, width, 2)
    colour = F.grid_sample(padded, grid, mode="bilinear", align_corners=True)
    return colour.view(3, num_frames, height, width)


def _flow(pose: _Pose, id_THW: Tensor, grid: Grid) -> Tensor:
    """Backward flow in px from the poses: previous = F0 * (p - O1) / F1 + O0, per layer."""
    m = MARGIN_PX
    turn_KT = pose.factor_KT[:, :-1] / pose.factor_KT[:, 1:]
    move_KT = pose.offset_KT[:, :-1] - turn_KT * pose.offset_KT[:, 1:]
    num_frames = id_THW.shape[0]
    frame_T11 = torch.arange(num_frames, device=id_THW.device)[:, None, None]
    cell_THW = id_THW.long() * num_frames + frame_T11

    def gather(values_KT: NDArray[np.float64]) -> Tensor:
        table = torch.from_numpy(values_KT.astype(np.float32).reshape(-1)).to(id_THW.device)
        return table[cell_THW]

    re, im = gather(turn_KT.real - 1), gather(turn_KT.imag)
    x_W, y_H1 = grid.x_W[m:-m], grid.y_H[m:-m, None]
    dx = x_W * re - y_H1 * im + gather(move_KT.real)
    dy = x_W * im + y_H1 * re + gather(move_KT.imag)
    flow = torch.stack((dx, dy), 1) * grid.px_per_unit
    flow[0] = 0
    return flow


def _visible(id_THW: Tensor, flow_T2HW: Tensor) -> Tensor:
    """True where all four pixels that surround the previous place show the same layer."""
    num_frames, height, width = id_THW.shape
    visible = torch.zeros(num_frames, 1, height, width, dtype=torch.bool, device=id_THW.device)
    if num_frames < 2:
        return visible
    x = torch.arange(width, device=id_THW.device) + flow_T2HW[1:, 0]
    y = torch.arange(height, device=id_THW.device)[:, None] + flow_T2HW[1:, 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x0 = x.floor().clamp(0, max(width - 2, 0)).long()
    y0 = y.floor().clamp(0, max(height - 2, 0)).long()
    flat, now = id_THW[:-1].reshape(num_frames - 1, -1), id_THW[1:].reshape(num_frames - 1, -1)
    corner = (y0 * width + x0).reshape(num_frames - 1, -1)
    same = torch.ones_like(now, dtype=torch.bool)
    for step in (0, 1, width, width + 1):
        same &= flat.gather(1, corner + step) == now
    visible[1:, 0] = inside & same.view(num_frames - 1, height, width)
    return visible
