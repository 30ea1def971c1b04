"""A release: the component as a versioned .tox, and a manifest that says what is in it."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

import td

import sdv2_host
from sdv2_host.errors import ConfigError

MIN_BUILD = "2023.11290"
"""The oldest build of which the documentation has all that is used; none was tried."""


def release(comp: td.COMP, folder: Path) -> Path:
    """The .tox; beside it NAME.json with its size and digest.

    Raises:
        ConfigError: the folder cannot be written.
    """
    version = sdv2_host.__version__
    path = folder / f"StreamDiffusion-v{version}.tox"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _save_for_others(comp, path)
        content = path.read_bytes()
        manifest = {
            "name": "StreamDiffusion",
            "version": version,
            "asset": path.name,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "td_build": f"{td.app.version}.{td.app.build}",
            "min_td_build": MIN_BUILD,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "client_version": version,
            "bundle_sha256": hashlib.sha256(bytes(comp.vfs["sdv2.zip"].byteArray)).hexdigest(),
            "custom_pars": sorted(par.name for par in comp.customPars),
        }
        path.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write in {folder}: {error.strerror}") from error
    return path


def _save_for_others(comp: td.COMP, path: Path) -> None:
    """The .tox, without where sdv2-host is on this machine."""
    command = comp.par.Command.eval()
    comp.par.Command.val = ""
    try:
        comp.save(str(path))
    finally:
        comp.par.Command.val = command
