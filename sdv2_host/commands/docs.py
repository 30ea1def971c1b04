"""`sdv2-host surfaces write --docs`: what is generated in docs/, up to date."""

from __future__ import annotations

import json
from pathlib import Path

from sdv2_host.control.cue_file import CUES
from sdv2_host.control.preset_file import PRESET
from sdv2_host.control.web_schema import schema_text
from sdv2_host.errors import ConfigError
from sdv2_host.surfaces.files import REFERENCE, with_reference, write_surfaces
from sdv2_host.surfaces.layout import DEFAULT_HOST, DEFAULT_PORT


def schema_files() -> dict[str, str]:
    """JSON Schemas of presets, cue lists and messages, by file name."""
    files = {
        f"{name}.schema.json": json.dumps(made.schema(), indent=2, ensure_ascii=False) + "\n"
        for name, made in (("preset", PRESET), ("cues", CUES))
    }
    return {**files, "protocol.schema.json": schema_text()}


def write_docs(docs: Path) -> list[Path]:
    """Everything generated in docs/ is up to date. Raises: ConfigError."""
    paths = write_surfaces(docs / "surfaces", DEFAULT_HOST, DEFAULT_PORT)
    page = docs / REFERENCE
    try:
        page.write_text(with_reference(page.read_text("utf-8")), "utf-8")
        for name, text in schema_files().items():
            (docs / name).write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write in {docs}: {error.strerror}") from error
    return [*paths, page, *(docs / name for name in schema_files())]
