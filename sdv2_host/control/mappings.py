"""Learnt OSC: addresses of senders that cannot be told ours, and the parameters they play.

To learn: ask for a parameter, move a fader or press a button on the sender. The first unknown
address with a number in it is taken, and its range from what comes within LEARN_NS of it. What a
sender repeats all the time, as a CHOP does, is not taken before it changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sdv2_host.actions import ACTION_BY_ADDRESS, ACTIONS, ActionSpec
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.control.console import Console
from sdv2_host.control.documents import MAX_NUMBER, Format
from sdv2_host.control.presses import Presses
from sdv2_host.errors import ConfigError, HostError, ParamError
from sdv2_host.ipc.osc import Impulse, OscMessage
from sdv2_host.param_table import BY_ADDRESS, PARAMS, ParamSpec, ParamValue
from sdv2_host.param_values import from_norm

LEARN_NS = 2 * NS_PER_S
MAX_ROWS = 128
REST_NS = NS_PER_S // 2
MAX_RESTING = 1024
"""Unknown addresses whose value is remembered."""
RANGES = ((0.0, 1.0), (0.0, 127.0), (0.0, 255.0), (0.0, 1023.0), (-1.0, 1.0))
"""What faders and knobs send, the narrowest first: the first that holds what came is taken."""


class Mapping(BaseModel):
    """One address and what it plays."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    address: Annotated[str, Field(pattern=r"^/.{0,254}$")]
    arg: int = Field(0, ge=0, le=255)
    """Which argument carries the value."""
    target: Annotated[str, Field(max_length=64)]
    """Name of a parameter or of an action without arguments."""
    in_min: float = 0.0
    in_max: float = 1.0
    mode: Literal["absolute", "toggle", "trigger"] = "absolute"
    """toggle: each press turns a switch over; trigger: fires the action when the value rises."""


class MappingFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    mappings: list[Mapping] = Field(max_length=MAX_ROWS)


MAPPINGS = Format("sdv2-mappings", MappingFile, {0: lambda raw: {"mappings": [], **raw}})


@dataclass(slots=True)
class _Lesson:
    """What is being learnt: for which target, from which address, since when, how far it goes."""

    target: str
    address: str = ""
    arg: int = 0
    begin_ns: int = 0
    low: float = 0.0
    high: float = 0.0


class _Rest(NamedTuple):
    number: float
    at_ns: int


