"""All that an engine remembers, copied, as a file, and put back: stream, looks, LoRAs.

The file is safetensors: tensors and one JSON text, nothing that runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.gpu.look_shelf import LookShelf
from sdv2_host.look_orders import MAX_LOOKS
from sdv2_host.stream.kept import KeptStream, StreamFacts, kept, put_back_
from sdv2_host.stream.lora import KeptLoras, LoraMerge, NoLoras
from sdv2_host.stream.snapshot import snapshot
from sdv2_host.stream.state import StreamState

FACTS = "sdv2-memory"
MAX_FACTS_CHARS = 10_000_000


class _Facts(BaseModel):
    """The JSON text. Streams: that of the engine, then the looks in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    streams: list[StreamFacts] = Field(min_length=1, max_length=MAX_LOOKS + 1)
    looks: list[str]
    newest_order: int
    loras: KeptLoras | None


class KeptEngine(NamedTuple):
    """A copy of what an engine remembers, in the host's memory."""

    facts: str
    tensors: dict[str, Tensor]

    def write(self, path: Path) -> None:
        """Raises: OSError: it cannot be written."""
        try:
            save_file(self.tensors, str(path), metadata={FACTS: self.facts})
        except SafetensorError as error:
            raise OSError(str(error)) from error


class StreamMemory:
    """What one `StreamEngine` remembers. Used by its thread."""

    def __init__(self, state: StreamState, looks: LookShelf, lora: LoraMerge | NoLoras) -> None:
        self._state = state
        self._looks = looks
        self._lora = lora

    @property
    def can_keep(self) -> bool:
        return self._lora.is_settled

    def keep(self) -> KeptEngine:
        names, states = self._looks.names, self._looks.states
        streams = [kept(state) for state in (self._state, *states)]
        facts = _Facts(
            streams=[stream.facts for stream in streams],
            looks=list(names),
            newest_order=self._looks.serial,
            loras=self._lora.kept(),
        )
        tensors = {
            f"{number}.{index}": tensor
            for number, stream in enumerate(streams)
            for index, tensor in enumerate(stream.tensors)
        }
        return KeptEngine(facts.model_dump_json(), tensors)

    def recall(self, path: Path) -> None:
        """Raises: ModelError: the file is none, or of another engine, model or size."""
        facts, read = _open(path)
        self._lora.put_back_(facts.loras)
        self._state.texts.forget_()
        own, *others = facts.streams
        states: list[StreamState] = []
        for number, stream in enumerate(others, 1):
            put_back_(self._state, KeptStream(stream, read(number)))
            states.append(snapshot(self._state))
        self._looks.put_back_(dict(zip(facts.looks, states, strict=True)), facts.newest_order)
        put_back_(self._state, KeptStream(own, read(0)))


def _open(path: Path) -> tuple[_Facts, Callable[[int], list[Tensor]]]:
    """What the file says, and its tensors of the stream of a number."""
    if path.is_symlink():
        raise ModelError(f"{path} is a link: a show has files only")
    try:
        file: Any = safe_open(str(path), framework="pt")
        text = (file.metadata() or {}).get(FACTS, "")[:MAX_FACTS_CHARS]
        facts = _Facts.model_validate_json(text)
        keys = set(file.keys())
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {path} ({error})") from error
    except ValidationError as error:
        raise ModelError(f"{path} is not what an engine remembered") from error
    if len(facts.looks) != len(facts.streams) - 1 or len(set(facts.looks)) != len(facts.looks):
        raise ModelError(f"{path} is not what an engine remembered")

    def read(number: int) -> list[Tensor]:
        count = sum(key.startswith(f"{number}.") for key in keys)
        names = [f"{number}.{index}" for index in range(count)]
        if not keys.issuperset(names):
            raise ModelError(f"{path} is not what an engine remembered")
        return [file.get_tensor(name) for name in names]

    return facts, read
