"""The reference's cache written out frame by frame: what `ReferenceKVCache` has to equal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.stream.rotary_book import RotaryBook
from sdv2_host.wan.attention import attention
from sdv2_host.wan.rope import rotate

SINKS, CAPACITY = 3, 6


@dataclass
class FrameByFrame:
    """One block and row of the reference, a list of frames; None is a slot of zeros.

    A transcription of its rules (streamdiffusionv2.md 2.3), in units of frames.
    """

    tokens: int
    """Per frame."""
    threshold: float
    slots: list[tuple[Tensor, Tensor] | None] = field(default_factory=lambda: [None] * CAPACITY)
    queue: list[int] = field(default_factory=list)
    fill: int = 0
    global_end: int = 0
    total_steps: int = 1
    current_step: int = 1

    def copy(self) -> FrameByFrame:
        """One that goes on by itself."""
        return replace(self, slots=list(self.slots), queue=list(self.queue))

    def step(self, q: Tensor, k: Tensor, v: Tensor, start: int, book: RotaryBook) -> Tensor:
        new = k.shape[1] // self.tokens
        table = book.table(tuple(range(start, start + new)))
        q, k = rotate(q, table), rotate(k, table)
        end = start + new
        if new == 1 and self.threshold > -1:
            alike = [0.0 if slot is None else _alike(slot, k, v) for slot in self.slots[:SINKS]]
            if min(alike) < self.threshold:
                self.queue.insert(0, alike.index(min(alike)) + 1)
        if end > CAPACITY or self.fill >= CAPACITY:
            self.fill = CAPACITY
            target = self.queue[0]
            if self.current_step > 1:
                self.current_step -= 1
            else:
                self.queue.pop(0)
                if target > SINKS:
                    self.queue.append(target)
                self.current_step = self.total_steps
        else:
            target = self.fill + end - self.global_end
            if SINKS < end + new <= CAPACITY and (not self.queue or self.queue[-1] != end + new):
                self.queue.append(end + new)
            self.fill = target
        for frame in range(new):
            part = slice(frame * self.tokens, (frame + 1) * self.tokens)
            self.slots[target - new + frame] = (k[:, part], v[:, part])
        self.global_end = end
        held = [slot for slot in self.slots[: self.fill] if slot is not None]
        return attention(q, torch.cat([k for k, _ in held], 1), torch.cat([v for _, v in held], 1))


def _alike(slot: tuple[Tensor, Tensor], k: Tensor, v: Tensor) -> float:
    def cosine(a: Tensor, b: Tensor) -> float:
        return float(F.cosine_similarity(a.flatten(2).mean(1), b.flatten(2).mean(1)))

    return (cosine(slot[0], k) + cosine(slot[1], v)) / 2
