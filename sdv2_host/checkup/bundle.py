"""The support bundle: one zip of texts that are cleaned, and a manifest of what is in it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdv2_host.checkup.redaction import MARKS, Redaction
from sdv2_host.errors import ConfigError
from sdv2_host.models.whole_file import write_whole

MANIFEST = "manifest.txt"
LOG_SUFFIX = ".log"
LOG_CHARS = 200_000
"""The newest of a log, which may have grown for months; what else is in it is not cut: without its
beginning a page has no verdict, and JSON is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the bundle, clean."""

    name: str
    """Ours, never made of something found: a name can be a secret too."""
    what: str
    content: str


@dataclass(slots=True)
class Bundle:
    """Collects entries. Fields, per bundle: what cleans them; what is in it; what is not there."""

    redaction: Redaction
    entries: list[Entry] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def add_json(self, name: str, what: str, content: Any) -> None:
        """Anything that JSON can hold."""
        clean = json.dumps(self.redaction.json(content), indent=1, default=str)
        self.entries.append(Entry(name, what, clean))

    def add_text(self, name: str, what: str, text: str) -> None:
        """The whole of it; of a long log the end."""
        clean = self.redaction.text(text)
        is_log = name.endswith(LOG_SUFFIX)
        self.entries.append(Entry(name, what, clean[-LOG_CHARS:] if is_log else clean))

    def add_file(self, name: str, what: str, path: Path) -> None:
        """A text file as `add_text`, if it can be read."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            self.absent.append(f"{what}: {error.strerror}")
        else:
            self.add_text(name, what, text)

    def manifest(self) -> list[str]:
        """What is in it and what was taken out, for a person to read before it is sent."""
        removed = self.redaction.removed
        counts = [f"  {removed[kind]:6}  {kind}, now {mark}" for kind, mark in MARKS.items()]
        return [
            "In the bundle:",
            *(
                f"  {len(one.content):8} characters  {one.name:28} {one.what}"
                for one in self.entries
            ),
            *(f"  not there: {self.redaction.text(line)}" for line in self.absent),
            "Taken out:",
            *counts,
            "Never in it: pictures, recordings, presets, models, files of other programs.",
        ]


def write_bundle(bundle: Bundle, path: Path, manifest: Sequence[str]) -> None:
    """The zip is there, whole, readable by this user alone.

    Raises:
        ConfigError: it cannot be written.
    """
    content = "\n".join(manifest) + "\n"
    for entry in bundle.entries:
        left = bundle.redaction.left_in(entry.content)
        assert not left, f"{left} left in {entry.name}: nothing was written"
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, content)
        for entry in bundle.entries:
            archive.writestr(entry.name, entry.content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, zipped.getvalue())
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}; choose another place with --out"
        ) from error
