"""From the options of a command line to Config and Params."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sdv2_host.bench.vocabulary import WORDS
from sdv2_host.config import ENGINES, Config
from sdv2_host.config_checks import check_compile, check_ring, parse_size
from sdv2_host.errors import ConfigError
from sdv2_host.ipc.host_file import HOST_NAME
from sdv2_host.param_table import PARAMS
from sdv2_host.param_values import validate
from sdv2_host.params import Params

LIVE_OPTIONS = [name for name in PARAMS if name not in Config.model_fields]
"""An option such as --engine sets what the parameter of that name calls as-started."""

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
MACHINE_NAME = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*(?!\d+\Z){_LABEL}")
"""Dotted labels, the last one no number: 192.168.1.300 is an address mistyped, and no name.

Source: RFC 1123, 2.1; underscores as Windows has them.
"""


def style_prompts() -> dict[str, str]:
    """The named styles of the embedded model, each with a prompt that asks for it."""
    return {name: words.train[0] for name, words in WORDS.items()}


def make_params(options: Mapping[str, Any]) -> Params:
    """The parameters among the options of a command line; None = not given.

    Raises:
        ConfigError: an unknown style, or a style and a prompt.
        ParamError: a value out of its range.
    """
    given = {name: options[name] for name in LIVE_OPTIONS if options.get(name) is not None}
    given |= _asked_size(options)
    style = options.get("style")
    if style is not None:
        if "prompt" in given:
            raise ConfigError("--style and --prompt both say what to paint, use one of them")
        prompts = style_prompts()
        if style not in prompts:
            raise ConfigError(f"--style {style}: unknown style, known are {', '.join(prompts)}")
        given["prompt"] = prompts[style]
    config = make_config(options)
    own = validate(ENGINES[config.engine].params, config.engine)
    params = validate(given, "command line", own)
    if params.steps > config.num_step_rows:
        raise ConfigError(
            f"--steps {params.steps}: this host allows {config.num_step_rows}; "
            f"add --max-steps {params.steps}"
        )
    return params


def given_params(options: Mapping[str, Any]) -> frozenset[str]:
    """Names of the parameters that the command line sets: they win over the last run's."""
    given = {name for name in LIVE_OPTIONS if options.get(name) is not None}
    style = {"prompt"} if options.get("style") is not None else set()
    return frozenset(given | style | _asked_size(options).keys())


def _asked_size(options: Mapping[str, Any]) -> dict[str, int]:
    """The --size of passthrough, which is made for none and has the input's where none is asked."""
    if options.get("size") is None or options.get("engine") != "passthrough":
        return {}
    return parse_size(options["size"])._asdict()


def make_config(options: Mapping[str, Any]) -> Config:
    """The start-up settings among the options of a command line; None = not given.

    Raises:
        ConfigError: naming the option, its value and what is allowed.
    """
    given = {name: options[name] for name in Config.model_fields if options.get(name) is not None}
    engine = given.get("engine", Config().engine)
    if engine not in ENGINES:
        raise ConfigError(f"--engine {engine}: unknown engine, known are {', '.join(ENGINES)}")
    if "name" in given:
        check_name(given["name"])
    size = options.get("size")
    width, height = parse_size(size) if size is not None else ENGINES[engine].size
    try:
        config = Config.model_validate({**given, "width": width, "height": height})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"{option} {first['input']}: {_expected(first)}") from None
    check_ring(config)
    check_compile(config)
    return config


def _expected(error: ErrorDetails) -> str:
    """What is allowed, in words."""
    if error["type"] == "string_pattern_mismatch":
        return "expected auto, cpu, mps, cuda or cuda:N"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return error["msg"].lower().replace("input should be", "expected")


def check_range(option: str, value: float, minimum: float, maximum: float) -> None:
    """Raises: ConfigError when `value` is out of its range."""
    if not minimum <= value <= maximum:
        raise ConfigError(f"{option} {value}: expected {minimum}..{maximum}")


def check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises: ConfigError when `value` is not among the allowed ones."""
    if value not in allowed:
        raise ConfigError(f"{option} {value}: expected {' or '.join(allowed)}")


def check_host(option: str, host: str) -> None:
    """Raises: ConfigError when `host` is neither an IP address nor a name that a machine can have.

    Whether there is such a machine is not asked: it may be on another network, or off.
    """
    try:
        ip_address(host)
    except ValueError:
        is_known = MACHINE_NAME.fullmatch(host) is not None
    else:
        is_known = "%" not in host  # a zone, which is of one machine's cards alone
    if not is_known:
        raise ConfigError(
            f"{option} {host!r}: expected an IP address or a machine's name without a port, such "
            f"as {option} 192.168.1.20 or {option} stage1.local"
        )


def check_name(name: str) -> str:
    """The name, if rings can carry it.

    Raises:
        ConfigError: naming what is allowed.
    """
    if not HOST_NAME.fullmatch(name):
        raise ConfigError(
            f"--name {name!r}: use 1 to 44 of a-z, 0-9, '-' and '_', for example --name stage1"
        )
    return name
