"""The models that can be installed: for each its parts, and for each part its files on the hub.

Where the facts are from. None of these files could be fetched where this was written, so every fact
is second hand, and `pull` trusts the hub's own metadata where a hash is not pinned here.

    repositories, paths       StreamDiffusionV2 README; its loader (reference notes, section 3)
    Wan VAE, UMT5, tokenizer  size and SHA-256 agree in many independent public download scripts,
                              which took them from the hub's LFS records; the files of the -1.3B and
                              the -14B repository are the same bytes, so both models share them
    DiT sizes, revision       one public set-up script that quotes the hub's API; 5.676 GB is 4 and
                              28.577 GB is 2 bytes for each parameter; the SHA-256 is not known
    taew2_1                   its author publishes on GitHub only (madebyollin/taehv); the mirror
                              here states the same size and SHA-256 as three other users of the file
    licences                  the model cards: apache-2.0; taehv: MIT
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sdv2_host.errors import ConfigError, ModelError

COMMIT = re.compile(r"[0-9a-f]{40}")
MAX_CATALOGUE_BYTES = 1_000_000


class Role(Enum):
    """What a part is for."""

    DIT = "dit"
    VAE = "vae"
    TAEHV = "taehv"
    TEXT = "text"
    TOKENIZER = "tokenizer"

    @property
    def title(self) -> str:
        """The part in a sentence."""
        return _TITLES[self.value]


_TITLES = {
    "dit": "DiT",
    "vae": "VAE",
    "taehv": "TAEHV",
    "text": "text encoder",
    "tokenizer": "tokenizer",
}


def size_text(size_bytes: int) -> str:
    """A size for people, in decimal units as disks and the hub state them: 5.7 GB, 22.6 MB."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= 0.95 * factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"


def _check_inner_path(path: str) -> str:
    """A path inside a repository: it can be joined to a folder and stays inside."""
    parts = path.split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_.+-]{1,120}", part) and part.strip(".") for part in parts):
        raise ValueError("expected a relative path of letters, digits, '_', '.', '+' and '-'")
    return path


