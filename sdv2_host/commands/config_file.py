"""The config file: settings of a start that are the same every night, and what OBS' scenes trigger.

    name = "stage1"
    size = "512x512"
    [obs]
    follow = true
    [obs.scenes]
    "Talk" = { preset = "Neon Rain", fade = 2 }
    "Break" = { cue = "next" }

A key is the name of a start-up setting; those of a table begin with its name. What the command
line says wins.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import ValidationError

from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.ipc.run_dir import APP_DIR

FILE_NAME = "config.toml"
TABLES = ("obs", "camera")


def with_config_file(options: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """The options of a command line, with the file's settings where an option was not given.

    Args:
        path: the file that was asked for; None = the user's own, if there is one.

    Raises:
        ConfigError: naming the file, the key, its value and what is allowed.
    """
    if path is None:
        path = config_path(str(options.get("data_dir") or ""), None)
        if not path.is_file():
            return dict(options)
    settings = read_config_file(path)
    given = {name: value for name, value in options.items() if value is not None}
    return {**options, **settings, **given}


def config_path(data_dir: str, given: Path | None) -> Path:
    """The file `given`, else where the user's own is, if there is one."""
    if given is not None:
        return given
    return (Path(data_dir).expanduser() if data_dir else _user_folder()) / FILE_NAME


def _user_folder() -> Path:
    return platformdirs.user_config_path(APP_DIR, appauthor=False)


def read_config_file(path: Path) -> dict[str, Any]:
    """Settings by the names of `Config`, and 'size'; checked.

    Raises:
        ConfigError: as `with_config_file`.
    """
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    settings: dict[str, Any] = {}
    for key, value in raw.items():
        if key in TABLES and isinstance(value, dict):
            settings |= {f"{key}_{name}": one for name, one in value.items()}
        else:
            settings[key] = value
    known = {*Config.model_fields, "size"} - {"width", "height"}
    for name in settings:
        if name not in known:
            names = ", ".join(sorted(_spelled(one) for one in known))
            raise ConfigError(f"{path}: unknown key {_spelled(name)!r:.80}, known are {names}")
    if not isinstance(settings.get("size", ""), str):
        raise ConfigError(f"{path}: size = {settings['size']!r:.80}, expected a text like 512x512")
    try:
        Config.model_validate({k: v for k, v in settings.items() if k != "size"})
    except ValidationError as error:
        first = error.errors()[0]
        name, *rest = (str(part) for part in first["loc"])
        where = ".".join((_spelled(name), *rest))
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: {where} = {first['input']!r:.80}: {reason}") from error
    return settings


def _spelled(name: str) -> str:
    """As it stands in the file."""
    for table in TABLES:
        if name.startswith(f"{table}_"):
            return f"{table}.{name.removeprefix(f'{table}_')}"
    return name
