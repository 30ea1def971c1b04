"""`sdv2-host replay`: a recorded show through the engine again, the same or better."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from pydantic import ValidationError
from rich.console import Console

from sdv2_host.clock import NS_PER_S
from sdv2_host.commands.preflight import check_installed
from sdv2_host.commands.progress_bar import shown_progress
from sdv2_host.commands.prompts import bank_prompts
from sdv2_host.config import ENGINES, Config
from sdv2_host.config_checks import parse_size
from sdv2_host.cores import usable_cores
from sdv2_host.errors import ConfigError
from sdv2_host.host.engines import build_engine
from sdv2_host.host.prompt_desk import needs_bank
from sdv2_host.host.show_format import Machine, Step
from sdv2_host.host.show_part import this_machine
from sdv2_host.host.show_reader import Part, open_show, read_calls
from sdv2_host.host.show_replay import Picture, digests_in, replay
from sdv2_host.params import Params, prompts_of
from sdv2_host.sinks.video_file import VideoFileSink
from sdv2_host.types import Engine, ProgressFn

X264_PRESET = "medium"
LOCKSTEP_FPS = 30.0
MIN_FPS, MAX_FPS = 1.0, 120.0
BuildEngine = Callable[[Config, ProgressFn], Engine]
"""`build_engine`, or what a test has in its place."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be other than in the show; None = as there."""

    steps: int | None = None
    size: str | None = None
    seed: int | None = None
    engine: str | None = None
    vae: str | None = None
    device: str | None = None
    threads: int | None = None
    models_dir: str = ""

    @property
    def has_any(self) -> bool:
        """The pictures will be others. Another device may give the same, but for the last bit."""
        return any(
            one is not None for one in (self.steps, self.size, self.seed, self.engine, self.vae)
        )

    def config(self, part: Part) -> Config:
        """Raises: ConfigError: a value that cannot be."""
        update: dict[str, object] = {"models_dir": self.models_dir}
        if self.engine is not None:
            if self.engine not in ENGINES:
                known = ", ".join(ENGINES)
                raise ConfigError(f"--engine {self.engine}: unknown engine, known are {known}")
            update["engine"] = self.engine
        if self.size is not None:
            update |= parse_size(self.size)._asdict()
        for name in ("vae", "device", "threads"):
            if getattr(self, name) is not None:
                update[name] = getattr(self, name)
        if self.steps is not None and self.steps > part.config.num_step_rows:
            update["max_steps"] = self.steps
        try:
            return Config.model_validate({**part.config.model_dump(), **update})
        except ValidationError as error:
            first = error.errors()[0]
            option = f"--{first['loc'][0]} {first['input']}"
            raise ConfigError(f"{option:.100}: {first['msg']}") from None

    def params(self, params: Params) -> Params:
        """Those of a step."""
        update: dict[str, object] = {}
        if self.steps is not None:
            update["steps"] = self.steps
        if self.seed is not None:
            update["seed"] = self.seed
        if self.size is not None:
            update |= parse_size(self.size)._asdict()
        return params.model_copy(update=update)


@dataclass(slots=True)
class Verdict:
    """How the pictures compare with those of the show."""

    num_pictures: int = 0
    num_equal: int = 0
    num_missing: int = 0
    """That are in the show and could not be made again: its frames end before."""
    first_other: str = ""
    """Where the first is that differs; '' = none does."""
    problems: list[str] = field(default_factory=list)

    def see(self, picture: Picture, part: Part) -> None:
        if picture.problem and picture.problem not in self.problems:
            self.problems.append(picture.problem)
        if picture.recorded is None:
            return
        self.num_pictures += 1
        is_equal = picture.is_equal
        self.num_equal += is_equal
        if not is_equal and not self.first_other:
            self.first_other = (
                f"{part.folder.name}, call {picture.call}, frame {picture.source.number} of the "
                "source"
            )

    @property
    def text(self) -> str:
        text = f"{self.num_equal} pictures of {self.num_pictures} identical"
        if not self.num_missing:
            return text
        return (
            f"{text}; {self.num_missing} more cannot be made again, as their frames are not in the "
            "show: its recorder was killed, or a file is damaged"
        )


