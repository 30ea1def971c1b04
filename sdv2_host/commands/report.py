"""JSON reports: the numbers, and what they were measured on."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdv2_host import __version__
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.params import Params


def hardware() -> dict[str, Any]:
    """The computer and the software that numbers depend on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "sdv2_host": __version__,
    }


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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes indented JSON.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror})") from error


def _cpu_name() -> str:
    """The CPU's marketing name where the system tells without a subprocess."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
