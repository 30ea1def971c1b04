"""Which settings of a start go together, and which sizes there are."""

from __future__ import annotations

import re

from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.params import MAX_SIDE_PX, MIN_SIDE_PX, SIDE_MULTIPLE
from sdv2_host.types import Size


def check_ring(config: Config) -> None:
    """Its settings for several devices go together.

    Raises:
        ConfigError: naming those that do not, and what to do.
    """
    if not config.is_ring:
        return
    which = "--devices" if config.devices else "--join-listen"
    if config.engine == "passthrough":
        raise ConfigError(f"{which}: engine passthrough has no model to spread; leave {which} out")
    if config.mode == "reference":
        raise ConfigError(
            f"{which}: --mode reference runs on one device, as the reference's cache cannot be "
            f"split; leave {which} out or use --mode corrected"
        )
    if config.linears == "fp8":
        raise ConfigError(
            f"{which}: --linears fp8 runs on one device; leave {which} out or use --linears plain"
        )
    if config.engine == "tiny" and any(one not in {"auto", "cpu"} for one in config.ring_devices):
        raise ConfigError(
            f"--devices {config.devices}: engine tiny runs on the CPU; use --devices cpu,cpu"
        )
    if config.join_listen and not config.join_token_file:
        raise ConfigError(
            "--join-listen needs --join-token-file FILE, a file with the token that agents must "
            "know; sdv2-host agent --make-token FILE writes one"
        )


def check_compile(config: Config) -> None:
    """What is to be compiled can be.

    Raises:
        ConfigError: naming what cannot, and what to do.
    """
    if config.compile != "on":
        return
    if config.engine == "passthrough":
        raise ConfigError("engine passthrough has nothing to compile: leave out --compile on")
    if config.is_ring:
        raise ConfigError(
            "a stream over several devices cannot be compiled: leave out --compile on, or "
            "--devices and --join-listen"
        )


def parse_size(text: str, option: str = "--size") -> Size:
    """WIDTHxHEIGHT with sides that the models can work at; `option` is what errors call it.

    Raises:
        ConfigError: naming the nearest size that works.
    """
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip())
    if match is None:
        raise ConfigError(f"{option} {text!r}: expected WIDTHxHEIGHT, for example {option} 256x256")
    size = Size(int(match[1]), int(match[2]))
    nearest = Size(_nearest_side(size.width), _nearest_side(size.height))
    if size != nearest:
        raise ConfigError(
            f"{option} {size}: sides must be multiples of {SIDE_MULTIPLE} from {MIN_SIDE_PX} to "
            f"{MAX_SIDE_PX} px; the nearest is {option} {nearest}"
        )
    return size


def _nearest_side(side_px: int) -> int:
    rounded = round(side_px / SIDE_MULTIPLE) * SIDE_MULTIPLE
    return min(max(rounded, MIN_SIDE_PX), MAX_SIDE_PX)
