"""Where a host keeps what outlives it: presets, cue lists, learnt OSC, state, recordings."""

from __future__ import annotations

import site
import sys
from pathlib import Path
from typing import NamedTuple

import platformdirs

import sdv2_host
from sdv2_host.config import Config
from sdv2_host.ipc.run_dir import APP_DIR


class Folders(NamedTuple):
    """They need not exist yet, but for `shipped`."""

    presets: Path
    cues: Path
    state: Path
    """The state of each host, by name, and what it learnt of OSC."""
    takes: Path
    """Recordings and snapshots."""
    shipped: Path
    """Presets that come with the product; cue lists in `cues` below it."""


def folders(config: Config) -> Folders:
    """Those that the config names, else this user's own."""
    if config.data_dir:
        data = Path(config.data_dir).expanduser()
        state = data / "state"
    else:
        data = platformdirs.user_data_path(APP_DIR, appauthor=False)
        state = platformdirs.user_state_path(APP_DIR, appauthor=False)
    if config.recordings_dir:
        takes = Path(config.recordings_dir).expanduser()
    elif config.data_dir:
        takes = data / "takes"
    else:
        takes = platformdirs.user_videos_path() / APP_DIR
    return Folders(data / "presets", data / "cues", state, takes, shipped("presets"))


def shipped(name: str) -> Path:
    """The folder of this name at the top of a checkout, or where a wheel's data files lie.

    Where it is nowhere, the place that an install into a virtual environment would have given it.
    """
    package = Path(sdv2_host.__file__).parent
    in_environment = Path(sys.prefix) / "share" / APP_DIR / name
    places = (
        package.parent / name,
        package.parent / "share" / APP_DIR / name,  # pip install --target
        in_environment,
        Path(site.getuserbase()) / "share" / APP_DIR / name,  # pip install --user
    )
    return next((place for place in places if place.is_dir()), in_environment)
