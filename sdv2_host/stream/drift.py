"""Drift watchdog: does the picture still look as it did when this look began?

# B rows (1)  T frames  C channels  H W size  S statistics

Mean and spread of every channel, of the latents and of the colours, are followed for the picture
and for the source. The first chunks of a look say in which band they lie; later a slow average is
held against it. Where the source leaves its own band, another scene is on, and the band is learnt
anew; where the picture does so alone, that is drift. What is done against it, a soft re-anchor, is
decided on the device: nothing here is read on the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

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
    colours_BTCHW = frames_BTCHW[..., ::STRIDE_PX, ::STRIDE_PX]
    parts = []
    for values in (_by_channel(latents_BFCHW), _by_channel(colours_BTCHW).clamp_(-1, 1)):
        mean = values.mean(dim=1)
        # Not `std_mean`: on a CPU it takes four times as long.
        spread = torch.linalg.vector_norm(values - mean.unsqueeze(1), dim=1)
        parts += [mean, spread / math.sqrt(values.shape[1])]
    return torch.cat(parts)


def _by_channel(values_BTCHW: Tensor) -> Tensor:
    """Float32 [C, all else], a copy."""
    return values_BTCHW.transpose(0, 2).flatten(1).to(torch.float32, copy=True)


class _Rule(NamedTuple):
    """What a chunk of some age does to a band, each [..]: one tensor at a time in a launch."""

    weight: Tensor
    """Of the chunk in the mean; 0 = it does not belong to the band."""
    keeps: Tensor
    """0 where the sum of squares begins, else 1."""
    belongs: Tensor
    """1 or 0."""
    slow_weight: Tensor
    """Of what the slow average moves to."""
    knows: Tensor
    """1 once the band is complete: the slow average moves to the chunk, before that to the mean."""

    @classmethod
    def table(cls, device: torch.device) -> Tensor:
        """[age, 5]; the last row is for all that are older."""
        count = torch.arange(SETTLE_CHUNKS + LEARN_CHUNKS + 2, dtype=torch.float32) - SETTLE_CHUNKS
        belongs = (count >= 1) & (count <= LEARN_CHUNKS)
        knows = count > LEARN_CHUNKS
        rule = cls(
            torch.where(belongs, 1 / count.clamp(min=1), 0.0),
            (count != 1).float(),
            belongs.float(),
            torch.where(knows, RATE, 1.0),
            knows.float(),
        )
        return torch.stack(list(rule), dim=1).to(device)


@dataclass(slots=True)
class Bands:
    """Where the statistics of the source and of the picture lie. Per session, written in place."""

    mean_2S: Tensor
    squares_2S: Tensor
    """Sum of squared distances to the mean, of the chunks learnt from."""
    slow_2S: Tensor
    """Slow average; the mean itself while learning."""

    @classmethod
    def fresh(cls, latent_dim: int, device: torch.device) -> Bands:
        return cls(*(torch.zeros(2, 2 * (latent_dim + 3), device=device) for _ in range(3)))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.mean_2S, self.squares_2S, self.slow_2S

    def learn_(self, new_2S: Tensor, rule: _Rule) -> None:
        """A chunk has come. Source: Welford's running variance."""
        before_2S = new_2S - self.mean_2S
        self.mean_2S.lerp_(new_2S, rule.weight)
        after_2S = new_2S - self.mean_2S
        self.squares_2S.mul_(rule.keeps).addcmul_(before_2S.mul_(rule.belongs), after_2S)
        aim_2S = self.mean_2S.lerp(new_2S, rule.knows)
        self.slow_2S.lerp_(aim_2S, rule.slow_weight)

    def departures(self, consts: _Constants) -> Tensor:
        """[2]: how far the slow averages are from their bands, in spreads of these.

        The largest of four groups, each the root mean square of its channels: a cast in the
        colours would drown among the latents.
        """
        contrast_2S = self.mean_2S.index_select(1, consts.contrast_S)
        spread_2S = (self.squares_2S / LEARN_CHUNKS).sqrt_()
        spread_2S.add_(contrast_2S, alpha=FLOOR).add_(ONE_LEVEL)
        apart_2S = (self.slow_2S - self.mean_2S).div_(spread_2S).square_()
        return (apart_2S @ consts.group_S4).amax(dim=1).sqrt_()


class _Constants(NamedTuple):
    """On the device, made once."""

    rules: Tensor
    contrast_S: Tensor
    """int64: which statistic is the contrast of each one's channel, its spread in a chunk."""
    group_S4: Tensor
    """Makes means of the four groups' statistics."""
    each_chunk_5: Tensor
    """What a chunk adds to the counts."""
    least_5: Tensor
    """That they may be."""

    @classmethod
    def of(cls, latent_dim: int, device: torch.device) -> _Constants:
        dims = [latent_dim, latent_dim, 3, 3]
        latents, colours = (torch.arange(dim) + start for dim, start in _spreads(latent_dim))
        group_S4 = torch.repeat_interleave(
            torch.diag(1 / torch.tensor(dims)), torch.tensor(dims), dim=0
        )
        none = torch.finfo(torch.float32).min
        constants = cls(
            _Rule.table(device),
            torch.cat([latents, latents, colours, colours]),
            group_S4,
            torch.tensor([1.0, 0.0, 0.0, -1.0, 0.0]),
            torch.tensor([none, none, none, -REST_CHUNKS, none]),
        )
        return cls(*(tensor.to(device) for tensor in constants))


