"""What an engine remembers, as a show keeps it and a replay gives it back."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable


class KeptMemory(Protocol):
    """A copy of what an engine remembers, in the host's memory."""

    def write(self, path: Path) -> None:
        """It is in the file. May take seconds; any thread.

        Raises:
            OSError: it cannot be written.
        """


class EngineMemory(Protocol):
    """All that an engine's next pictures depend on beside what they are made of."""

    @property
    def can_keep(self) -> bool:
        """False while a LoRA is being merged: then the weights are neither as before nor as asked
        for."""

    def keep(self) -> KeptMemory:
        """A copy. `can_keep`, and nothing may be on its way."""

    def recall(self, path: Path) -> None:
        """The engine goes on as the one whose memory was written.

        Raises:
            ModelError: the file is none, or of another engine, model or size.
        """


@runtime_checkable
class Remembering(Protocol):
    """An `Engine` whose memory can be kept; the others can only begin anew."""

    @property
    def memory(self) -> EngineMemory: ...
