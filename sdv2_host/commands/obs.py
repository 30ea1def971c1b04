"""What `sdv2-host obs` does, beside OBS and the running hosts."""

from __future__ import annotations

import contextlib
import getpass
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from sdv2_host.commands.client import NotRunningError, find_host
from sdv2_host.commands.config_file import with_config_file
from sdv2_host.commands.settings import check_name, make_config
from sdv2_host.config import Config
from sdv2_host.control.access import running_hosts
from sdv2_host.errors import ConfigError
from sdv2_host.ipc.run_dir import APP_DIR
from sdv2_host.obs.bridge import read_password
from sdv2_host.obs.build import SOURCE, build, prebuilt
from sdv2_host.obs.client import ObsAddress, ObsClient, ObsPasswordError, parse_address
from sdv2_host.obs.find import ObsInstall, at_folder, find_obs
from sdv2_host.obs.install import put, read_receipt, remove
from sdv2_host.obs.inventory import Inventory, take_inventory
from sdv2_host.obs.scene import Wish, set_up
from sdv2_host.types import Size


class Access(NamedTuple):
    """How to reach OBS, as the command line says it; None = as the config file."""

    address: str | None
    password: str | None
    password_file: str | None
    config_file: Path | None


@contextlib.contextmanager
def connected(access: Access) -> Iterator[ObsClient]:
    """OBS, until the end. Raises: ObsError, ConfigError."""
    given = {"obs_address": access.address, "obs_password_file": access.password_file}
    config = make_config(with_config_file(given, access.config_file))
    password = access.password
    if password is None:
        password = read_password(config.obs_password_file)
    client = _connect(parse_address(config.obs_address), password)
    try:
        yield client
    finally:
        client.close()


def _connect(address: ObsAddress, password: str) -> ObsClient:
    try:
        return ObsClient.connect(address, password)
    except ObsPasswordError:
        if password or not sys.stdin.isatty():
            raise
    return ObsClient.connect(address, getpass.getpass(f"password of OBS at {address}: "))


def set_up_scene(access: Access, wish: Wish, size: str | None) -> None:
    """OBS has the scene; prints each step. `wish.host` '' = the one that runs."""
    name = check_name(wish.host) if wish.host else None
    picture = _picture_size(size) if size is not None else None
    try:
        status = find_host(name).get("/api/status")
    except NotRunningError:
        name = name or Config().name
        print(f"host {name} is not running: OBS will show it when it is")
    else:
        name = str(status["name"])
        picture = picture or (Size(**status["size"]) if status["size"] else None)
        wish = wish._replace(feed_port=wish.feed_port or int(status["obs_port"]))
    with connected(access) as client:
        set_up(client, wish._replace(host=name, picture=picture), print)


def _picture_size(text: str) -> Size:
    """Any that a video has: not only those that a model works at. Raises: ConfigError."""
    found = re.fullmatch(r"(\d{1,4})[xX](\d{1,4})", text.strip())
    if found is None or not (int(found[1]) and int(found[2])):
        raise ConfigError(f"--size {text!r}: expected WIDTHxHEIGHT, for example --size 1920x1080")
    return Size(int(found[1]), int(found[2]))


def show_status(access: Access, as_json: bool) -> None:
    """Prints what OBS has of ours, and what the hosts that run say of it."""
    with connected(access) as client:
        inventory = take_inventory(client)
    hosts = []
    for host in running_hosts():
        with contextlib.suppress(NotRunningError):
            hosts.append(find_host(host.name).get("/api/status"))
    if as_json:
        print(json.dumps({"obs": inventory.to_json(), "hosts": hosts}, indent=2))
        return
    for line in (*inventory.lines(), *_host_lines(inventory, hosts)):
        print(line)


def _host_lines(inventory: Inventory, hosts: list[dict[str, Any]]) -> Iterator[str]:
    names = [str(host["name"]) for host in hosts]
    for host in hosts:
        yield f"host {host['name']}: {host['state']}, {host['detail']}"
        if host.get("obs_feed"):  # older hosts do not tell
            yield f"  feed for OBS: {host['obs_feed']}"
        if host.get("camera"):
            yield f"  virtual camera: {host['camera']}"
        if host.get("obs", {}).get("state"):
            yield f"  scene switches: {host['obs']['state']}, {host['obs']['triggered']} triggered"
    for name in sorted(inventory.host_names() - set(names)):
        yield f"host {name} is not running: start it with sdv2-host run --name {name}"


def install(plugin: Path | None, obs_folder: Path | None) -> None:
    """The plug-in is where OBS looks; prints each step. Raises: ConfigError."""
    found = _obs_installs(obs_folder)
    with tempfile.TemporaryDirectory(prefix="sdv2-obs-") as folder:
        if plugin is not None:
            built = prebuilt(plugin)
        else:
            print(f"building the plug-in from {SOURCE}")
            built = build(Path(folder), _state() / "obs-plugin-build.log")
        for obs in found:
            print(obs.title)
            put(obs, built, _receipt(), _indented)
            if obs.is_flatpak:
                _indented("a Flatpak sees no shared memory: start the host with --file-rings")
    print("start OBS anew; then sdv2-host obs setup makes a ready scene")


def uninstall(obs_folder: Path | None) -> None:
    """What `install` put anywhere is gone; prints each file. Raises: ConfigError."""
    if obs_folder is not None:
        places = [at_folder(obs_folder.expanduser()).plugins]
    else:
        places = [Path(one) for one in read_receipt(_receipt()).installs]
    if not sum(remove(place, _receipt(), print) for place in places):
        print("nothing to remove: sdv2-host obs install has put no plug-in there")


def _obs_installs(folder: Path | None) -> list[ObsInstall]:
    if folder is not None:
        if not folder.expanduser().is_dir():
            raise ConfigError(f"--obs {folder}: there is no such folder")
        return [at_folder(folder.expanduser())]
    found = find_obs()
    if not found:
        raise ConfigError(
            "OBS was not found; install it (https://obsproject.com/download), or name its config "
            "folder with --obs"
        )
    return found


def _state() -> Path:
    return platformdirs.user_state_path(APP_DIR, appauthor=False)


def _receipt() -> Path:
    return _state() / "obs-plugin.json"


def _indented(line: str) -> None:
    print(f"  {line}")