_REPO = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$"
InnerPath = Annotated[str, Field(max_length=300), AfterValidator(_check_inner_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HubFile(_Frozen):
    """One file of a repository on the hub."""

    repo: str = Field(pattern=_REPO)
    path: InnerPath
    revision: InnerPath = Field("main", description="Commit, branch or tag.")
    size_bytes: int = Field(ge=0, description="To plan with; the hub's own figure decides.")
    sha256: Sha256 | None = None

    @property
    def key(self) -> str:
        """Name of the file in the register and in messages."""
        return f"{self.repo}/{self.path}"

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


class Part(_Frozen):
    """One thing a model needs; parts of the same slot in two models are the same thing."""

    slot: str = Field(pattern=r"^[a-z0-9.-]{1,40}$")
    role: Role
    licence: str
    files: tuple[HubFile, ...] = Field(min_length=1)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def is_folder(self) -> bool:
        """Whether the part is used as the folder that holds its files."""
        return self.role is Role.TOKENIZER


class Entry(_Frozen):
    """A model by the name that `--engine` takes."""

    name: str = Field(pattern=r"^[a-z0-9.-]{1,40}$")
    what: str
    parts: tuple[Part, ...] = Field(description="None: built in, nothing to install.")


class Catalogue(_Frozen):
    """All models."""

    entries: tuple[Entry, ...]

    def entry(self, name: str) -> Entry:
        """The model of that name.

        Raises:
            ConfigError: there is none; naming those there are.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.entries)
        raise ConfigError(f"{name}: unknown model, known are {known}")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part once, in the order of the models."""
        by_slot = {part.slot: part for entry in self.entries for part in entry.parts}
        return tuple(by_slot.values())


_STREAM_REPO = "jerryfeng/StreamDiffusionV2"
_STREAM_COMMIT = "2373eb2b39278b3a1aa174964a724ee78ead96f0"
_WAN_REPO = "Wan-AI/Wan2.1-T2V-1.3B"
_WAN_COMMIT = "37ec512624d61f7aa208f7ea8140a131f93afc9a"
_APACHE = "Apache-2.0"


def _wan(path: str, size_bytes: int, sha256: str) -> HubFile:
    return HubFile(
        repo=_WAN_REPO, path=path, revision=_WAN_COMMIT, size_bytes=size_bytes, sha256=sha256
    )


def _dit(slot: str, folder: str, size_bytes: int) -> Part:
    file = HubFile(
        repo=_STREAM_REPO,
        path=f"{folder}/model.pt",
        revision=_STREAM_COMMIT,
        size_bytes=size_bytes,
    )
    return Part(slot=slot, role=Role.DIT, licence=_APACHE, files=(file,))


_VAE = Part(
    slot="vae",
    role=Role.VAE,
    licence=_APACHE,
    files=(
        _wan(
            "Wan2.1_VAE.pth",
            507_609_880,
            "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981",
        ),
    ),
)
_TAEHV = Part(
    slot="taehv",
    role=Role.TAEHV,
    licence="MIT",
    files=(
        HubFile(
            repo="OzzyGT/taew2_1",
            path="taew2_1.safetensors",
            size_bytes=22_642_902,
            sha256="04766eac0221b5390b985ae3fdcca652cbb4b1e8b82b28ea7ff89dfad1b1a93f",
        ),
    ),
)
_TEXT = Part(
    slot="text",
    role=Role.TEXT,
    licence=_APACHE,
    files=(
        _wan(
            "models_t5_umt5-xxl-enc-bf16.pth",
            11_361_920_418,
            "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
        ),
    ),
)
_TOKENIZER = Part(
    slot="tokenizer",
    role=Role.TOKENIZER,
    licence=_APACHE,
    files=(
        _wan(
            "google/umt5-xxl/tokenizer.json",
            16_837_417,
            "6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b",
        ),
        _wan(
            "google/umt5-xxl/tokenizer_config.json",
            61_728,
            "ed9a3a8b0faa71a70a32847e0435fe036e6e112d4df4edb7bb48a921e344dc05",
        ),
        _wan(
            "google/umt5-xxl/special_tokens_map.json",
            6_623,
            "7b8a9f5040adb67b5805abdfd42c1f8d0f3d0e711f10726580eb3789cd0ad61d",
        ),
        _wan(
            "google/umt5-xxl/spiece.model",
            4_548_313,
            "e3909a67b780650b35cf529ac782ad2b6b26e6d1f849d3fbb6a872905f452458",
        ),
    ),
)

CATALOGUE = Catalogue(
    entries=(
        Entry(name="tiny", what="the embedded model, built in", parts=()),
        Entry(
            name="wan-1.3b",
            what="StreamDiffusionV2 on causal Wan 2.1, 1.3 billion parameters",
            parts=(
                _dit("dit-1.3b", "wan_causal_dmd_v2v", 5_676_282_858),
                _VAE,
                _TAEHV,
                _TEXT,
                _TOKENIZER,
            ),
        ),
        Entry(
            name="wan-14b",
            what="StreamDiffusionV2 on causal Wan 2.1, 14 billion parameters",
            parts=(
                _dit("dit-14b", "wan_causal_dmd_v2v_14b", 28_577_332_702),
                _VAE,
                _TAEHV,
                _TEXT,
                _TOKENIZER,
            ),
        ),
    )
)


def read_catalogue(path: Path) -> Catalogue:
    """A catalogue from a JSON file of this shape, for a mirror of one's own.

    Raises:
        ModelError: the file cannot be read, or is not a catalogue.
    """
    try:
        if path.stat().st_size > MAX_CATALOGUE_BYTES:
            raise ModelError(f"{path}: larger than {MAX_CATALOGUE_BYTES} bytes, not a catalogue")
        return Catalogue.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot read the catalogue: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ModelError(f"{path}: not a catalogue, at {where}: {first['msg']}") from None
