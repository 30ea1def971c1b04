"""The config file: settings of a start that are the same every night, and what OBS' scenes trigger.

    name = "stage1"
    size = "512x512"
    prompt = "neon"
    [obs]
    follow = true
    [obs.scenes]
    "Talk" = { preset = "Neon Rain", fade = 2 }
    "Break" = { cue = "next" }

A key is the name of an option of `sdv2-host run`; those of a table begin with its name. What the
command line says wins.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import ValidationError

from sdv2_host.commands.options import PICTURE
from sdv2_host.commands.settings import style_prompts
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError, ParamError
from sdv2_host.ipc.run_dir import APP_DIR
from sdv2_host.param_table import PARAMS
from sdv2_host.param_values import validate

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
    return {**options, **_beside(given, settings), **given}


def _beside(given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The file's settings, without what contradicts the command line under another name."""
    beside = dict(settings)
    if {"prompt", "style"} & given.keys():
        beside = {name: value for name, value in beside.items() if name not in ("prompt", "style")}
    # One noise bound pushes the other along, as it does live.
    if "noise_s_min" in beside and "noise_s_max" in given:
        beside["noise_s_min"] = min(beside["noise_s_min"], given["noise_s_max"])
    if "noise_s_max" in beside and "noise_s_min" in given:
        beside["noise_s_max"] = max(beside["noise_s_max"], given["noise_s_min"])
    return beside


def config_path(data_dir: str, given: Path | None) -> Path:
    """The file `given`, else where the user's own is, if there is one."""
    if given is not None:
        return given
    return (Path(data_dir).expanduser() if data_dir else _user_folder()) / FILE_NAME


def _user_folder() -> Path:
    return platformdirs.user_config_path(APP_DIR, appauthor=False)


def read_config_file(path: Path) -> dict[str, Any]:
    """Settings by the names of `Config`, 'size' and those of the picture; checked.

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
    known = {*Config.model_fields, "size", *PICTURE} - {"width", "height"}
    for name in settings:
        if name not in known:
            names = ", ".join(sorted(_spelled(one) for one in known))
            raise ConfigError(f"{path}: unknown key {_spelled(name)!r:.80}, known are {names}")
    if not isinstance(settings.get("size", ""), str):
        raise ConfigError(f"{path}: size = {settings['size']!r:.80}, expected a text like 512x512")
    _check_picture(path, {name: settings[name] for name in PICTURE if name in settings})
    try:
        Config.model_validate({k: v for k, v in settings.items() if k in Config.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        name, *rest = (str(part) for part in first["loc"])
        where = ".".join((_spelled(name), *rest))
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: {where} = {first['input']!r:.80}: {reason}") from error
    return settings


def _check_picture(path: Path, picture: Mapping[str, Any]) -> None:
    """As the options of these names are, but of TOML's own kinds. Raises: ConfigError."""
    for name, value in picture.items():
        is_text = name == "style" or PARAMS[name].kind is str
        fits = isinstance(value, str) if is_text else type(value) in (int, float)
        if not fits:
            allowed = "a text" if is_text else PARAMS[name].allowed
            raise ConfigError(f"{path}: {name} = {value!r:.80}, expected {allowed}")
    if "style" in picture:
        prompts, style = style_prompts(), picture["style"]
        if "prompt" in picture:
            raise ConfigError(f"{path}: style and prompt both say what to paint, use one of them")
        if style not in prompts:
            known = ", ".join(prompts)
            raise ConfigError(f"{path}: style = {style!r:.80}: unknown style, known are {known}")
    try:
        validate({name: value for name, value in picture.items() if name != "style"}, str(path))
    except ParamError as error:
        raise ConfigError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _spelled(name: str) -> str:
    """As it stands in the file."""
    for table in TABLES:
        if name.startswith(f"{table}_"):
            return f"{table}.{name.removeprefix(f'{table}_')}"
    return name
