"""Ways out: the virtual camera, and OBS with our plug-in."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.obs.find import ObsInstall, find_obs
from sdv2_host.obs.install import NAME, Receipt, read_receipt
from sdv2_host.sinks.virtual_camera import INSTALL

GROUP = "Outputs"
VIDEO_CLASS = Path("/sys/class/video4linux")
VIRTUAL_DIR = Path("/sys/devices/virtual/video4linux")


def check_camera(config: Config) -> list[Finding]:
    """A virtual camera, asked for or not."""
    has_package = importlib.util.find_spec("pyvirtualcam") is not None
    devices = loopback_devices(VIRTUAL_DIR) if sys.platform == "linux" else None
    if devices is None:
        devices = [one.title for one in find_obs()]
    return [camera_finding(config, has_package, devices)]


def loopback_devices(folder: Path) -> list[str]:
    """Of v4l2loopback, as device files."""
    names = (path.name for path in folder.glob("video*"))
    return sorted(f"/dev/{name}" for name in names)


def camera_finding(config: Config, has_package: bool, devices: Sequence[str]) -> Finding:
    """`devices` are what the camera could be opened at; on Windows and macOS, OBS that bring it."""
    subject = Subject(GROUP, "virtual camera")
    means = "no program that takes a webcam sees the picture"
    fault = ""
    todo = ""
    if not has_package:
        fault, todo = "pyvirtualcam is not installed", "run: pip install 'sdv2-host[camera]'"
    elif not devices:
        fault, todo = "there is none", INSTALL.get(sys.platform, "none is known for this system")
    elif config.camera_device and sys.platform == "linux" and config.camera_device not in devices:
        fault = f"{config.camera_device} is no virtual camera; there are {', '.join(devices)}"
        todo = f"start with --camera-device {devices[0]}"
    if not fault:
        return subject.ok(f"can be had by {', '.join(devices)}")
    if config.virtual_camera:
        return subject.trouble(fault, means, todo)
    return subject.ok(f"{fault}; only for --virtual-camera ({todo})")


def check_obs(receipt: Path) -> list[Finding]:
    """OBS, and whether the plug-in lies where each looks. `receipt` is that of obs install."""
    return list(obs_findings(find_obs(), receipt))


def obs_findings(found: Sequence[ObsInstall], receipt_path: Path) -> Iterator[Finding]:
    if not found:
        yield Subject(GROUP, "OBS").ok("is not installed, or where nobody would look")
        return
    try:
        receipt = read_receipt(receipt_path)
    except ConfigError as error:
        yield Subject(GROUP, "OBS").warning(
            str(error), "not known whether the plug-in is right", "sdv2-host obs install"
        )
        return
    for obs in found:
        yield plugin_finding(obs, receipt)


def plugin_finding(obs: ObsInstall, receipt: Receipt) -> Finding:
    """Whether what `obs install` put there is there, byte for byte."""
    subject = Subject(GROUP, "OBS")
    files = receipt.installs.get(str(obs.plugins), {})
    if not files:
        there = (obs.plugins / NAME).exists()
        return subject.ok(
            f"{obs.title}: a plug-in lies there that sdv2-host obs install did not put there"
            if there
            else f"{obs.title}: without our plug-in; sdv2-host obs install puts it there"
        )
    wrong = [name for name, digest in files.items() if _digest(obs.plugins / name) != digest]
    if wrong:
        return subject.warning(
            f"{obs.title}: the plug-in is not as it was installed: {wrong[0]}",
            "OBS may not load it, or another version of it",
            "close OBS and run: sdv2-host obs install",
        )
    return subject.ok(f"{obs.title}: our plug-in, {len(files)} files, as they were installed")


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
