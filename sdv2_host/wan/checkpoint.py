"""A checkpoint, whatever it is kept in: named tensors, each read when it is asked for.

A file, the shards that an index names, or the folder that holds one of these (diffusers keeps the
parts of a pipeline in `transformer/`, `vae/`, `text_encoder/`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.wan.tensor_file import TensorFile, TensorInfo, check_name, open_tensor_file

_INDEX_SUFFIX = ".index.json"
_MAX_INDEX_BYTES = 64 << 20
_SUFFIXES = ((_INDEX_SUFFIX,), (".safetensors",), (".pt", ".pth", ".bin"))
"""What a folder is searched for, best first. Shards end in .safetensors too: the index wins."""


@dataclass(frozen=True, slots=True)
class _Entry:
    file: TensorFile
    key: str
    """Its name in that file."""
    info: TensorInfo
    last_rows: int | None = None
    """Only so many rows of it, from the end."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Open until `close`, or the end of its `with`. Views under other names share the files."""

    path: Path
    """What errors call it."""
    _entries: Mapping[str, _Entry]
    _files: ExitStack
    metadata: Mapping[str, str]

    @property
    def entries(self) -> Mapping[str, TensorInfo]:
        return {name: entry.info for name, entry in self._entries.items()}

    def read(self, name: str) -> Tensor:
        """The tensor on the CPU, in the file's own type. Not to be written to.

        Raises:
            ModelError: the file cannot be read.
        """
        entry = self._entries[name]
        tensor = entry.file.read(entry.key)
        return tensor if entry.last_rows is None else tensor[-entry.last_rows :]

    def forget(self, name: str) -> None:
        """The tensor will not be read again; its memory is free, if it took any."""
        entry = self._entries[name]
        entry.file.forget(entry.key)

    def renamed(self, rename: Callable[[str], str]) -> Checkpoint:
        """The same tensors under other names.

        Raises:
            ModelError: two would get the same name.
        """
        entries: dict[str, _Entry] = {}
        for name, entry in self._entries.items():
            new = rename(name)
            if new in entries:
                raise ModelError(f"{self.path}: {entries[new].key} and {entry.key} are both {new}")
            entries[new] = entry
        return replace(self, _entries=entries)

    def within(self, prefix: str) -> Checkpoint:
        """Only the tensors whose names begin so, by the rest of their names."""
        kept = {
            name.removeprefix(prefix): entry
            for name, entry in self._entries.items()
            if name.startswith(prefix)
        }
        return replace(self, _entries=kept)

    def without(self, names: Collection[str]) -> Checkpoint:
        """The same without these tensors, where they are."""
        kept = {name: entry for name, entry in self._entries.items() if name not in names}
        return replace(self, _entries=kept)

    def with_last_rows(self, num_rows: Mapping[str, int]) -> Checkpoint:
        """The same, but of the tensors named only so many rows, from the end."""
        entries = dict(self._entries)
        for name, rows in num_rows.items():
            entry = entries[name]
            info = entry.info._replace(shape=(rows, *entry.info.shape[1:]))
            entries[name] = replace(entry, info=info, last_rows=rows)
        return replace(self, _entries=entries)

    def close(self) -> None:
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_checkpoint(
    path: Path, subfolder: str = "", usual_names: Collection[str] = ()
) -> Checkpoint:
    """The tensors at `path` by the names in the file; nothing is read yet but what is there.

    `path`: a file, an index of shards, or a folder. In a folder: its `subfolder` if it has one,
    there the first of `usual_names`, else the one file that can be meant.

    Raises:
        ModelError: nothing there, not readable, damaged, or not clear which file is meant.
    """
    path = find_weights(path, subfolder, usual_names)
    with ExitStack() as stack:
        if path.name.endswith(_INDEX_SUFFIX):
            entries = _open_shards(path, stack)
            metadata: Mapping[str, str] = {}
        else:
            file = open_tensor_file(path)
            stack.callback(file.close)
            entries = {name: _Entry(file, name, info) for name, info in file.entries.items()}
            metadata = file.metadata
        if not entries:
            raise ModelError(f"{path}: holds no tensors")
        return Checkpoint(path, entries, stack.pop_all(), metadata)


def find_weights(path: Path, subfolder: str = "", usual_names: Collection[str] = ()) -> Path:
    """The file that `path` means: itself, or the one in that folder. See `open_checkpoint`.

    Raises:
        ModelError: nothing there, or not clear which file is meant.
    """
    try:
        if not path.is_dir():
            path.stat()
            return path
        folder = path / subfolder if subfolder and (path / subfolder).is_dir() else path
        names = sorted(entry.name for entry in folder.iterdir() if not entry.is_dir())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    for usual in usual_names:
        if usual in names:
            return folder / usual
    for suffixes in _SUFFIXES:
        found = [name for name in names if name.endswith(suffixes)]
        if len(found) == 1:
            return folder / found[0]
        if found:
            some = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
            raise ModelError(f"{folder}: {len(found)} files could be meant ({some}); name one")
    raise ModelError(
        f"{folder}: no model in this folder; expected a file .safetensors, .pt, .pth or .bin"
    )


def _open_shards(path: Path, stack: ExitStack) -> dict[str, _Entry]:
    shard_of = _read_index(path)
    files: dict[str, TensorFile] = {}
    for shard in sorted(set(shard_of.values())):
        # A plain name, so that no index reaches out of its folder. It may be a link: the Hugging
        # Face cache is made of them.
        if shard in ("", ".", "..") or "/" in shard or "\\" in shard or "\0" in shard:
            raise ModelError(f"{path}: names {shard!r:.80}, expected a file of its own folder")
        file_path = path.parent / shard
        if not file_path.is_file():
            raise ModelError(f"{path}: the shard {shard} is missing; download it again")
        files[shard] = open_tensor_file(file_path)
        stack.callback(files[shard].close)
    entries = {}
    for name, shard in shard_of.items():
        check_name(path, name)
        if name not in files[shard].entries:
            raise ModelError(f"{path}: {name} is not in {shard}, as the index says; damaged")
        entries[name] = _Entry(files[shard], name, files[shard].entries[name])
    return entries


def _read_index(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise ModelError(f"{path}: over {_MAX_INDEX_BYTES >> 20} MiB, too large for an index")
        index = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON ({error}); download it again") from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(shard, str) for shard in weight_map.values())
    ):
        raise ModelError(f'{path}: no "weight_map" from names to files in it; download it again')
    return weight_map
