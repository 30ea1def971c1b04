"""Prompts as keys and values, computed once per prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

from sdv2_host.wan.model import CausalWanModel, TextKV
from sdv2_host.wan.text import TextEncoder


@dataclass(slots=True)
class TextBank:
    """The last prompts' text keys and values, newest last.

    Lifetime: process. A memo of a function of prompt and weights, so a reset leaves it alone and
    a change of weights empties it.
    """

    capacity: int = 8
    entries: dict[str, list[TextKV]] = field(default_factory=dict)

    def get(self, prompt: str, text: TextEncoder, dit: CausalWanModel) -> list[TextKV]:
        """Per block, one row [1, text_len, N, D]. Never written to after this."""
        found = self.entries.pop(prompt, None)
        if found is None:
            # Room first: one prompt more than planned for is 94 MB of Wan 1.3B's, 419 MB of 14B's.
            while len(self.entries) >= self.capacity:
                del self.entries[next(iter(self.entries))]
            like = next(dit.parameters())
            found = dit.text_kv(text.encode(prompt).to(like.device, like.dtype))
        self.entries[prompt] = found
        return found

    def forget_(self) -> None:
        """The next `get` of every prompt computes it anew. Chunks in flight keep what they have."""
        self.entries.clear()
