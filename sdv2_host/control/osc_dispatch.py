"""From OSC messages to the console: what a sender means, whatever it sends. No I/O.

Parameters at their own address in their own unit and at /sdv2/norm/... in 0..1; patterns reach
those of looks only. Actions fire on a bang, on no argument, and once on a level that a button or
a channel holds above 0. Values of one turn of the loop are one change, the last one wins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple, Protocol

from sdv2_host.actions import ACTION_BY_ADDRESS, ActionSpec, Args
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.control.console import Console
from sdv2_host.control.monitor import Monitor
from sdv2_host.control.oscquery import INNER
from sdv2_host.errors import HostError, ParamError, ProtocolError
from sdv2_host.ipc.osc import Impulse, OscArgument, OscMessage, decode
from sdv2_host.ipc.osc_encode import OutValue, encode_message
from sdv2_host.ipc.osc_pattern import is_pattern, matching
from sdv2_host.params import (
    BY_ADDRESS,
    BY_NORM_ADDRESS,
    Params,
    ParamSpec,
    ParamValue,
    coerce,
    from_norm,
    to_norm,
)
from sdv2_host.status import OscCounts

MAX_REMEMBERED = 256
"""Different complaints that are told, and levels that are kept, against senders of noise."""
SHOWN_CHARS = 80
NOTES_PER_S = 10
"""Of actions; what is more is done and counted, but not told."""

BY_PATTERN = [address for address, spec in (BY_ADDRESS | BY_NORM_ADDRESS).items() if spec.in_preset]
"""What a pattern reaches: looks. `/sdv2/*` must not black out, record or panic."""


class Peer(NamedTuple):
    """Who sent something, and where answers go. Over TCP, its connection."""

    kind: str
    """'udp' or 'tcp'."""
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Answer(NamedTuple):
    """One message back to the sender."""

    address: str
    values: tuple[OutValue, ...]


def as_packet(answer: Answer) -> bytes:
    """The message on the wire. Truth is sent as 1 and 0: Pd and CHOPs know no T and F."""
    values = (int(value) if isinstance(value, bool) else value for value in answer.values)
    return encode_message(answer.address, *values)


class Conversation(Protocol):
    """Takes the messages that are about the conversation: subscribe, ping and the like."""

    addresses: frozenset[str]

    def handle(self, peer: Peer, message: OscMessage) -> list[Answer]:
        """The answers. Raises ParamError."""

    def heard(self, peer: Peer, address: str, value: ParamValue) -> None:
        """The peer set this parameter."""


class Learnt(Protocol):
    """Addresses that are not ours and what they stand for; see control/mappings.py."""

    def meaning(self, message: OscMessage) -> dict[str, ParamValue] | None:
        """Values by name, {} = nothing yet, None = the address is unknown."""


class NothingLearnt:
    """A `Learnt` without any."""

    def meaning(self, message: OscMessage) -> dict[str, ParamValue] | None:
        return None


@dataclass(slots=True)
class Dispatch:
    """Fields, per process: who is told of each message; counts; values waiting to be set, by
    parameter name, with who sent them; levels of actions; what was already complained about."""

    console: Console
    conversation: Conversation
    monitor: Monitor
    learnt: Learnt = field(default_factory=NothingLearnt)
    counts: OscCounts = field(default_factory=OscCounts)
    _waiting: dict[str, tuple[ParamValue, Peer]] = field(default_factory=dict)
    _levels: dict[tuple[Peer, str], bool] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _note_second: int = 0
    _notes: int = 0

    def packet(self, data: bytes, peer: Peer) -> list[Answer]:
        """Takes a packet in; its values wait for `flush`."""
        self.counts.datagrams += 1
        try:
            packet = decode(data)
        except ProtocolError as error:
            self.counts.bad_datagrams += 1
            self._tell(f"bad {peer.host}", peer, f"OSC ignored: {error}")
            return []
        for reason in packet.rejected:
            self.counts.rejected += 1
            self._tell(f"part {peer.host}", peer, f"OSC message in a bundle ignored: {reason}")
        answers: list[Answer] = []
        for message in packet.messages:
            self.monitor.arrived(f"osc {peer}", message.address, message.args)
            try:
                answers += self._message(message, peer)
            except ProtocolError as error:
                self.counts.rejected += 1
                self._tell(f"pattern {peer.host}", peer, f"OSC ignored: {error}")
            except ParamError as error:
                self.counts.rejected += 1
                self._tell(f"rejected {message.address}", peer, f"OSC ignored: {error}")
                answers.append(Answer("/sdv2/error", (message.address, str(error))))
        return answers

    def flush(self) -> None:
        """Sets the values that wait, those of each sender as one change."""
        waiting, self._waiting = self._waiting, {}
        by_peer: dict[Peer, dict[str, ParamValue]] = {}
        for name, (value, peer) in waiting.items():
            by_peer.setdefault(peer, {})[name] = value
        for peer, values in by_peer.items():
            self.console.set(values, f"osc {peer}")

    def _message(self, message: OscMessage, peer: Peer) -> list[Answer]:
        address = INNER.get(message.address, message.address)
        if is_pattern(address):
            found = matching(address, BY_PATTERN)
            answers = [a for one in found for a in self._param(one, message.args, peer)]
            if not found:
                self._unknown(address, peer, "the pattern matches no parameter; ")
            return answers
        if address in BY_ADDRESS or address in BY_NORM_ADDRESS:
            return self._param(address, message.args, peer)
        action = ACTION_BY_ADDRESS.get(address)
        if action is not None:
            return self._action(action, message.args, peer)
        if address in self.conversation.addresses:
            self.counts.asked += 1
            self.flush()
            return self.conversation.handle(peer, message)
        values = self.learnt.meaning(message)
        if values is None:
            self._unknown(address, peer, _hint(address))
            return []
        for name, value in values.items():
            self.counts.applied += 1
            self._waiting[name] = (value, peer)
        return []

    def _param(self, address: str, args: tuple[OscArgument, ...], peer: Peer) -> list[Answer]:
        is_norm = address in BY_NORM_ADDRESS
        spec = BY_NORM_ADDRESS[address] if is_norm else BY_ADDRESS[address]
        if not args or args == ("?",):
            self.counts.asked += 1
            self.flush()
            return [Answer(address, (shown_value(self.console.params, spec, is_norm),))]
        raw = _single_value(spec, args)
        if is_norm:
            raw = _from_fader(spec, raw)
        value, clamped = coerce(spec, raw)
        self.counts.applied += 1
        if clamped:
            self.counts.clamped += 1
            text = f"{spec.address} = {_shown(raw)}, expected {spec.allowed}: {_shown(value)} used"
            self._tell(f"clamped {spec.address}", peer, text)
        self.conversation.heard(peer, address, raw if not is_norm else to_norm(spec, float(raw)))
        # Kept in the order of arrival: the last one of all wins.
        self._waiting.pop(spec.name, None)
        self._waiting[spec.name] = (value, peer)
        return []

    def _action(
        self, action: ActionSpec, args: tuple[OscArgument, ...], peer: Peer
    ) -> list[Answer]:
        self.flush()  # what came before the action is in force when it fires
        if action.sets and not args:
            self.counts.asked += 1
            values = tuple(getattr(self.console.params, name) for name in action.sets)
            return [Answer(action.address, values)]
        given = self._fired(action, args, peer)
        if given is None:
            return []
        self.counts.called += 1
        origin = f"osc {peer}"
        try:
            text = self.console.call(action.name, given, origin)
        except HostError as error:
            self._note("error", origin, str(error))
            return [Answer("/sdv2/error", (action.address, str(error)))]
        self._note("info", origin, text)
        return []

    def _note(self, level: str, origin: str, text: str) -> None:
        """Told each time, as a person who presses a button wants; but not to a machine gun."""
        second = now_ns() // NS_PER_S
        if second != self._note_second:
            self._note_second, self._notes = second, 0
        self._notes += 1
        if self._notes <= NOTES_PER_S:
            self.console.note(level, origin, text)
        else:
            self.monitor.add(origin, "", f"{level}: {text}")

    def _fired(self, action: ActionSpec, args: tuple[OscArgument, ...], peer: Peer) -> Args | None:
        """The action's arguments; None = a level that was there before, or that fell."""
        has_text = any(isinstance(arg, str) for arg in args)
        needs_args = any(not arg.is_optional for arg in action.args)
        if len(args) != 1 or has_text or needs_args:
            return _joined(args)
        key = (peer, action.address)
        is_high = _is_high(args[0])
        was_high = self._levels.pop(key, False)
        if isinstance(args[0], int | float):  # a bang leaves no level behind
            self._levels[key] = is_high
            if len(self._levels) > MAX_REMEMBERED:
                del self._levels[next(iter(self._levels))]
        return () if is_high and not was_high else None

    def _unknown(self, address: str, peer: Peer, hint: str) -> None:
        self.counts.unknown += 1
        text = f"OSC {_shown(address)} ignored: no such address; {hint}all are in /sdv2/dump"
        self._tell(f"unknown {address}", peer, text)

    def _tell(self, key: str, peer: Peer, text: str) -> None:
        """Each kind of fault once, and then no more than counted."""
        if key in self._told or len(self._told) > MAX_REMEMBERED:
            self.monitor.add(f"osc {peer}", "", f"warning: {text}")
            return
        self._told.add(key)
        if len(self._told) > MAX_REMEMBERED:
            text = f"{MAX_REMEMBERED} different faults so far, more are only counted"
        self.console.note("warning", f"osc {peer}", f"{text} (said once)")


