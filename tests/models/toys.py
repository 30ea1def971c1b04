"""A catalogue of two small models that share all but their DiT, and what a hub holds of them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path

from sdv2_host.models.catalogue import Catalogue, Entry, HubFile, Part, Role
from sdv2_host.models.download import Puller
from sdv2_host.models.hub import Hub
from sdv2_host.models.hub_cache import HubCache
from sdv2_host.models.store import Store
from tests.models.hub import COMMIT, Hosted, ToyHub

SMALL = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(500_000)
VAE = random.Random(3).randbytes(100_000)
TEXT = random.Random(4).randbytes(200_000)
WORDS = b'{"model": {"vocab": {"a": 0}}}'
SPIECE = b"pieces" * 20

CONTENTS = {
    "toys/stream/small/model.pt": Hosted(SMALL),
    "toys/stream/large/model.pt": Hosted(LARGE),
    "toys/wan/Wan2.1_VAE.pth": Hosted(VAE),
    "toys/wan/text.pth": Hosted(TEXT),
    "toys/wan/google/umt5-xxl/tokenizer.json": Hosted(WORDS, is_large=False),
    "toys/wan/google/umt5-xxl/spiece.model": Hosted(SPIECE),
}


def _file(key: str, *, pinned: bool) -> HubFile:
    content = CONTENTS[key].content
    return HubFile(
        repo="/".join(key.split("/")[:2]),
        path="/".join(key.split("/")[2:]),
        revision=COMMIT,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest() if pinned else None,
    )


def _part(slot: str, role: Role, *keys: str, pinned: bool = True) -> Part:
    files = tuple(_file(key, pinned=pinned) for key in keys)
    return Part(slot=slot, role=role, licence="none", files=files)


_SHARED = (
    _part("vae", Role.VAE, "toys/wan/Wan2.1_VAE.pth"),
    _part("text", Role.TEXT, "toys/wan/text.pth"),
    _part(
        "tokenizer",
        Role.TOKENIZER,
        "toys/wan/google/umt5-xxl/tokenizer.json",
        "toys/wan/google/umt5-xxl/spiece.model",
    ),
)
_SMALL_DIT = _part("dit-1.3b", Role.DIT, "toys/stream/small/model.pt", pinned=False)
_LARGE_DIT = _part("dit-14b", Role.DIT, "toys/stream/large/model.pt", pinned=False)
TOYS = Catalogue(
    entries=(
        Entry(name="tiny", what="built in", parts=()),
        Entry(name="wan-1.3b", what="a small toy", parts=(_SMALL_DIT, *_SHARED)),
        Entry(name="wan-14b", what="a large toy", parts=(_LARGE_DIT, *_SHARED)),
    )
)


def files_of(name: str) -> list[HubFile]:
    return [file for part in TOYS.entry(name).parts for file in part.files]


def toy_hub() -> ToyHub:
    return ToyHub(files=dict(CONTENTS))


def toy_store(folder: Path) -> Store:
    return Store(folder / "models", HubCache(folder / "hub"), TOYS)


@dataclass
class NoteProgress:
    """Keeps what it is told: (name, size, last position) per file."""

    notes: list[tuple[str, int, int]] = field(default_factory=list)

    def begin(self, name: str, size_bytes: int) -> None:
        self.notes.append((name, size_bytes, 0))

    def reach(self, done_bytes: int) -> None:
        name, size_bytes, _ = self.notes[-1]
        self.notes[-1] = (name, size_bytes, done_bytes)

    def end(self) -> None:
        pass


def no_wait(seconds: float) -> None:
    """In place of the pauses between tries."""


def puller(store: Store, hub: ToyHub, token: str | None = None) -> Puller:
    """One that gives up at the first broken connection."""
    return Puller(store, Hub(hub.address, token), sleep=no_wait, waits_s=())


def pull(store: Store, hub: ToyHub, name: str) -> None:
    """Everything of the model is installed."""
    one = puller(store, hub)
    for remote in one.plan(files_of(name)).missing:
        one.fetch(remote, NoteProgress())
