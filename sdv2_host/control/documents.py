"""Files that the show is kept in: JSON with a format and a version, read as if an enemy wrote them.

    {"format": "sdv2-preset", "version": 1, ...}

Old versions are brought up to date in memory, never on disk; a newer one is refused. Unknown keys
are told and left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from sdv2_host.errors import ConfigError
from sdv2_host.models.whole_file import write_whole

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 16
MAX_NUMBER = 2**63

M = TypeVar("M", bound=BaseModel)
Json = dict[str, Any]
Migration = Callable[[Json], Json]
"""From version n to n + 1. Pure."""


class Read(NamedTuple, Generic[M]):
    value: M
    unknown: tuple[str, ...]
    """Keys that this version does not know."""


@dataclass(frozen=True, slots=True)
class Format(Generic[M]):
    """One kind of file."""

    name: str
    model: type[M]
    migrations: Mapping[int, Migration]
    """By the version that they start from; the newest version is one more than the last."""

    @property
    def version(self) -> int:
        return max(self.migrations, default=0) + 1

    @property
    def oldest(self) -> int:
        """The oldest version that can be read."""
        return min(self.migrations, default=self.version)

    def parse(self, text: str | bytes, where: str) -> Read[M]:
        """The file's content.

        Raises:
            ConfigError: one line with `where`, what is wrong, and what is allowed.
        """
        raw = parse_json(text, where)
        if raw.get("format", self.name) != self.name:
            raise ConfigError(f"{where}: format {raw['format']!r:.60}, expected {self.name!r}")
        version = raw.get("version", 0)
        is_number = isinstance(version, int) and not isinstance(version, bool)
        if not is_number or version < self.oldest:
            allowed = f"{self.oldest}..{self.version}"
            raise ConfigError(f"{where}: version {version!r:.40}, expected {allowed}")
        if version > self.version:
            raise ConfigError(
                f"{where}: version {version} is newer than {self.version}, the newest that this "
                "sdv2-host knows: update it"
            )
        for older in range(version, self.version):
            raw = self.migrations[older](raw)
        fields = self.model.model_fields
        known = {key: value for key, value in raw.items() if key in fields}
        unknown = raw.keys() - known.keys() - {"format", "version", "$schema"}
        try:
            return Read(self.model.model_validate(known), tuple(sorted(unknown)))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{where}: {place!r:.120}: {first['msg']}") from None

    def read(self, path: Path) -> Read[M]:
        """The file's content.

        Raises:
            ConfigError: as `parse`, or it cannot be read.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: longer than {MAX_BYTES} bytes")
        return self.parse(content, str(path))

    def dump(self, value: M) -> bytes:
        body = value.model_dump(mode="json", exclude_none=True)
        whole = {"format": self.name, "version": self.version, **body}
        return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()

    def write(self, path: Path, value: M) -> None:
        """The file has this content, at once or not at all; what was there is in NAME.bak.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                write_whole(path.with_name(path.name + ".bak"), path.read_bytes())
            write_whole(path, self.dump(value))
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror}; check the folder and the free space"
            ) from error

    def schema(self) -> Json:
        """JSON Schema of the newest version."""
        schema = self.model.model_json_schema()
        head = {"format": {"const": self.name}, "version": {"const": self.version}}
        schema["properties"] = {"$schema": {"type": "string"}, **head, **schema["properties"]}
        schema["required"] = ["format", "version", *schema.get("required", [])]
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def parse_json(text: str | bytes, where: str) -> Json:
    """The object in `text`.

    Raises:
        ConfigError: not JSON, no object, too deep, or a number that is none.
    """
    try:
        raw = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON ({error})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected an object, found {type(raw).__name__}")
    _check(raw, where, 0)
    return raw


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _check(value: object, where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ConfigError(f"{where}: nested more than {MAX_DEPTH} deep")
    if isinstance(value, int | float) and not abs(value) < MAX_NUMBER:  # NaN is not either
        raise ConfigError(f"{where}: a number is too large")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            _check(child, where, depth + 1)
