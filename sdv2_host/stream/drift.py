"""Drift watchdog: does the picture still look as it did when this look began?

# B rows (1)  T frames  C channels  H W size  S statistics

Mean and spread of every channel, of the latents and of the colours, are followed for the picture
and for the source. The first chunks of a look say in which band they lie; later a slow average is
held against it. Where the source leaves its own band, another scene is on, and the band is learnt
anew; where the picture does so alone, that is drift. What is done against it, a soft re-anchor, is
decided on the device: nothing here is read on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdv2_host.param_table import PARAMS, ParamValue
from sdv2_host.params import Params, prompts_of

SETTLE_CHUNKS = 8
"""After a change of look: until the window holds nothing of the one before."""
LEARN_CHUNKS = 64
"""A band is made of; with four frames a chunk and 30 fps, 8.5 s."""
RATE = 1 / 32
"""Weight of a chunk in the slow average, 4 s at 30 fps: a passing thing is no drift."""
LIMIT = 3.0
"""Departure in spreads of the band that counts as drift."""
CALM = 0.7
"""Drift has ended below this part of the limit."""
FLOOR = 0.02
"""Least spread of a band, as part of the channel's own contrast: a still picture has none."""
ONE_LEVEL = 2 / 255
STRIDE_PX = 4
"""Colours are taken of every fourth pixel each way: all of 256x256 take a CPU 8 ms a chunk, these
1 ms."""
ANCHOR_CHUNKS = 6
"""How long a re-anchor gives more noise."""
MORE_NOISE = 1.15
REST_CHUNKS = 32
"""From the end of a re-anchor to the next: it is given that long to help."""
MAX_ANCHORS = 3
"""Per band: what did not help three times is not tried again, pumping noise into the show."""

LOOK_NAMES = tuple(name for name, spec in PARAMS.items() if spec.in_preset and not spec.is_output)
"""Parameters that change what the picture looks like."""


def look_key(params: Params) -> tuple[object, ...]:
    """Equal for parameters that make the same look."""
    values: list[ParamValue] = [getattr(params, name) for name in LOOK_NAMES]
    return (prompts_of(params), *values)


def statistics(latents_BFCHW: Tensor, frames_BTCHW: Tensor) -> Tensor:
    """Float32 [S]: means and spreads of the latents' channels, then of red, green and blue."""
    colours_BTCHW = frames_BTCHW[..., ::STRIDE_PX, ::STRIDE_PX].clamp(-1, 1)
    parts = []
    for values in (latents_BFCHW, colours_BTCHW):
        spread, mean = torch.std_mean(values.to(torch.float32), dim=(0, 1, 3, 4), correction=0)
        parts += [mean, spread]
    return torch.cat(parts)


@dataclass(slots=True)
class Band:
    """Where statistics lie. Per session, written in place."""

    mean_S: Tensor
    squares_S: Tensor
    """Sum of squared distances to the mean, of the chunks learnt from."""
    slow_S: Tensor
    """Slow average; the mean itself while learning."""
    latent_dim: int

    @classmethod
    def fresh(cls, latent_dim: int, device: torch.device) -> Band:
        size = 2 * (latent_dim + 3)
        mean_S, squares_S, slow_S = (torch.zeros(size, device=device) for _ in range(3))
        return cls(mean_S, squares_S, slow_S, latent_dim)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.mean_S, self.squares_S, self.slow_S

    def learn_(self, new_S: Tensor, count: Tensor) -> None:
        """Chunk number `count` (0-dim, from 1) belongs to the band; nothing where it is below 1,
        or the band is complete. Source: Welford's running variance."""
        is_learning = (count >= 1) & (count <= LEARN_CHUNKS)
        before_S = torch.where(count <= 1, torch.zeros_like(self.mean_S), self.mean_S)
        squares_S = torch.where(count <= 1, torch.zeros_like(self.mean_S), self.squares_S)
        mean_S = before_S + (new_S - before_S) / count.clamp(min=1)
        squares_S = squares_S + (new_S - before_S) * (new_S - mean_S)
        self.mean_S.copy_(torch.where(is_learning, mean_S, self.mean_S))
        self.squares_S.copy_(torch.where(is_learning, squares_S, self.squares_S))
        slow_S = self.slow_S + RATE * (new_S - self.slow_S)
        self.slow_S.copy_(torch.where(count <= LEARN_CHUNKS, self.mean_S, slow_S))

    def departure(self) -> Tensor:
        """0-dim: how far the slow average is from the band, in its spreads.

        The largest of four groups, each the root mean square of its channels: a cast in the
        colours would drown among the latents.
        """
        dims = [self.latent_dim, self.latent_dim, 3, 3]
        _, latent_spread, _, colour_spread = torch.split(self.mean_S, dims)
        contrast_S = torch.cat([latent_spread, latent_spread, colour_spread, colour_spread])
        spread_S = (self.squares_S / LEARN_CHUNKS).sqrt() + FLOOR * contrast_S + ONE_LEVEL
        groups = torch.split((self.slow_S - self.mean_S) / spread_S, dims)
        return torch.stack([group.square().mean().sqrt() for group in groups]).amax()