class _Scanned(NamedTuple):
    """What is known of a part before it is made again."""

    part: Part
    digests: dict[int, str]
    num_frames: int
    prompts: list[str]
    captures_ns: list[int]
    is_lockstep: bool


def replay_show(
    show: Path,
    target: Path | None,
    changes: Changes,
    verify: bool,
    build: BuildEngine = build_engine,
) -> Verdict:
    """The show's pictures are made again, and written where there is a target.

    Raises:
        ConfigError: it is no show, or the output cannot be written, or the options do not go
            together.
        HostError: the engine cannot be had.
    """
    if target is None and not verify:
        raise ConfigError("say where to: sdv2-host replay SHOW OUT.mp4, or only compare: --verify")
    if target is not None and target.suffix.lower() != ".mp4":
        raise ConfigError(f"{target}: the output is an MP4 file, give it a name that ends in .mp4")
    if verify and changes.has_any:
        raise ConfigError(
            "--verify compares with the show as it was: leave out --steps, --size, --seed, "
            "--engine and --vae"
        )
    parts = [_scan(part) for part in open_show(show)]
    verdict = Verdict()
    with contextlib.ExitStack() as stack:
        film = stack.enter_context(_film(target, parts)) if target is not None else None
        for index, scanned in enumerate(parts):
            later = parts[index + 1].captures_ns[:1] if index + 1 < len(parts) else []
            shown = None if film is None else _Shown(film, later[0] if later else None)
            _replay_part(scanned, changes, build, verdict, shown)
    for problem in verdict.problems:
        print(f"sdv2-host: {problem}", file=sys.stderr)
    return verdict


def _replay_part(
    scanned: _Scanned,
    changes: Changes,
    build: BuildEngine,
    verdict: Verdict,
    shown: _Shown | None,
) -> None:
    """Its engine is gone afterwards: the device may have room for one only."""
    console = Console(stderr=True)
    config = changes.config(scanned.part)
    if not changes.has_any and not config.threads:
        # As many as the show had, whatever else is at work.
        config = config.model_copy(update={"threads": usable_cores()})
    _prepare(config, scanned, changes)
    with shown_progress(console) as progress:
        engine = _warm_engine(config, scanned, changes, progress, build)
    change = changes.params if changes.has_any else None
    num_before = verdict.num_pictures
    with shown_progress(console) as progress:
        pictures = replay(scanned.part, engine, scanned.digests, change)
        for count, picture in enumerate(pictures, 1):
            verdict.see(picture, scanned.part)
            if shown is not None:
                shown.write(picture)
            progress(f"replaying {scanned.part.folder.name}", _share(count, scanned))
    verdict.num_missing += len(scanned.digests) - (verdict.num_pictures - num_before)
    _let_go(config, engine)


def _share(count: int, scanned: _Scanned) -> float:
    return min(1.0, count / max(1, scanned.num_frames))


def _scan(part: Part) -> _Scanned:
    """Reads the part's lines once, without its frames."""
    digests = digests_in(read_calls(part))
    prompts: dict[str, None] = {text: None for text in _texts(part.params)}
    captures: list[int] = []
    is_lockstep = False
    for recorded in read_calls(part):
        call = recorded.call
        if isinstance(call, Step):
            prompts |= dict.fromkeys(_texts(recorded.params))
            captures += [frame.capture_ns for frame in call.frames]
            is_lockstep |= call.is_lockstep
    return _Scanned(part, digests, len(captures), list(prompts), captures, is_lockstep)


def _texts(params: Params) -> list[str]:
    return [one.text for one in prompts_of(params)]


def _prepare(config: Config, scanned: _Scanned, changes: Changes) -> None:
    """What the engine needs is there, its prompts too."""
    check_installed(config, changes.params(scanned.part.params))
    if needs_bank(config.engine):
        bank_prompts(config, scanned.prompts)


