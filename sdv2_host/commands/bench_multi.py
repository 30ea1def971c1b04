"""`sdv2-host bench multi`: which of its two kinds is asked for, and what it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdv2_host.bench.measured_setups import setups_of
from sdv2_host.bench.multi_devices import (
    DEVICES,
    MODELS,
    MOST_DEVICES,
    named_devices,
    read_times,
)
from sdv2_host.bench.multi_measured import MeasurePlan
from sdv2_host.bench.multi_simulation import Traffic
from sdv2_host.commands.bench import bench_multi, bench_multi_measured
from sdv2_host.commands.settings import check_choice, check_range, make_config, make_params
from sdv2_host.cores import usable_cores
from sdv2_host.errors import ConfigError
from sdv2_host.stages.work import Route

REAL = re.compile(r"(cpu|mps|cuda(?::\d{1,2})?)(?:\*(\d{1,2}))?")
ROUTES = {"both": tuple(Route), "ring": (Route.RING,), "chain": (Route.CHAIN,)}


@dataclass(frozen=True, slots=True)
class Choices:
    """What both kinds are given."""

    devices: str
    steps: int
    lanes: int
    json_path: Path | None
    out: Path | None

    @property
    def are_real(self) -> bool:
        """Whether the devices are of this computer.

        Raises:
            ConfigError: only some are.
        """
        real = [REAL.fullmatch(part) is not None for part in self._parts]
        if any(real) and not all(real):
            raise ConfigError(
                f"--devices {self.devices!r}: either devices of this computer, such as cpu,cpu or "
                f"cuda:0,cuda:1, or simulated ones of {', '.join(DEVICES)}"
            )
        return all(real)

    @property
    def _parts(self) -> list[str]:
        return [part.strip() for part in self.devices.lower().split(",")]

    def real_devices(self) -> tuple[str, ...]:
        """Each by its name, as often as it is asked for.

        Raises:
            ConfigError: too many, or none of one.
        """
        names: list[str] = []
        for part in self._parts:
            match = REAL.fullmatch(part)
            assert match is not None, "asked before"
            names += [match[1]] * int(match[2] or 1)
        if not 0 < len(names) <= MOST_DEVICES:
            raise ConfigError(
                f"--devices {self.devices!r}: {len(names)} devices, expected 1..{MOST_DEVICES}"
            )
        return tuple(names)

    def refuse(self, *options: tuple[str, object]) -> None:
        """None of these has been given: they are of the other kind.

        Raises:
            ConfigError: naming the first that has.
        """
        for name, value in options:
            if value is None:
                continue
            if self.are_real:
                raise ConfigError(
                    f"{name} {value}: is for simulated devices, {self.devices} is measured; "
                    f"leave {name} out"
                )
            raise ConfigError(
                f"{name} {value}: is for devices of this computer; add --devices cpu,cpu or "
                "cuda:0,cuda:1"
            )


def simulate(choices: Choices, options: Mapping[str, Any]) -> None:
    """Models of cards, or measured times, in simulated time.

    Raises:
        ConfigError: naming the option, its value and what is allowed.
    """
    given: dict[str, Any] = {"model": "1.3b", "source_fps": 0.0, "hop_ms": 1.0, "jitter": 0.0}
    given |= {name: options[name] for name in given if options[name] is not None}
    check_choice("--model", given["model"], tuple(MODELS))
    check_range("--steps", choices.steps, 1, 4)
    check_range("--source-fps", given["source_fps"], 0, 240)
    check_range("--hop-ms", given["hop_ms"], 0, 1000)
    check_range("--lanes", choices.lanes, 0, 64)
    check_range("--jitter", given["jitter"], 0, 1)
    times: Path | None = options["times"]
    known = named_devices(choices.devices, given["model"]) if times is None else read_times(times)
    traffic = Traffic(
        source_fps=given["source_fps"],
        hop_ms=given["hop_ms"],
        lanes=choices.lanes,
        jitter=given["jitter"],
    )
    bench_multi(known, choices.steps, traffic, choices.json_path, choices.out)


def measure(choices: Choices, options: Mapping[str, Any]) -> None:
    """The ring of the product over devices of this computer.

    Raises:
        HostError: naming the option, its value and what is allowed; or what is missing.
    """
    given: dict[str, Any] = {"route": "both", "seconds": 3.0, "rounds": 3, "kill": 0}
    given |= {name: options[name] for name in given if options[name] is not None}
    check_choice("--route", given["route"], tuple(ROUTES))
    check_range("--seconds", given["seconds"], 0.1, 600)
    check_range("--rounds", given["rounds"], 1, 100)
    check_range("--kill", given["kill"], 0, 1000)
    names = choices.real_devices()
    if given["kill"] and len(names) < 2:
        raise ConfigError(f"--kill {given['kill']}: needs two devices, {choices.devices} is one")
    of_engine = {"engine": options["engine"], "size": options["size"], "steps": choices.steps}
    config = make_config(
        {
            **of_engine,
            "devices": ",".join(names),
            "lanes": choices.lanes,
            "threads": options["threads"] or max(1, usable_cores() // len(names)),
        }
    )
    routes = ROUTES[given["route"]]
    plan = MeasurePlan(
        config=config,
        params=make_params(of_engine),
        setups=setups_of(names, config.threads, routes),
        routes=routes,
        seconds=given["seconds"],
        rounds=given["rounds"],
        kills=given["kill"],
    )
    bench_multi_measured(plan, choices.json_path, choices.out)
