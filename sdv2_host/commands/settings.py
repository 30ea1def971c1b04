"""From the options of a command line to Config and Params."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sdv2_host.bench.vocabulary import WORDS
from sdv2_host.config import ENGINE_NAMES, Config, check_name, parse_size
from sdv2_host.errors import ConfigError
from sdv2_host.params import PARAMS, Params, validate


def style_prompts() -> dict[str, str]:
    """The named styles of the embedded model, each with a prompt that asks for it."""
    return {name: words.train[0] for name, words in WORDS.items()}


def make_params(options: Mapping[str, Any]) -> Params:
    """The parameters among the options of a command line; None = not given.

    Raises:
        ConfigError: an unknown style, or a style and a prompt.
        ParamError: a value out of its range.
    """
    given = {name: options[name] for name in PARAMS if options.get(name) is not None}
    style = options.get("style")
    if style is not None:
        if "prompt" in given:
            raise ConfigError("--style and --prompt both say what to paint, use one of them")
        prompts = style_prompts()
        if style not in prompts:
            raise ConfigError(f"--style {style}: unknown style, known are {', '.join(prompts)}")
        given["prompt"] = prompts[style]
    return validate(given, "command line")


def make_config(options: Mapping[str, Any]) -> Config:
    """The start-up settings among the options of a command line; None = not given.

    Raises:
        ConfigError: naming the option, its value and what is allowed.
    """
    given = {name: options[name] for name in Config.model_fields if options.get(name) is not None}
    engine = given.get("engine", ENGINE_NAMES[0])
    if engine not in ENGINE_NAMES:
        raise ConfigError(f"--engine {engine}: unknown engine, known are {', '.join(ENGINE_NAMES)}")
    if "name" in given:
        check_name(given["name"])
    width, height = parse_size(options["size"])
    try:
        return Config.model_validate({**given, "width": width, "height": height})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"{option} {first['input']}: {first['msg'].lower()}") from None


def check_range(option: str, value: int, minimum: int, maximum: int) -> None:
    """Raises: ConfigError when `value` is out of its range."""
    if not minimum <= value <= maximum:
        raise ConfigError(f"{option} {value}: expected {minimum}..{maximum}")
