"""One file of named tensors, safetensors or PyTorch, read where it lies; never a pickle run.

What a file is, its first bytes say and not its name. Both formats are mapped into memory, so that
opening costs nothing and a tensor is read from the disk when it is copied. PyTorch files go through
torch's `weights_only` unpickler alone, which builds tensors and plain containers and nothing else;
a pickle that is not a PyTorch file never reaches any unpickler.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sdv2_host.errors import ModelError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
"""The types of the safetensors format that a file may hold; most are refused as weights later."""

_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""After the two bytes of the pickle protocol: what torch.save wrote before it wrote zip files."""
_HEAD_BYTES = 64
_WRAPPER_KEYS = ("generator", "generator_ema", "state_dict")
"""Where training scripts put the weights, in the reference's order."""
_MAX_WRAPPERS = 3
_MAX_NAME_CHARS = 250
_HARMLESS = (int, float, str, bytes, type(None))
"""Counters and notes beside the tensors, left out."""
_PARSER_ERRORS = (
    # What torch and zipfile were seen to raise on damaged files; see tests/wan/test_load_fuzz.py.
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    ImportError,
)
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


class TensorInfo(NamedTuple):
    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorFile(Protocol):
    """Lifetime: until `close`; tensors that were read stay valid after it."""

    entries: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    def read(self, name: str) -> Tensor:
        """The tensor on the CPU, in the file's own type; read-only, often a view of the file."""

    def forget(self, name: str) -> None:
        """The tensor will not be read again: its memory is free, where the file lives in memory."""

    def close(self) -> None:
        """The file is let go of. May be called again."""


def open_tensor_file(path: Path) -> TensorFile:
    """The file's tensors by its own names, none of them read yet.

    Raises:
        ModelError: it cannot be read, is damaged, or is not a file of tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise ModelError(f"{path}: the file is empty (0 bytes); download it again")
    is_legacy = head[:1] == _PICKLE_START and head[2:].startswith(_LEGACY_MAGIC)
    if path.suffix == ".safetensors" and (is_legacy or head.startswith(_ZIP_START)):
        # torch.load would go by the name.
        raise ModelError(f"{path}: a PyTorch checkpoint by its content; rename it to .pt")
    if head.startswith(_ZIP_START):
        _check_zip(path)
        return PickledFile(path, is_mapped=True)
    if is_legacy:
        return PickledFile(path, is_mapped=False)
    if head[:1] == _PICKLE_START:
        raise ModelError(
            f"{path}: a plain Python pickle, which could run code: refused, nothing was executed; "
            "get the model as .safetensors or as a PyTorch checkpoint"
        )
    if head[8:9] == b"{":
        return SafetensorsFile(path)
    raise ModelError(f"{path}: {_what_it_is(head)}")


def check_name(path: Path, name: object) -> None:
    """`name` is text that can stand in a one-line message.

    Raises:
        ModelError: it is not.
    """
    if not isinstance(name, str) or not name.isprintable() or len(name) > _MAX_NAME_CHARS:
        raise ModelError(f"{path}: has {name!r:.60} where the name of a tensor is expected")


def _what_it_is(head: bytes) -> str:
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer and not the model itself; fetch it with git lfs pull"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page and not a model; download it again"
    return (
        "neither .safetensors nor a PyTorch checkpoint (.pt, .pth, .bin), or damaged; "
        "download it again"
    )


class SafetensorsFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        with ExitStack() as stack:
            try:
                self._file = stack.enter_context(safe_open(str(path), framework="pt"))
                names = list(self._file.keys())
                slices = [self._file.get_slice(name) for name in names]
                found = [(tuple(one.get_shape()), str(one.get_dtype())) for one in slices]
            except (SafetensorError, OSError, ValueError, MemoryError) as error:
                raise ModelError(
                    f"{path}: a damaged .safetensors file ({_one_line(error)}); download it again"
                ) from error
            entries = {}
            for name, (shape, dtype) in zip(names, found, strict=True):
                check_name(path, name)
                if dtype not in _DTYPES:
                    raise ModelError(
                        f"{path}: {name} is of type {dtype}, expected one of {', '.join(_DTYPES)}"
                    )
                entries[name] = TensorInfo(shape, _DTYPES[dtype])
            self.entries: Mapping[str, TensorInfo] = entries
            self.metadata: Mapping[str, str] = self._file.metadata() or {}
            self._stack = stack.pop_all()

    def read(self, name: str) -> Tensor:
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{self._path}: {name} cannot be read ({_one_line(error)})") from error
        return tensor

    def forget(self, name: str) -> None:
        """Nothing to do: the memory is the file's."""

    def close(self) -> None:
        self._stack.close()


class PickledFile:
    """A PyTorch checkpoint: a zip file is mapped, one of the older form is read whole."""

    def __init__(self, path: Path, *, is_mapped: bool) -> None:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
        except _PARSER_ERRORS as error:
            raise ModelError(f"{path}: {_pickle_fault(error)}") from error
        self._tensors = _state_dict(content, path)
        self.entries: Mapping[str, TensorInfo] = {
            name: TensorInfo(tuple(tensor.shape), tensor.dtype)
            for name, tensor in self._tensors.items()
        }
        self.metadata: Mapping[str, str] = {}

    def read(self, name: str) -> Tensor:
        return self._tensors[name]

    def forget(self, name: str) -> None:
        del self._tensors[name]

    def close(self) -> None:
        self._tensors.clear()


def _check_zip(path: Path) -> None:
    """What torch would say less clearly, and that data stand uncompressed: else a map is noise."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (*_PARSER_ERRORS, OSError) as error:
        raise ModelError(
            f"{path}: a damaged PyTorch checkpoint, perhaps cut short ({_one_line(error)}); "
            "download it again"
        ) from error
    names = {info.filename.rpartition("/")[2] for info in infos}
    if "constants.pkl" in names:
        raise ModelError(f"{path}: a TorchScript program, not weights; get the checkpoint itself")
    if "data.pkl" not in names:
        raise ModelError(f"{path}: a zip file without PyTorch weights in it; unpack it first")
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise ModelError(f"{path}: compressed inside; get the checkpoint as torch.save writes it")


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(_MAX_WRAPPERS):
        inner = [content.get(key) for key in _WRAPPER_KEYS] if isinstance(content, dict) else []
        wrapped = [value for value in inner if isinstance(value, dict)]
        if not wrapped:
            break
        content = wrapped[0]
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds a {type(content).__name__}, expected tensors by name")
    tensors = {}
    for name, value in content.items():
        check_name(path, name)
        if isinstance(value, _HARMLESS):
            continue
        if not _is_plain(value):
            raise ModelError(
                f"{path}: {name} is a {type(value).__name__} and not a plain tensor; expected "
                f"tensors by name, by themselves or under {', '.join(_WRAPPER_KEYS)}"
            )
        tensors[name] = value.detach()
    return tensors


def _is_plain(value: object) -> bool:
    return (
        type(value) in (Tensor, nn.Parameter)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _pickle_fault(error: BaseException) -> str:
    # torch's own text advises to load the file without weights_only: not to be repeated.
    asked = _GLOBAL.search(str(error))
    if isinstance(error, pickle.UnpicklingError) and asked:
        return (
            f"holds more than tensors (it asks for {asked[1]}): refused, nothing was executed; "
            "get the model as .safetensors"
        )
    if isinstance(error, pickle.UnpicklingError):
        return "a damaged PyTorch checkpoint, or one that holds more than tensors; nothing executed"
    return f"a damaged PyTorch checkpoint ({_one_line(error)}); download it again"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n", maxsplit=1)[0].split())[:160] or type(error).__name__
