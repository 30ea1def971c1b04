"""The prompt bank: text embeddings on disk, so that a show runs with the text encoder unloaded.

One safetensors file a prompt, named by SHA-256 of encoder and cleaned prompt, for its owner only:

    u64 length of the header, header as JSON, then the tensor's bytes; little-endian
    tensor "embedding"  [rows, dim] BF16: one row for each token of the prompt, no padding
    metadata            format, version, prompt (cleaned), encoder, created_by

No torch here: bfloat16 travels as its bits, uint16.
"""

from __future__ import annotations

import hashlib
import json
import logging
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdv2_host import __version__
from sdv2_host.errors import ModelError
from sdv2_host.models.whole_file import UNFINISHED_SUFFIX, write_whole
from sdv2_host.prompts import clean_prompt

log = logging.getLogger(__name__)

UMT5_XXL = "umt5-xxl"
"""The text encoder of Wan 2.1. A part of every key: another encoder means other numbers."""
UMT5_XXL_DIM = 4096
MAX_ROWS = 512

FORMAT = "sdv2-prompt"
VERSION = "1"
TENSOR = "embedding"
SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 256 * 1024
_LENGTH = struct.Struct("<Q")
_EXPONENT = 0x7F80
"""bfloat16 bits: all of these set = infinite or not a number."""

Bits = NDArray[np.uint16]


class BankedPrompt(NamedTuple):
    """One entry, without its numbers."""

    prompt: str
    """Cleaned."""
    encoder: str
    created_by: str
    rows: int
    dim: int
    path: Path
    size_bytes: int


class _Embedding(NamedTuple):
    entry: BankedPrompt
    bits: Bits


@dataclass(frozen=True, slots=True)
class PromptBank:
    """A folder of embeddings of one encoder. The folder need not exist; nothing is remembered.

    A damaged or foreign file counts as absent after it was named in the log.
    """

    folder: Path
    encoder: str = UMT5_XXL
    dim: int = UMT5_XXL_DIM

    def path(self, prompt: str) -> Path:
        """Where the prompt's embedding is, or would be."""
        return self._path_of_cleaned(clean_prompt(prompt))

    def has(self, prompt: str) -> bool:
        """Whether `read` would find it. Reads the file."""
        return self.read(prompt) is not None

    def read(self, prompt: str) -> Bits | None:
        """The embedding [rows, dim] as the bits of bfloat16, finite; None = absent."""
        found = self._load(self.path(prompt))
        return None if found is None else found.bits

    def list(self) -> tuple[BankedPrompt, ...]:
        """The sound entries of this encoder, sorted by prompt. Reads every file."""
        found = [self._load(path) for path in self._files(SUFFIX)]
        return tuple(sorted(one.entry for one in found if one is not None))

    def write(self, prompt: str, bits: Bits) -> Path:
        """The bank holds `bits` [rows, dim] for the prompt; whole, or not at all.

        Raises:
            ModelError: it cannot be written, or the numbers are none that `read` would give back.
        """
        cleaned = clean_prompt(prompt)
        fault = self._fault_of(bits)
        if fault:
            raise ModelError(f'prompt "{shortened(cleaned)}": the text encoder gives {fault}')
        metadata = {
            **{"format": FORMAT, "version": VERSION, "prompt": cleaned, "encoder": self.encoder},
            "created_by": f"sdv2-host {__version__}",
        }
        shape, end = list(bits.shape), bits.size * bits.itemsize
        tensor = {"dtype": "BF16", "shape": shape, "data_offsets": [0, end]}
        header = json.dumps({"__metadata__": metadata, TENSOR: tensor}).encode()
        header += b" " * (-len(header) % 8)  # the numbers begin at a multiple of 8
        path = self._path_of_cleaned(cleaned)
        _write(path, _LENGTH.pack(len(header)) + header + bits.astype("<u2").tobytes())
        return path

    def remove(self, prompt: str) -> bool:
        """The prompt is not in the bank; whether it was. Takes it as given or as listed.

        Raises:
            ModelError: its file cannot be removed.
        """
        paths = {self.path(prompt), self._path_of_cleaned(prompt)}
        return any([_remove(path) for path in paths])

    def remove_all(self) -> int:
        """The number of entries removed; damaged, foreign and unfinished files go as well.

        Raises:
            ModelError: a file cannot be removed.
        """
        for path in self._files(UNFINISHED_SUFFIX):
            _remove(path)
        return sum(_remove(path) for path in self._files(SUFFIX))

    def _files(self, suffix: str) -> Iterator[Path]:
        return iter(sorted(self.folder.glob("*" + suffix)))

    def _path_of_cleaned(self, cleaned: str) -> Path:
        text = f"{self.encoder}\0{cleaned}".encode(errors="backslashreplace")
        return self.folder / f"{hashlib.sha256(text).hexdigest()}{SUFFIX}"

    def _load(self, path: Path) -> _Embedding | None:
        try:
            content = _read_file(path, MAX_HEADER_BYTES + MAX_ROWS * self.dim * 2)
            return None if content is None else self._parse(path, content)
        except _UnusableError as error:
            log.warning("prompt bank: %s is not used: %s", path, error)
            return None

    def _parse(self, path: Path, content: bytes) -> _Embedding:
        """Raises: _UnusableError, for anything that `write` would not have written."""
        metadata, tensor, data = _split(content)
        if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
            raise _UnusableError(f"not of format {FORMAT} {VERSION}; remove it")
        prompt, encoder, created_by = _texts(metadata, ("prompt", "encoder", "created_by"))
        if encoder != self.encoder:
            raise _UnusableError(f"made by {encoder!r:.60}, expected {self.encoder}")
        if self._path_of_cleaned(prompt).name != path.name:
            raise _UnusableError(f"its name is not that of its prompt {shortened(prompt)!r}")
        bits = _bits(tensor, data)
        fault = self._fault_of(bits)
        if fault:
            raise _UnusableError(f"holds {fault}; remove it and add the prompt again")
        rows, dim = bits.shape
        entry = BankedPrompt(prompt, encoder, created_by, rows, dim, path, len(content))
        return _Embedding(entry, bits)

    def _fault_of(self, bits: Bits) -> str:
        """What is wrong with an embedding; '' = nothing."""
        rows, dim = bits.shape
        if dim != self.dim:
            return f"{dim} numbers a token, expected {self.dim}: another encoder's"
        if not 1 <= rows <= MAX_ROWS:
            return f"{rows} tokens, expected 1..{MAX_ROWS}"
        if ((bits & _EXPONENT) == _EXPONENT).any():
            return "infinite numbers or NaN"
        return ""