class Mappings:
    """A `Learnt` of the dispatch and a `LearnBook` of the web; board 'learning', 'learnt'.

    Fields, per process: rows by address; the lesson in hand; which buttons are held; the newest
    number of each address that is not known.
    """

    def __init__(self, console: Console, path: Path, clock: Callable[[], int] = now_ns) -> None:
        self._console = console
        self._path = path
        self._clock = clock
        self._rows: dict[str, Mapping] = {}
        self._lesson: _Lesson | None = None
        self._presses = Presses()
        self._resting: dict[str, _Rest] = {}

    def load(self) -> None:
        """What was learnt before is known; a damaged file is told and left alone."""
        if not self._path.exists():
            return
        try:
            rows = MAPPINGS.read(self._path).value.mappings
            for row in rows:
                target_of(row.target)
        except HostError as error:
            self._console.note("warning", "learn", str(error))
        else:
            self._rows = {row.address: row for row in rows}
            self._publish()

    def start(self, target: str) -> None:
        """The next unknown address plays this parameter or action.

        Raises:
            ParamError: there is none of that name, or it takes a text.
        """
        spec = target_of(target)
        self._lesson = _Lesson(spec.name)
        self._console.publish({"learning": spec.name}, "learn")

    def cancel(self) -> None:
        self._lesson = None
        self._console.publish({"learning": ""}, "learn")

    def remove(self, address: str) -> None:
        """This address means nothing again.

        Raises:
            ParamError: it means nothing now.
        """
        if address not in self._rows:
            known = ", ".join(self._rows) or "none"
            raise ParamError(f"{address[:80]!r} was not learnt; learnt are {known}")
        del self._rows[address]
        self._save()

    def rows(self) -> list[dict[str, JsonValue]]:
        return [row.model_dump(mode="json") for row in self._rows.values()]

    def meaning(self, message: OscMessage) -> dict[str, ParamValue] | None:
        """Values by name; {} = an action was done, or nothing changes; None = unknown."""
        if self._lesson is not None and self._learn(self._lesson, message):
            return self._play(self._rows[message.address], message)
        row = self._rows.get(message.address)
        if row is not None:
            return self._play(row, message)
        self._remember(message)
        return None

    def _remember(self, message: OscMessage) -> None:
        """What the address shows while nobody moves it."""
        numbers = _numbers(message)
        if numbers and (message.address in self._resting or len(self._resting) < MAX_RESTING):
            self._resting[message.address] = _Rest(next(iter(numbers.values())), self._clock())

    def _is_resting(self, address: str, number: float) -> bool:
        """Whether it says the same over and over again, without a hand on it."""
        rest = self._resting.get(address)
        return rest is not None and rest.number == number and self._clock() - rest.at_ns < REST_NS

    def _learn(self, lesson: _Lesson, message: OscMessage) -> bool:
        """Whether the message is the one, or of the one, that is being learnt."""
        numbers = _numbers(message)
        if lesson.address and self._clock() - lesson.begin_ns > LEARN_NS:
            self.cancel()
            return False
        if not lesson.address:
            if not numbers or not message.address.isprintable():
                return False
            arg, number = next(iter(numbers.items()))
            if self._is_resting(message.address, number):
                return False
            lesson.address, lesson.arg = message.address, arg
            lesson.begin_ns = self._clock()
            lesson.low = lesson.high = number
        if message.address != lesson.address or lesson.arg not in numbers:
            return False
        value = numbers[lesson.arg]
        lesson.low, lesson.high = min(lesson.low, value), max(lesson.high, value)
        low, high = _range(lesson.low, lesson.high)
        row = Mapping(
            address=lesson.address,
            arg=lesson.arg,
            target=lesson.target,
            in_min=low,
            in_max=high,
            mode=_mode(target_of(lesson.target)),
        )
        if self._rows.get(row.address) != row:
            if len(self._rows) >= MAX_ROWS and row.address not in self._rows:
                self._console.note("warning", "learn", f"{MAX_ROWS} addresses are learnt already")
                self.cancel()
                return False
            self._rows[row.address] = row
            self._save()
            shown = f"{row.address} {low:g}..{high:g} plays {row.target}"
            self._console.note("info", "learn", shown)
        return True

    def _play(self, row: Mapping, message: OscMessage) -> dict[str, ParamValue]:
        value = _number(message.args[row.arg]) if row.arg < len(message.args) else None
        if value is None and message.args:
            return {}
        position = 1.0 if value is None else _position(row, value)
        spec = target_of(row.target)
        if row.mode == "absolute" and isinstance(spec, ParamSpec):
            return {spec.name: from_norm(spec, position)}
        is_bang = value is None
        if not is_bang and not self._presses.is_press(row.address, position >= 0.5, self._clock()):
            return {}
        if isinstance(spec, ParamSpec):
            return {spec.name: not getattr(self._console.params, spec.name)}
        self._console.try_call(spec.name, (), f"learnt {row.address}")
        return {}

    def _save(self) -> None:
        try:
            MAPPINGS.write(self._path, MappingFile(mappings=list(self._rows.values())))
        except ConfigError as error:
            self._console.note("error", "learn", str(error))
        self._publish()

    def _publish(self) -> None:
        self._console.publish({"learnt": list(self._rows)}, "learn")


def target_of(name: str) -> ParamSpec | ActionSpec:
    """The parameter or action of this name or address, if a fader or button can play it.

    Raises:
        ParamError: none, or one that takes a text.
    """
    param = PARAMS.get(name) or BY_ADDRESS.get(name)
    if param is not None and (param.kind is bool or param.minimum is not None):
        return param
    action = ACTIONS.get(name) or ACTION_BY_ADDRESS.get(name)
    if action is not None and all(arg.is_optional for arg in action.args):
        return action
    known = [spec.name for spec in PARAMS.values() if spec.kind is bool or spec.minimum is not None]
    known += [a.name for a in ACTIONS.values() if all(arg.is_optional for arg in a.args)]
    raise ParamError(f"{name[:80]!r} cannot be learnt, expected one of {', '.join(known)}")


def _number(value: object) -> float | None:
    if value is Impulse.IMPULSE:
        return 1.0
    if not isinstance(value, int | float):
        return None
    number = float(value)
    return number if abs(number) < MAX_NUMBER else None  # what a file may hold, and no NaN


def _numbers(message: OscMessage) -> dict[int, float]:
    """The arguments that are numbers, by their place."""
    return {i: n for i, arg in enumerate(message.args) if (n := _number(arg)) is not None}


def _range(low: float, high: float) -> tuple[float, float]:
    for first, last in RANGES:
        if first <= low and high <= last:
            return first, last
    return low, high


def _mode(spec: ParamSpec | ActionSpec) -> Literal["absolute", "toggle", "trigger"]:
    if isinstance(spec, ActionSpec):
        return "trigger"
    return "toggle" if spec.kind is bool else "absolute"


def _position(row: Mapping, value: float) -> float:
    """0..1 of the range that was learnt."""
    span = row.in_max - row.in_min
    return min(1.0, max(0.0, (value - row.in_min) / span)) if span else float(value != 0)