def shown_value(params: Params, spec: ParamSpec, is_norm: bool) -> ParamValue:
    """The value as it is sent: numbers of norm addresses in 0..1."""
    value: ParamValue = getattr(params, spec.name)
    return to_norm(spec, float(value)) if is_norm else value


def _from_fader(spec: ParamSpec, raw: ParamValue) -> ParamValue:
    """Raises: ParamError."""
    try:
        position = float(raw)
    except (ValueError, OverflowError):
        raise ParamError(f"/sdv2/norm of {spec.name} = {_shown(raw)}, expected 0..1") from None
    return from_norm(spec, min(max(position, 0.0), 1.0)) if math.isfinite(position) else position


def _is_high(arg: OscArgument) -> bool:
    if isinstance(arg, int | float):
        return arg != 0 and not math.isnan(arg)
    return arg is Impulse.IMPULSE or arg is None


def _joined(args: Sequence[OscArgument]) -> Args:
    """Arguments as an action takes them; words that follow each other are one text.

    Raises:
        ParamError: an argument that is neither text, number nor truth.
    """
    values: list[ParamValue] = []
    for arg in args:
        if not isinstance(arg, str | int | float):
            raise ParamError(f"argument {_shown(arg)}, expected texts and numbers")
        if isinstance(arg, str) and values and isinstance(values[-1], str):
            values[-1] = f"{values[-1]} {arg}"
        else:
            values.append(arg)
    return tuple(values)


