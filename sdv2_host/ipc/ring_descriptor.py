"""The small JSON file that points to the current segment of a stream: codec and names. No I/O."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from sdv2_host.errors import RingError
from sdv2_host.ipc.ring_layout import ABI_MAJOR, ABI_MINOR, MAX_STREAM_NAME

MAX_DESCRIPTOR_BYTES = 4096
_STREAM = re.compile(rf"[a-z0-9_-]{{1,{MAX_STREAM_NAME}}}")
# 24 characters: macOS allows 31 in the name of a shared memory object.
_SEGMENT_NAME = re.compile(r"lfr\.[0-9a-f]{20}")
_BACKING = re.compile(r"memory|file")
_UUID = re.compile(r"[0-9a-f]{32}")
_MAX_U64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Descriptor:
    """`<run dir>/<stream>.json`: where the current generation of a stream lives."""

    stream: str
    segment: str
    generation: int
    uuid: str
    """Hex; equals the uuid in the segment header."""
    pid: int
    writer: str
    """Name of the program, for people."""
    created_unix_ns: int
    backing: str = "memory"
    """'file': the segment is the file of that name beside the descriptor."""


def descriptor_path(run_dir: Path, stream: str) -> Path:
    return run_dir / f"{stream}.json"


def pending_path(run_dir: Path, stream: str) -> Path:
    return run_dir / f"{stream}.pending"


def lock_path(run_dir: Path, stream: str) -> Path:
    return run_dir / f"{stream}.lock"


def check_stream(stream: str) -> str:
    """The name, if it can be a file name on every platform.

    Raises:
        RingError: naming what is allowed.
    """
    if not _STREAM.fullmatch(stream):
        raise RingError(
            f"stream name {stream!r}: use 1 to {MAX_STREAM_NAME} of a-z, 0-9, '-' and '_'"
        )
    return stream


def new_segment_name() -> str:
    """A name nobody can guess and nobody else has (80 random bits)."""
    return f"lfr.{secrets.token_hex(10)}"


def is_segment_name(name: str) -> bool:
    """Only names of this form are ever unlinked, whatever a leftover file says."""
    return _SEGMENT_NAME.fullmatch(name) is not None


def pack_descriptor(descriptor: Descriptor) -> bytes:
    """UTF-8 JSON, at most `MAX_DESCRIPTOR_BYTES`."""
    backing = {"backing": descriptor.backing} if descriptor.backing != "memory" else {}
    return json.dumps(
        {
            **backing,
            "abi": [ABI_MAJOR, ABI_MINOR],
            "stream": descriptor.stream,
            "segment": descriptor.segment,
            "generation": descriptor.generation,
            "uuid": descriptor.uuid,
            "pid": descriptor.pid,
            "writer": descriptor.writer[:64],
            "created_unix_ns": descriptor.created_unix_ns,
            "doorbell": None,
        }
    ).encode()


def parse_descriptor(raw: bytes, stream: str) -> Descriptor:
    """The descriptor in `raw`, checked; unknown keys are for later minor versions.

    Raises:
        RingError: naming the field that cannot be trusted.
    """
    if len(raw) > MAX_DESCRIPTOR_BYTES:
        raise RingError(f"descriptor of {stream} is longer than {MAX_DESCRIPTOR_BYTES} bytes")
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RingError(f"descriptor of {stream} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise RingError(f"descriptor of {stream} is not a JSON object")
    abi = fields.get("abi")
    if not (isinstance(abi, list) and len(abi) == 2 and abi[0] == ABI_MAJOR):
        raise RingError(f"stream {stream} has ABI {abi!r}, this reader knows {ABI_MAJOR}.x")
    descriptor = Descriptor(
        stream=_text(fields, "stream", _STREAM),
        segment=_text(fields, "segment", _SEGMENT_NAME),
        generation=_number(fields, "generation"),
        uuid=_text(fields, "uuid", _UUID),
        pid=_number(fields, "pid"),
        writer=str(fields.get("writer", ""))[:64],
        created_unix_ns=_number(fields, "created_unix_ns"),
        backing=_text({"backing": "memory", **fields}, "backing", _BACKING),
    )
    if descriptor.stream != stream:
        raise RingError(f"descriptor of {stream} belongs to {descriptor.stream}")
    return descriptor


def _text(fields: dict[str, object], key: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise RingError(f"descriptor: {key} = {value!r}, expected {pattern.pattern}")
    return value


def _number(fields: dict[str, object], key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_U64:
        raise RingError(f"descriptor: {key} = {value!r}, expected 0..{_MAX_U64}")
    return value
