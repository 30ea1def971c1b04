"""Prompts as keys and values, computed once per prompt, and blends of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from sdv2_host.blend import Blend, BlendMode
from sdv2_host.stream.slerp import weighted_slerp
from sdv2_host.wan.model import CausalWanModel, TextKV
from sdv2_host.wan.text import TextEncoder

CPU = torch.device("cpu")
REFRESH_DISTANCE = 0.5
"""Sinks are refreshed when this part of the look has changed since they were."""


class Mixture(NamedTuple):
    """A blend of more than one prompt, computed."""

    blend: Blend
    mode: BlendMode
    text: list[TextKV]


@dataclass(slots=True)
class TextBank:
    """The last prompts' text keys and values, newest last, and those of the last blend.

    Lifetime: process. A memo of a function of prompts and weights, so a reset leaves it alone and
    a change of weights empties it. A transition makes a blend per chunk: only the last is kept,
    in the place of one prompt, and the prompts stay.
    """

    capacity: int = 8
    entries: dict[str, list[TextKV]] = field(default_factory=dict)
    mixture: Mixture | None = None

    def get(
        self,
        blend: Blend,
        text: TextEncoder,
        dit: CausalWanModel,
        mode: BlendMode = "linear",
    ) -> list[TextKV]:
        """Per block, one row [1, text_len, N, D]. Never written to after this.

        The model sees the weighted sum of the prompts' embeddings, or with "slerp" their
        spherical mean.
        """
        if len(blend) == 1:
            return self._single(blend[0].text, text, dit)
        mixture = self.mixture
        if mixture is None or (mixture.blend, mixture.mode) != (blend, mode):
            # Room first: one prompt more than planned for is 94 MB of Wan 1.3B's, 419 MB of 14B's.
            self.mixture = None
            self._make_room(self.capacity - 1)
            like = next(dit.parameters())
            embedding = mixed_embedding(blend, mode, text, like.device)
            mixture = Mixture(blend, mode, dit.text_kv(embedding.to(like.dtype)))
            self.mixture = mixture
        return mixture.text

    def _single(self, prompt: str, text: TextEncoder, dit: CausalWanModel) -> list[TextKV]:
        found = self.entries.pop(prompt, None)
        if found is None:
            self._make_room(self.capacity - (self.mixture is not None) - 1)
            if len(self.entries) + (self.mixture is not None) >= self.capacity:
                self.mixture = None
            like = next(dit.parameters())
            found = dit.text_kv(text.encode(prompt).to(like.device, like.dtype))
        self.entries[prompt] = found
        return found

    def _make_room(self, most: int) -> None:
        """No more than `most` prompts are kept, the oldest go first."""
        while len(self.entries) > max(most, 0):
            del self.entries[next(iter(self.entries))]

    def room_bytes(self, num_in_flight: int) -> int:
        """What is still to come beside what is kept: prompts up to the capacity, and as many that
        chunks in flight hold on to when they are no longer kept. 0 before the first."""
        kept = list(self.entries.values())
        kept += [self.mixture.text] if self.mixture is not None else []
        if not kept:
            return 0
        one_bytes = sum(part.nbytes for kv in kept[0] for part in kv)
        return (self.capacity - len(kept) + num_in_flight) * one_bytes

    def forget_(self) -> None:
        """The next `get` of every prompt computes it anew. Chunks in flight keep what they have."""
        self.entries.clear()
        self.mixture = None


def mixed_embedding(
    blend: Blend, mode: BlendMode, text: TextEncoder, device: torch.device = CPU
) -> Tensor:
    """[1, text_len, text_dim] in float32, on the device; one prompt's own rows as they are."""
    if len(blend) == 1:
        return text.encode(blend[0].text).to(device)
    rows_PLE = torch.cat([text.encode(part.text).to(device).float() for part in blend])
    weights = [part.weight for part in blend]
    if mode == "slerp":
        return weighted_slerp(rows_PLE, weights)
    weight_P11 = torch.tensor(weights, device=device)[:, None, None]
    return (weight_P11 * rows_PLE).sum(dim=0, keepdim=True)


class LookChange(NamedTuple):
    """What the newest chunk's look is to those before it."""

    is_new_look: bool
    """Not the one in the sinks, which hold another."""
    is_cut: bool
    """Not the one of the chunk before: the whole cache holds another."""


NO_CHANGE = LookChange(is_new_look=False, is_cut=False)


@dataclass(slots=True)
class LookMemory:
    """Which look the sinks hold. Per session.

    A new prompt is a cut, and the sinks hold the old look. A slow transition is none: its chunks
    hardly differ from one to the next. It refreshes the sinks when half of the look has changed,
    and once more when it has arrived: at each chunk of it they would be one frame old, and the
    picture would swim.
    """

    in_sinks: Blend | None = None
    newest: Blend | None = None

    def see(self, blend: Blend, has_new_weights: bool) -> LookChange:
        """What the chunk with this blend, the newest, changes. Nothing, for the first."""
        before, self.newest = self.newest, blend
        if before is None or self.in_sinks is None:
            self.in_sinks = blend
            return NO_CHANGE
        is_cut = has_new_weights or distance(before, blend) >= REFRESH_DISTANCE
        has_settled = blend == before and blend != self.in_sinks
        if not is_cut and not has_settled and distance(self.in_sinks, blend) < REFRESH_DISTANCE:
            return NO_CHANGE
        self.in_sinks = blend
        return LookChange(is_new_look=True, is_cut=is_cut)


def distance(first: Blend, second: Blend) -> float:
    """0 = the same look, 1 = nothing in common."""
    before, after = dict(first), dict(second)
    texts = before.keys() | after.keys()
    return sum(abs(before.get(text, 0.0) - after.get(text, 0.0)) for text in texts) / 2