class _UnusableError(Exception):
    """Why a file counts as absent."""


def shortened(prompt: str, max_chars: int = 60) -> str:
    """The prompt for a message: its beginning, in one line."""
    text = " ".join(prompt.split())
    return text if len(text) <= max_chars else text[: max_chars - 3] + "..."


def _read_file(path: Path, max_bytes: int) -> bytes | None:
    """None = not there. Raises: _UnusableError."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise _UnusableError("not a file")
        if found.st_size > max_bytes:
            raise _UnusableError(
                f"{found.st_size} bytes, at most {max_bytes} make sense; remove it"
            )
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _UnusableError(f"cannot be read ({error.strerror or error})") from error


def _split(content: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Metadata, the tensor's entry, its bytes. Raises: _UnusableError."""
    if len(content) < _LENGTH.size:
        raise _UnusableError(f"truncated, {len(content)} bytes; remove it")
    (length,) = _LENGTH.unpack_from(content)
    if length > min(MAX_HEADER_BYTES, len(content) - _LENGTH.size):
        raise _UnusableError(f"truncated, or its header of {length} bytes is wrong; remove it")
    try:
        header = json.loads(content[_LENGTH.size : _LENGTH.size + length])
        metadata, tensor = header["__metadata__"], header[TENSOR]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _UnusableError(f"no header of a prompt in it ({error!r:.80}); remove it") from error
    if not isinstance(metadata, dict) or not isinstance(tensor, dict) or len(header) != 2:
        raise _UnusableError("no header of a prompt in it; remove it")
    return metadata, tensor, content[_LENGTH.size + length :]


def _texts(metadata: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Raises: _UnusableError."""
    texts = tuple(text for name in names if isinstance(text := metadata.get(name), str))
    if len(texts) != len(names):
        raise _UnusableError(f"no {', '.join(names)} in its metadata; remove it")
    return texts


def _bits(tensor: dict[str, Any], data: bytes) -> Bits:
    """The tensor's numbers. Raises: _UnusableError."""
    if tensor.get("dtype") != "BF16":
        raise _UnusableError(
            f"numbers of type {tensor.get('dtype')!r:.40}, expected BF16; remove it"
        )
    shape = tensor.get("shape")
    is_shape = isinstance(shape, list) and len(shape) == 2
    if not is_shape or not all(type(n) is int and 0 <= n < 2**32 for n in shape or ()):
        raise _UnusableError(f"shape {shape!r:.60}, expected [tokens, numbers]; remove it")
    assert isinstance(shape, list), "checked above"
    rows, dim = shape
    if tensor.get("data_offsets") != [0, len(data)] or rows * dim * 2 != len(data):
        raise _UnusableError(f"truncated, {len(data)} bytes for {rows} x {dim} numbers; remove it")
    return np.frombuffer(data, dtype="<u2").astype(np.uint16, copy=False).reshape(rows, dim)


def _write(path: Path, content: bytes) -> None:
    """Raises: ModelError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be written ({error.strerror or error}); the prompt bank needs a "
            "folder that can be written, see --models-dir"
        ) from error


def _remove(path: Path) -> bool:
    """Whether it was there. Raises: ModelError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ModelError(f"{path}: cannot be removed ({error.strerror or error})") from error
    return True