def _spreads(latent_dim: int) -> list[tuple[int, int]]:
    """(how many, where they begin) of the spreads of latents and of colours; see `statistics`."""
    return [(latent_dim, latent_dim), (3, 2 * latent_dim + 3)]


@dataclass(slots=True)
class DriftState:
    """All per session, written in place but for `look`. Counts are float32."""

    bands: Bands
    counts_5: Tensor
    """Age, level, is_out, anchor_left, num_anchors: one tensor, as each launch costs a host as much
    as a thousand numbers cost a device."""
    constants: _Constants
    look: tuple[object, ...] | None = None
    """What the newest chunk was asked to look like; None = it was not watched."""

    @classmethod
    def fresh(cls, latent_dim: int, device: torch.device) -> DriftState:
        constants = _Constants.of(latent_dim, device)
        return cls(Bands.fresh(latent_dim, device), torch.zeros(5, device=device), constants)

    @property
    def age(self) -> Tensor:
        """Chunks since the look or the source's scene began."""
        return self.counts_5[0]

    @property
    def level(self) -> Tensor:
        """Drift of the picture in spreads of its band; 0 while that is being learnt."""
        return self.counts_5[1]

    @property
    def is_out(self) -> Tensor:
        """1 from when the level passes the limit until it is calm again."""
        return self.counts_5[2]

    @property
    def anchor_left(self) -> Tensor:
        """Chunks of a re-anchor that are still to come; the first of them refreshes the sinks.
        Below 0: minus the chunks since it ended, up to the rest."""
        return self.counts_5[3]

    @property
    def num_anchors(self) -> Tensor:
        """Of this band."""
        return self.counts_5[4]

    @property
    def is_anchoring(self) -> Tensor:
        """0-dim boolean: the chunk at hand gets more noise."""
        return self.anchor_left > 0

    @property
    def refreshes_sinks(self) -> Tensor:
        """0-dim boolean: the chunk at hand takes the sinks' place."""
        return self.anchor_left == ANCHOR_CHUNKS

    def reset_(self) -> None:
        for tensor in (*self.bands.tensors, self.counts_5):
            tensor.zero_()
        self.look = None

    def begin_look_(self, params: Params, has_new_weights: bool) -> None:
        """A look other than the newest chunk's has a band of its own."""
        look = look_key(params)
        if look != self.look or has_new_weights:
            self.look = look
            self.counts_5.zero_()

    def told(self) -> Tensor:
        """A copy of the counts."""
        return self.counts_5.clone()

    def see_(
        self, source_S: Tensor, latents_BFCHW: Tensor, frames_BTCHW: Tensor, *, acts: bool
    ) -> None:
        """`level` says how far this picture has drifted, and its source has these statistics; with
        `acts` a re-anchor begins with the next chunk where that is too far."""
        rules, *_ = consts = self.constants
        torch.maximum(self.counts_5.add_(consts.each_chunk_5), consts.least_5, out=self.counts_5)
        row_1 = self.age.clamp(max=len(rules) - 1).to(torch.int64)[None]
        rule = _Rule(*rules.index_select(0, row_1)[0].unbind())
        self.bands.learn_(torch.stack([source_S, statistics(latents_BFCHW, frames_BTCHW)]), rule)
        source, picture = self.bands.departures(consts).unbind()
        # The source has moved on: another scene is on, its band is learnt anew.
        stays = 1 - (source > LIMIT).mul(rule.knows)
        # As much as the source goes, the picture may go.
        level = torch.div(picture, source.clamp(min=1), out=self.level).mul_(rule.knows).mul_(stays)
        limit = (self.is_out * ((CALM - 1) * LIMIT)).add_(LIMIT)
        self.is_out.copy_(level > limit)
        self.counts_5[:: len(self.counts_5) - 1].mul_(stays)  # age and num_anchors
        if acts:
            self._anchor_()

    def _anchor_(self) -> None:
        may = (self.num_anchors == 0) | (self.anchor_left == -REST_CHUNKS)
        begins = may & (self.level > LIMIT) & (self.num_anchors < MAX_ANCHORS)
        self.anchor_left.copy_(torch.where(begins, float(ANCHOR_CHUNKS), self.anchor_left))
        self.num_anchors.add_(begins)
        # Judged anew from here: the slow average would take seconds to see that it has helped.
        mean_S, slow_S = self.bands.mean_2S[1], self.bands.slow_2S[1]
        slow_S.copy_(torch.where(begins, mean_S, slow_S))

    def noise_scale(self, scale: Tensor) -> Tensor:
        """0-dim: the motion's noise scale, and a little more of it while re-anchoring."""
        return torch.where(self.is_anchoring, (scale * MORE_NOISE).clamp(max=1), scale)