def _single_value(spec: ParamSpec, args: tuple[OscArgument, ...]) -> ParamValue:
    """The one value in the arguments, of a kind that `coerce` can judge.

    Several words for a text are joined by spaces: Pd and Max send a prompt word by word.

    Raises:
        ParamError: no value, too many, or of a kind this parameter cannot take.
    """
    if spec.kind is str:
        words = [_word(arg) for arg in args if isinstance(arg, str | int | float)]
        if words and len(words) == len(args):
            return " ".join(words)
    elif len(args) == 1:
        value = args[0]
        if isinstance(value, bool) and spec.kind is bool:
            return value
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return value
    came = _shown(args[0] if len(args) == 1 else args)
    raise ParamError(f"{spec.address} came with {came}, expected {spec.allowed}")


def _word(arg: str | int | float) -> str:
    return f"{arg:g}" if isinstance(arg, float) else str(arg)


def _hint(address: str) -> str:
    if " " in address:
        return "the value belongs into an argument, not into the address; "
    near = get_close_matches(address, (*BY_ADDRESS, *ACTION_BY_ADDRESS), 1)
    return f"did you mean {near[0]}? " if near else ""


def _shown(value: object) -> str:
    """Quoted and cut, so that a peer's bytes cannot forge or flood the log."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."