@dataclass(slots=True)
class DriftState:
    """All per session, written in place but for `look`. Counts are 0-dim float32."""

    source: Band
    picture: Band
    age: Tensor
    """Chunks since the look or the source's scene began."""
    level: Tensor
    """Drift of the picture in spreads of its band; 0 while that is being learnt."""
    is_out: Tensor
    """1 from when the level passes the limit until it is calm again."""
    anchor_left: Tensor
    """Chunks of a re-anchor that are still to come; the first of them refreshes the sinks. Below
    0: minus the chunks since it ended, up to the rest."""
    num_anchors: Tensor
    """Of this band."""
    look: tuple[object, ...] | None = None
    """What the newest chunk was asked to look like; None = it was not watched."""

    @classmethod
    def fresh(cls, latent_dim: int, device: torch.device) -> DriftState:
        source, picture = (Band.fresh(latent_dim, device) for _ in range(2))
        age, level, is_out, left, anchors = (torch.zeros((), device=device) for _ in range(5))
        return cls(source, picture, age, level, is_out, left, anchors)

    @property
    def counts(self) -> tuple[Tensor, ...]:
        return self.age, self.level, self.is_out, self.anchor_left, self.num_anchors

    @property
    def is_anchoring(self) -> Tensor:
        """0-dim boolean: the chunk at hand gets more noise."""
        return self.anchor_left > 0

    @property
    def refreshes_sinks(self) -> Tensor:
        """0-dim boolean: the chunk at hand takes the sinks' place."""
        return self.anchor_left == ANCHOR_CHUNKS

    def reset_(self) -> None:
        for tensor in (*self.source.tensors, *self.picture.tensors, *self.counts):
            tensor.zero_()
        self.look = None

    def begin_look_(self, params: Params, has_new_weights: bool) -> None:
        """A look other than the newest chunk's has a band of its own."""
        look = look_key(params)
        if look != self.look or has_new_weights:
            self.look = look
            for count in self.counts:
                count.zero_()

    def told(self) -> Tensor:
        """Float32 [4], a copy: level, is_out, num_anchors, anchor_left."""
        return torch.stack([self.level, self.is_out, self.num_anchors, self.anchor_left])

    def see_(
        self, source_S: Tensor, latents_BFCHW: Tensor, frames_BTCHW: Tensor, *, acts: bool
    ) -> None:
        """`level` says how far this picture has drifted, and its source has these statistics; with
        `acts` a re-anchor begins with the next chunk where that is too far."""
        self.age += 1
        count = self.age - SETTLE_CHUNKS
        self.source.learn_(source_S, count)
        self.picture.learn_(statistics(latents_BFCHW, frames_BTCHW), count)
        knows = count > LEARN_CHUNKS
        source = self.source.departure()
        has_moved_on = knows & (source > LIMIT)
        # As much as the source goes, the picture may go.
        level = self.picture.departure() / source.clamp(min=1)
        self.level.copy_(torch.where(knows & ~has_moved_on, level, 0.0))
        stays_out = (self.is_out > 0) & (self.level > CALM * LIMIT)
        self.is_out.copy_((self.level > LIMIT) | stays_out)
        self.anchor_left.copy_((self.anchor_left - 1).clamp(min=-REST_CHUNKS))
        self.age.copy_(torch.where(has_moved_on, 0.0, self.age))
        self.num_anchors.copy_(torch.where(has_moved_on, 0.0, self.num_anchors))
        if acts:
            self._anchor_()

    def _anchor_(self) -> None:
        may = (self.num_anchors == 0) | (self.anchor_left == -REST_CHUNKS)
        begins = may & (self.level > LIMIT) & (self.num_anchors < MAX_ANCHORS)
        self.anchor_left.copy_(torch.where(begins, float(ANCHOR_CHUNKS), self.anchor_left))
        self.num_anchors += begins
        # Judged anew from here: the slow average would take seconds to see that it has helped.
        self.picture.slow_S.copy_(torch.where(begins, self.picture.mean_S, self.picture.slow_S))

    def noise_scale(self, scale: Tensor) -> Tensor:
        """0-dim: the motion's noise scale, and a little more of it while re-anchoring."""
        return torch.where(self.is_anchoring, (scale * MORE_NOISE).clamp(max=1), scale)
