"""What a file or a folder of the user holds that a model can use. Nothing is copied or changed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sdv2_host.errors import ModelError
from sdv2_host.models.catalogue import Catalogue, Part, Role

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".index.json")
TOKENIZER_NAMES = ("tokenizer.json", "spiece.model")
UMT5_WORDS = range(256_000, 256_385)
"""Size of UMT5's vocabulary: 256300 words, 256384 with the unused ones."""
SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
MAX_DEPTH = 8
MAX_FILES = 5000
MAX_TOKENIZER_BYTES = 100_000_000
LORA = "lora"

Identify = Callable[[Path], str | None]
"""The slot that a file of weights is for, `LORA`, or None; raises ModelError if it is damaged."""


class Findings(NamedTuple):
    """What was found: for a slot the file, the index of shards or the tokenizer's folder."""

    parts: dict[str, Path]
    loras: tuple[Path, ...]
    unclear: dict[str, tuple[Path, ...]]
    """Slots with several files of which none is known by its name."""
    refused: tuple[str, ...]
    """Why files could not be read."""


def search(path: Path, identify: Identify, catalogue: Catalogue) -> Findings:
    """Looks at a file, or at every file of weights below a folder.

    Raises:
        ModelError: there is nothing at `path`, or the one file named is of no use.
    """
    if path.is_file():
        slot = identify(path)
        if slot is None:
            raise ModelError(f"{path}: none of the files that a model here is made of")
        if slot == LORA:
            return Findings({}, (path,), {}, ())
        return Findings({slot: path}, (), {}, ())
    if not path.is_dir():
        raise ModelError(f"{path}: no such file or folder")
    by_slot: dict[str, list[Path]] = {}
    refused = []
    for file in _weight_files(path):
        try:
            slot = identify(file)
        except ModelError as error:
            refused.append(str(error))
            continue
        if slot is not None:
            by_slot.setdefault(slot, []).append(file)
    loras = tuple(by_slot.pop(LORA, ()))
    parts = {part.slot: part for part in catalogue.parts}
    for part in parts.values():
        if part.role is Role.TOKENIZER:
            by_slot[part.slot] = [one for one in _folders(path) if _is_tokenizer(one, part)]
    clear, unclear = {}, {}
    for slot, candidates in by_slot.items():
        chosen = _choose(parts[slot], candidates)
        if chosen is not None:
            clear[slot] = chosen
        elif candidates:
            unclear[slot] = tuple(candidates)
    return Findings(clear, loras, unclear, tuple(refused))


def is_known_by_name(part: Part, path: Path) -> bool:
    """Whether the file lies under the name that it has on the hub, folder included."""
    if part.is_folder:
        return any(path.as_posix().endswith(Path(f.path).parent.as_posix()) for f in part.files)
    return any(path.as_posix().endswith("/" + file.path) for file in part.files)


def _choose(part: Part, candidates: list[Path]) -> Path | None:
    """The one candidate, or the one of the right name; copies of one file count as one."""
    known = [path for path in candidates if is_known_by_name(part, path)] or candidates
    looks = {(path.name, path.stat().st_size if path.is_file() else 0) for path in known}
    return known[0] if len(looks) == 1 else None


def _folders(top: Path) -> Iterator[Path]:
    """The folder and those below it, hidden ones left out, each before its own, in order."""
    for folder, below, _ in os.walk(top):
        here = Path(folder)
        deep = len(here.relative_to(top).parts) >= MAX_DEPTH
        below[:] = [] if deep else sorted(name for name in below if not name.startswith("."))
        yield here


def _weight_files(top: Path) -> list[Path]:
    """Files of weights below the folder; of a model in shards its index.

    Raises:
        ModelError: there are too many: it is not the folder of a model.
    """
    files: list[Path] = []
    for folder in _folders(top):
        for path in sorted(folder.iterdir()):
            is_weights = path.name.endswith(WEIGHT_SUFFIXES) and not SHARD.search(path.name)
            if is_weights and path.is_file():
                files.append(path)
        if len(files) > MAX_FILES:
            raise ModelError(
                f"{top}: more than {MAX_FILES} files of weights: name a folder further down"
            )
    return files


def _is_tokenizer(folder: Path, part: Part) -> bool:
    """Whether UMT5's tokenizer is there: a known file by name and size, or its vocabulary."""
    known = {(file.name, file.size_bytes) for file in part.files if file.name in TOKENIZER_NAMES}
    there = [folder / name for name in TOKENIZER_NAMES if (folder / name).is_file()]
    if any((path.name, path.stat().st_size) in known for path in there):
        return True
    words = folder / TOKENIZER_NAMES[0]
    if words not in there or words.stat().st_size > MAX_TOKENIZER_BYTES:
        return False
    try:
        content = json.loads(words.read_bytes())
        return len(content["model"]["vocab"]) in UMT5_WORDS
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
