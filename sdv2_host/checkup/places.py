"""Folders: the run directory, presets and state, recordings; who may write, how much room is."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.config import Config
from sdv2_host.errors import RingError
from sdv2_host.host.folders import folders
from sdv2_host.ipc.run_dir import check_run_dir, default_run_dir, sandbox_run_dir

GROUP = "Folders"
GIB = 2**30
RECORDING_BYTES_PER_PIXEL = 0.045
"""Of a recorded frame: x264 at CRF 18 on styled pictures, estimated at 24 kbit for 256x256."""
RECORDING_FPS = 30.0
SHOW_MINUTES = 120.0
SHORT_MINUTES = 30.0


def check_run_folder(config: Config) -> list[Finding]:
    """Where hosts and programs find each other."""
    return [run_folder_finding(sandbox_run_dir() if config.file_rings else default_run_dir())]


def run_folder_finding(folder: Path) -> Finding:
    subject = Subject(GROUP, "run directory")
    try:
        check_run_dir(folder)
    except FileNotFoundError:
        parent = next(path for path in folder.parents if path.exists())
        if os.access(parent, os.W_OK):
            return subject.ok(f"{folder}: made at the first start")
        return subject.trouble(
            f"{folder} is not there, and {parent} cannot be written",
            "the host cannot start",
            f"make {parent} writable for you",
        )
    except RingError as error:
        return subject.trouble(str(error), "the host cannot start", "as it says")
    return subject.ok(f"{folder}, yours alone")


def check_data_folders(config: Config) -> list[Finding]:
    """Where presets, state and recordings are kept."""
    places = folders(config)
    kept = [kept_finding("presets", places.presets), kept_finding("state", places.state)]
    return [*kept, recordings_finding(places.takes, config)]


def kept_finding(name: str, folder: Path) -> Finding:
    """Whether the host can keep something there."""
    subject = Subject(GROUP, name)
    reason = why_not_writable(folder)
    if reason:
        return subject.warning(
            f"{folder} cannot be written: {reason}",
            f"the show runs, but its {name} are not kept",
            "make it writable for you, or start with another --data-dir",
        )
    if sys.platform != "win32" and folder.is_dir() and folder.stat().st_mode & stat.S_IWOTH:
        return subject.warning(
            f"{folder} can be written by every user of this computer",
            "somebody else can change what your show loads",
            f"run: chmod o-w {folder}",
        )
    return subject.ok(str(folder))


def recordings_finding(folder: Path, config: Config) -> Finding:
    """Whether takes can be written, and for how long."""
    subject = Subject(GROUP, "recordings")
    reason = why_not_writable(folder)
    if reason:
        return subject.warning(
            f"{folder} cannot be written: {reason}",
            "recordings and snapshots are refused",
            "make it writable for you, or start with another --recordings-dir",
        )
    free = shutil.disk_usage(nearest_folder(folder)).free
    return room_finding(subject, folder, free, free_minutes(free, config))


def free_minutes(free_bytes: int, config: Config) -> float:
    """Of a recording at the usual bit rate."""
    bytes_per_s = RECORDING_BYTES_PER_PIXEL * config.size.num_pixels * RECORDING_FPS
    return free_bytes / bytes_per_s / 60


def room_finding(subject: Subject, folder: Path, free_bytes: int, minutes: float) -> Finding:
    length = f"{minutes:.0f} minutes" if minutes < 600 else f"{minutes / 60:.0f} hours"
    seen = f"{folder}: {free_bytes / GIB:.1f} GiB free, about {length}"
    todo = "free some space, or start with another --recordings-dir"
    if minutes < SHORT_MINUTES:
        return subject.warning(seen, "the disk is full before the show is over", todo)
    if minutes < SHOW_MINUTES:
        return subject.warning(seen, "a recording of a whole evening does not fit", todo)
    return subject.ok(seen)


def why_not_writable(folder: Path) -> str:
    """Tries it with a file of no name that is gone at once; '' = it can be, or be made."""
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(folder)):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def nearest_folder(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
