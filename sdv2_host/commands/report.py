"""JSON reports: the numbers, and what they were measured on."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdv2_host import __version__
from sdv2_host.bench.ring import machine
from sdv2_host.config import Config
from sdv2_host.params import Params
from sdv2_host.sinks.video_file import cannot_write


def hardware() -> dict[str, Any]:
    """The computer and the software that numbers depend on."""
    return {**machine(), "torch": _version("torch"), "sdv2_host": __version__}


def write_report(path: Path, measures: dict[str, Any], config: Config, params: Params) -> None:
    """Writes the measures with hardware, config and params beside them.

    Raises:
        ConfigError: the file cannot be written.
    """
    report = {
        **measures,
        "hardware": hardware(),
        "config": config.model_dump(),
        "params": params.model_dump(),
    }
    write_json(path, report)


def check_writable(path: Path) -> None:
    """A file can be written there; what is there stays.

    Raises:
        ConfigError: no file can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        was_there = path.exists()
        with path.open("a", encoding="utf-8"):
            pass
        if not was_there:
            path.unlink()
    except OSError as error:
        raise cannot_write(path, error) from error


def write_json(path: Path, content: dict[str, Any] | list[Any]) -> None:
    """Writes indented JSON.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
