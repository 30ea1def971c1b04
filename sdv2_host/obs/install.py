"""The plug-in's files in the folder of an OBS: put there, checked, and taken away again.

What was put where is written down in a receipt. Only files of a receipt are ever removed or
replaced, and only while they are as they were put there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sdv2_host.errors import ConfigError
from sdv2_host.obs.build import Plugin
from sdv2_host.obs.find import ObsInstall

NAME = "sdv2"
FLAT_SINCE = 33
"""The OBS that looks for plugins/NAME/NAME.dll; those before look in plugins/NAME/bin/64bit."""

Say = Callable[[str], None]


class Receipt(BaseModel):
    """What lies where, by our doing."""

    model_config = ConfigDict(extra="forbid")

    installs: dict[str, dict[str, str]] = {}
    """Plug-in folder of an OBS -> path below it -> SHA-256."""


def layout(obs: ObsInstall, plugin: Plugin) -> dict[str, Path]:
    """Path below the OBS' plug-in folder -> the file that belongs there."""
    if plugin.binary.is_dir():  # a bundle of macOS
        inside = f"{plugin.binary.name}/Contents/Resources"
        resources = {f"{inside}/{name}": path for name, path in _files_of(plugin.data)}
        bundle = {f"{plugin.binary.name}/{name}": path for name, path in _files_of(plugin.binary)}
        return resources | bundle
    is_flat = obs.major is not None and obs.major >= FLAT_SINCE
    binary = plugin.binary.name if is_flat else f"bin/64bit/{plugin.binary.name}"
    data = {f"{NAME}/data/{name}": path for name, path in _files_of(plugin.data)}
    return {f"{NAME}/{binary}": plugin.binary, **data}


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def put(obs: ObsInstall, plugin: Plugin, receipt_path: Path, say: Say) -> None:
    """The plug-in is where this OBS looks for it, byte for byte.

    Raises:
        ConfigError: something else lies there, or the folder cannot be written.
    """
    receipt = read_receipt(receipt_path)
    ours = receipt.installs.get(str(obs.plugins), {})
    wanted = layout(obs, plugin)
    contents = {name: path.read_bytes() for name, path in wanted.items()}
    for name, content in contents.items():
        _check_ours(obs.plugins / name, content, ours.get(name))
    remove(obs.plugins, receipt_path, lambda line: None, keep=frozenset(wanted))
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    # Written down before it is done: whatever happens, nothing of ours lies there unknown.
    receipt.installs[str(obs.plugins)] = sums
    _write_receipt(receipt_path, receipt)
    for name, content in contents.items():
        path = obs.plugins / name
        if path.is_file() and path.read_bytes() == content:
            say(f"{path} is there")
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(content)
            part.chmod(wanted[name].stat().st_mode & 0o755)
            part.replace(path)
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror}; close OBS and check the folder"
            ) from error
        if path.read_bytes() != content:
            raise ConfigError(f"{path} is not what was written; check the disk")
        say(f"wrote {path}")


def _check_ours(path: Path, content: bytes, known: str | None) -> None:
    """What lies there is ours or the same. Raises: ConfigError."""
    if not path.exists():
        return
    found = path.read_bytes()
    if found != content and hashlib.sha256(found).hexdigest() != known:
        raise ConfigError(
            f"{path} is there already, and sdv2-host obs install did not put it there: remove it"
        )


def remove(plugins: Path, receipt_path: Path, say: Say, keep: frozenset[str] = frozenset()) -> int:
    """What was put there is gone but for `keep`, empty folders too; the number of files removed.

    Raises:
        ConfigError: a file cannot be removed.
    """
    receipt = read_receipt(receipt_path)
    ours = receipt.installs.get(str(plugins), {})
    count = 0
    for name, known in ours.items():
        path = plugins / name
        if name in keep or not path.is_file():
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() != known:
            say(f"{path} was changed since: left as it is")
            continue
        try:
            path.unlink()
        except OSError as error:
            raise ConfigError(f"cannot remove {path}: {error.strerror}; close OBS") from error
        say(f"removed {path}")
        count += 1
        _remove_empty(path.parent, plugins)
    if not keep and receipt.installs.pop(str(plugins), None) is not None:
        _write_receipt(receipt_path, receipt)
    return count


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def read_receipt(path: Path) -> Receipt:
    """What was written down; nothing = nothing was put anywhere.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Receipt.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Receipt()
    except (OSError, ValidationError) as error:
        raise ConfigError(f"cannot read {path}, the receipt of obs install: remove it") from error


def _write_receipt(path: Path, receipt: Receipt) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if receipt.installs:
            path.write_text(receipt.model_dump_json(indent=1))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
