"""Graphics card, driver, torch and the memory that the engine will take, and how fast it goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sdv2_host.asking import Ask
from sdv2_host.checkup.child import NoAnswerError, ask_child
from sdv2_host.checkup.finding import Finding, Subject
from sdv2_host.config import Config
from sdv2_host.params import Params

GROUP = "Graphics card and engine"
GIB = 2**30
FACTS_S = 90.0
"""torch on a cold disk, and the plan of a Wan engine."""
CAMERA_FPS = 30.0
FLUID_FPS = 12.0
"""Below it the eye sees pictures, not motion."""
HOST_SHARE = 0.8
"""Of engine tiny alone, what a host makes that also feeds, mixes and shows its pictures, for they
share the processor: README has 29.8 fps of a 30 fps source with an engine of 37.7. An engine on a
graphics card has that for itself."""
HOT_C = 85.0
SLOW = "seconds for each picture, which is no show"
"""What a Wan engine makes on a processor."""
ELSEWHERE = "use a machine with a graphics card, or --engine tiny"
_QUERY = "name,driver_version,memory.total,memory.used,temperature.gpu"
NVIDIA_SMI = ("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Card:
    """An NVIDIA card, as its driver tells of it."""

    name: str
    driver: str
    total_mib: float
    used_mib: float
    celsius: float | None
    """None = it does not say."""


def read_cards(text: str) -> list[Card]:
    """From what NVIDIA_SMI prints; lines that are no card are left out."""
    cards = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 5 and (total := _number(cells[2])) is not None:
            used, celsius = _number(cells[3]), _number(cells[4])
            cards.append(Card(cells[0], cells[1], total, used or 0.0, celsius))
    return cards


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "[N/A]"
        return None


def check_driver(config: Config, ask: Ask) -> list[Finding]:
    """The NVIDIA driver, if there is one."""
    said = ask(NVIDIA_SMI)
    cards = None if said is None else read_cards(said)
    return list(driver_findings(config, cards, sys.platform))


def driver_findings(config: Config, cards: list[Card] | None, platform: str) -> Iterator[Finding]:
    """`cards` None = no driver answers; `platform` as `sys.platform` has it."""
    subject = Subject(GROUP, "NVIDIA driver")
    if cards is None:
        yield _no_driver_finding(config, subject, platform)
        return
    for index, card in enumerate(cards):
        heat = f", {card.celsius:.0f} °C" if card.celsius is not None else ""
        seen = (
            f"{card.name}, driver {card.driver}, "
            f"{(card.total_mib - card.used_mib) / 1024:.1f} of {card.total_mib / 1024:.1f} GiB "
            f"free{heat}"
        )
        one = Subject(GROUP, f"card {index}")
        if card.celsius is not None and card.celsius > HOT_C:
            yield one.warning(
                seen,
                "a card this hot slows itself down, and frames come late",
                "clean its fans, give it air, and look again",
            )
        else:
            yield one.ok(seen)


def _no_driver_finding(config: Config, subject: Subject, platform: str) -> Finding:
    if not _is_wan(config):  # whatever --device says, which is of Wan engines alone
        return subject.ok(f"none; engine {config.engine} needs none")
    install = "install NVIDIA's driver and restart the computer"
    if config.device.startswith("cuda"):
        return subject.trouble(
            f"no driver answers (nvidia-smi), but --device {config.device} is asked for",
            f"engine {config.engine} cannot start",
            f"{install}, or {ELSEWHERE}",
        )
    if config.device != "auto":
        return subject.ok(f"none; --device {config.device} needs none")
    if platform == "darwin":
        return subject.ok(f"none, as on any Mac; where engine {config.engine} runs is told below")
    return subject.warning(
        "no driver answers (nvidia-smi)",
        f"engine {config.engine} does not run on an NVIDIA card; what it runs on instead is told "
        "below",
        f"where this computer has an NVIDIA card, {install}",
    )


def _is_wan(config: Config) -> bool:
    return config.engine.startswith("wan")


def check_engine(config: Config) -> list[Finding]:
    """What torch says, in a process of its own; engine passthrough does without."""
    if config.engine == "passthrough":
        return [Subject(GROUP, "engine passthrough").ok("needs neither torch nor a card")]
    facts = ask_child("sdv2_host.bench.engine_facts", config.model_dump(), FACTS_S)
    return list(engine_findings(config, facts))


def engine_findings(config: Config, facts: dict[str, Any]) -> Iterator[Finding]:
    """`facts` as `bench/engine_facts.py` answers."""
    seen = f"torch {facts['torch']}, built for {facts['build']}"
    num_cuda = facts["num_cuda"]
    if facts["build"].startswith("CUDA"):
        seen += f", finds {num_cuda} NVIDIA card{'' if num_cuda == 1 else 's'}"
    yield _torch_finding(config, seen, facts["build"])
    subject = Subject(GROUP, f"engine {config.engine}")
    if facts["problem"]:
        yield subject.trouble(facts["problem"], "the engine cannot start", "as it says")
        return
    if _is_wan(config):
        yield from _plan_findings(config, subject, facts)
    elif facts["compiled"] is False and config.compile != "off":
        yield subject.ok(
            f"not compiled for {config.size}; sdv2-host compile --size {config.size} makes it "
            "faster, once, and takes a minute or two"
        )
    elif facts["compiled"]:
        yield subject.ok(f"compiled for {config.size}, and it fits this torch and processor")
    else:
        yield subject.ok("nothing to prepare")


def _torch_finding(config: Config, seen: str, build: str) -> Finding:
    subject = Subject(GROUP, "torch")
    if build != "CPU" or not _is_wan(config) or config.device == "cpu":
        return subject.ok(seen)
    return subject.warning(
        seen,
        f"engine {config.engine} runs on no graphics card, whatever this computer has",
        "where it has one, choose its torch on pytorch.org/get-started and run the line given "
        "there with the pip of sdv2-host",
    )


def _plan_findings(config: Config, subject: Subject, facts: dict[str, Any]) -> Iterator[Finding]:
    device, plan = facts["device"], facts["plan"]
    seen = (
        f"{config.size}, up to {plan['steps']} steps: {plan['total'] / GIB:.1f} GiB of "
        f"{device['free'] / GIB:.1f} GiB free on {device['name']}"
    )
    is_on_cpu = device["kind"] == "cpu"
    if plan["advice"]:
        # What would fit on a processor is for tests alone: to put that first would mislead.
        todo = f"{ELSEWHERE}; here, for tests: {plan['advice']}" if is_on_cpu else plan["advice"]
        yield subject.trouble(
            f"does not fit: {seen}",
            "the engine cannot start, or ends when memory runs out"
            + (f"; on the processor it takes {SLOW}" if is_on_cpu else ""),
            todo,
        )
    elif is_on_cpu:
        yield subject.warning(
            f"fits, but on the processor: {seen}",
            SLOW,
            ELSEWHERE,
        )
    else:
        yield subject.ok(f"fits: {seen}")


def check_fps(config: Config, params: Params, seconds: float, limit_s: float) -> list[Finding]:
    """Measures, in a process of its own; about `seconds` and the loading."""
    subject = Subject(GROUP, "expected speed")
    if config.engine == "passthrough":
        return [subject.ok("engine passthrough keeps up with any camera")]
    asked = {"config": config.model_dump(), "params": params.model_dump(mode="json")}
    try:
        answer = ask_child("sdv2_host.bench.expected_fps", asked, limit_s, [str(seconds)])
    except NoAnswerError as error:
        return [
            subject.warning(
                f"could not be measured: {error}",
                "not known how fast the engine goes",
                "put right what the other lines say, then look again",
            )
        ]
    return [fps_finding(config, params, float(answer["fps"]), float(answer["warm_up_s"]))]


def fps_finding(config: Config, params: Params, engine_fps: float, start_s: float) -> Finding:
    """`engine_fps` is of the engine alone, `start_s` what it takes to load and warm up."""
    subject = Subject(GROUP, "expected speed")
    expected = engine_fps * HOST_SHARE if config.engine == "tiny" else engine_fps
    what = f"engine {config.engine} at {config.size}, {_steps(params.steps)}"
    seen = (
        f"{what}: {_rate(engine_fps)} fps alone, about {_rate(expected)} in a show, "
        f"ready {start_s:.0f} s after a start"
    )
    if expected >= CAMERA_FPS:
        return subject.ok(f"{seen}; a {CAMERA_FPS:.0f} fps camera is kept up with")
    shown = f"of a {CAMERA_FPS:.0f} fps camera's pictures {_rate(expected)} a second are styled"
    look = "the others are left out evenly: less fluid" if expected >= FLUID_FPS else "a slide show"
    return subject.warning(
        seen,
        f"{shown}, {look}",
        ("fewer steps, " if params.steps > 1 else "")
        + "a smaller --size"
        + (", or sdv2-host compile" if config.engine == "tiny" else ", --vae taehv"),
    )


def _rate(fps: float) -> str:
    return f"{fps:.1f}" if fps < FLUID_FPS else f"{fps:.0f}"


def _steps(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"