def _warm_engine(
    config: Config,
    scanned: _Scanned,
    changes: Changes,
    progress: ProgressFn,
    build: BuildEngine,
) -> Engine:
    """As the worker had it. Whether stages overlap is measured where the settings leave it open,
    and lanes have other threads: so where it came out otherwise than in the show, it is said."""
    params = changes.params(scanned.part.params)

    def built(config: Config) -> Engine:
        gc.collect()  # an engine refers to itself: what the one before held is free now
        engine = build(config, progress)
        engine.warm_up(params, progress)
        return engine

    engine = built(config)
    recorded, measured = scanned.part.facts.delay_frames, engine.delay_frames
    if changes.has_any or measured == recorded or config.overlap != "auto":
        return engine
    del engine
    return built(config.model_copy(update={"overlap": "on" if recorded > measured else "off"}))


def _let_go(config: Config, engine: Engine) -> None:
    """What is left of it goes with the last reference."""
    if config.is_ring:
        from sdv2_host.stages.ring_engine import RingEngine  # noqa: PLC0415  (torch)

        assert isinstance(engine, RingEngine), "an engine on several devices is a ring"
        engine.close()


def differences(then: Machine, now: Machine) -> list[str]:
    """What is not as it was when the show was recorded, in words."""
    return [
        f"{name}: then {getattr(then, name) or 'unknown'}, now {getattr(now, name) or 'unknown'}"
        for name in Machine.model_fields
        if getattr(then, name) != getattr(now, name)
    ]


def report(show: Path, verdict: Verdict, changes: Changes) -> list[str]:
    """Lines for a person who expected equal pictures."""
    if not verdict.first_other:
        return [verdict.text]
    found = [text for part in open_show(show) for text in _differences(part, changes)]
    told = list(dict.fromkeys(found))
    if changes.threads is not None or changes.device is not None:
        told.append("--threads or --device")
    lines = [verdict.text, f"the first that differs: {verdict.first_other}"]
    lines += [f"not as it was: {text}" for text in told]
    if not told:
        lines.append(
            "machine, versions and model are as they were; compiled code (sdv2-host compile) or a "
            "LoRA may have changed since"
        )
    return lines


def _differences(part: Part, changes: Changes) -> list[str]:
    return differences(part.facts.machine, this_machine(changes.config(part)))


class _Film:
    """The MP4: pictures at the times of their frames."""

    def __init__(self, sink: VideoFileSink, fps: float) -> None:
        self._sink = sink
        self._fps = fps
        self._first_ns: int | None = None
        self._count = 0

    def write(self, picture: Picture) -> None:
        capture_ns = picture.source.capture_ns
        if self._first_ns is None:
            self._first_ns = capture_ns
        number = round((capture_ns - self._first_ns) * self._fps / NS_PER_S)
        self._sink.write(picture.pixels, self._count if picture.is_lockstep else number)
        self._count += 1


class _Shown(NamedTuple):
    """Of a part, what is in the film."""

    film: _Film
    end_ns: int | None
    """Of the source's time; None = the show's end."""

    def write(self, picture: Picture) -> None:
        """A part's last pictures are left out where the next part has the same frames: while
        another engine takes over, two are at work."""
        if self.end_ns is None or picture.source.capture_ns < self.end_ns:
            self.film.write(picture)


@contextlib.contextmanager
def _film(target: Path, parts: list[_Scanned]) -> Iterator[_Film]:
    fps = _fps(parts)
    with VideoFileSink(target, fps, preset=X264_PRESET) as sink:
        yield _Film(sink, fps)


def _fps(parts: list[_Scanned]) -> float:
    """That of the source, as a rule."""
    if any(scanned.is_lockstep for scanned in parts):
        return LOCKSTEP_FPS
    gaps = [b - a for scanned in parts for a, b in pairwise(scanned.captures_ns) if b > a]
    return min(max(NS_PER_S / median(gaps), MIN_FPS), MAX_FPS) if gaps else LOCKSTEP_FPS
