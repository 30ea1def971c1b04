"""From OSC messages to the console: what a sender means, whatever it sends. No I/O.

Parameters at their own address in their own unit and at /sdv2/norm/... in 0..1; patterns reach
those of looks only. Actions fire on a bang, on no argument, and once on a level that a button or
a channel holds above 0. Values of one turn of the loop are one change, the last one wins; so are
those of a bundle, whose questions are answered after them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple, Protocol

from sdv2_host.actions import ACTION_BY_ADDRESS, ActionSpec, Args
from sdv2_host.clock import NS_PER_S, now_ns
from sdv2_host.control.console import DECKS, Console
from sdv2_host.control.monitor import Monitor
from sdv2_host.control.osc_args import from_fader, joined, shown, single_value
from sdv2_host.control.oscquery import INNER
from sdv2_host.control.presses import Presses
from sdv2_host.errors import HostError, ParamError, ProtocolError
from sdv2_host.ipc.osc import Impulse, OscArgument, OscMessage, decode
from sdv2_host.ipc.osc_encode import OutValue, encode_message
from sdv2_host.ipc.osc_pattern import is_pattern, matching
from sdv2_host.param_table import BY_ADDRESS, BY_NORM_ADDRESS, PARAMS, ParamSpec, ParamValue
from sdv2_host.param_values import Coerced, coerce, to_norm
from sdv2_host.params import Params
from sdv2_host.status import OscCounts

MAX_REMEMBERED = 256
"""Different complaints that are told, against senders of noise."""
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


class _Waiting(NamedTuple):
    value: ParamValue
    peer: Peer
    packet: int
    """Its number, from 1."""


@dataclass(slots=True)
class Dispatch:
    """Fields, per process: who is told of each message; counts; values waiting to be set, by
    parameter name; which buttons are held; what was already complained about."""

    console: Console
    conversation: Conversation
    monitor: Monitor
    learnt: Learnt = field(default_factory=NothingLearnt)
    counts: OscCounts = field(default_factory=OscCounts)
    clock: Callable[[], int] = now_ns
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _presses: Presses = field(default_factory=Presses)
    _told: set[str] = field(default_factory=set)
    _note_second: int = 0
    _notes: int = 0

    def packet(self, data: bytes, peer: Peer) -> list[Answer]:
        """Takes a packet in; its values wait for `flush`."""
        self.counts.datagrams += 1
        try:
            packet = decode(data)
        except ProtocolError as error:
            return [self.garbled(str(error), peer)]
        answers: list[Answer] = []
        for reason in packet.rejected:
            self.counts.rejected += 1
            self._tell(f"part {peer.host}", peer, f"OSC message in a bundle ignored: {reason}")
            answers.append(Answer("/sdv2/error", (f"osc {peer}", reason)))
        for message in sorted(packet.messages, key=self._is_question):
            self.monitor.arrived(f"osc {peer}", message.address, message.args)
            try:
                answers += self._message(message, peer)
            except (ProtocolError, ParamError) as error:
                self.counts.rejected += 1
                kind = message.address if isinstance(error, ParamError) else f"by {peer.host}"
                self._tell(f"rejected {kind}", peer, f"OSC ignored: {error}")
                answers.append(Answer("/sdv2/error", (message.address, str(error))))
        return answers

    def garbled(self, reason: str, peer: Peer) -> Answer:
        """Something came that is no OSC."""
        self.counts.bad_datagrams += 1
        self._tell(f"bad {peer.host}", peer, f"OSC ignored: {reason}")
        return Answer("/sdv2/error", (f"osc {peer}", reason))

    def flush(self) -> None:
        """Sets the values that wait, those of each sender as one change.

        A prompt may wait for the beat, and with it what came in its bundle; a fader that was
        moved at the same moment does not.
        """
        waiting, self._waiting = self._waiting, {}
        with_prompt = {waiting[name].packet for name in DECKS if name in waiting}
        changes: dict[tuple[Peer, int], dict[str, ParamValue]] = {}
        for name, (value, peer, packet) in waiting.items():
            key = (peer, packet if packet in with_prompt else 0)
            changes.setdefault(key, {})[name] = value
        for (peer, _), values in changes.items():
            self.console.set(values, f"osc {peer}")

    def _message(self, message: OscMessage, peer: Peer) -> list[Answer]:
        address = INNER.get(message.address, message.address)
        if is_pattern(address):
            found = matching(address, BY_PATTERN)
            answers = [a for one in found for a in self._param(one, message.args, peer)]
            return answers if found else self._unknown(address, peer)
        if address in BY_ADDRESS or address in BY_NORM_ADDRESS:
            return self._param(address, message.args, peer)
        action = ACTION_BY_ADDRESS.get(address)
        if action is not None:
            act = self._together if action.sets else self._action
            return act(action, message.args, peer)
        if address in self.conversation.addresses:
            self.counts.asked += 1
            self.flush()
            return self.conversation.handle(peer, message)
        values = self.learnt.meaning(message)
        if values is None:
            return self._unknown(address, peer)
        for name, value in values.items():
            self.counts.applied += 1
            self._waiting[name] = _Waiting(value, peer, self.counts.datagrams)
        return []

    def _param(self, address: str, args: tuple[OscArgument, ...], peer: Peer) -> list[Answer]:
        is_norm = address in BY_NORM_ADDRESS
        spec = BY_NORM_ADDRESS[address] if is_norm else BY_ADDRESS[address]
        if not args or args == ("?",):
            self.counts.asked += 1
            self.flush()
            return [Answer(address, (shown_value(self.console.params, spec, is_norm),))]
        raw = single_value(spec, args)
        if is_norm:
            raw = from_fader(spec, raw)
        answers = self._take(spec, raw, coerce(spec, raw), peer)
        self.conversation.heard(peer, address, raw if not is_norm else to_norm(spec, float(raw)))
        return answers

    def _together(
        self, action: ActionSpec, args: tuple[OscArgument, ...], peer: Peer
    ) -> list[Answer]:
        """Several parameters by one address: all of them are taken or none."""
        if not args or args == ("?",):
            self.counts.asked += 1
            self.flush()
            values = tuple(getattr(self.console.params, name) for name in action.sets)
            return [Answer(action.address, values)]
        if len(args) != len(action.sets):
            names = " ".join(arg.name for arg in action.args)
            raise ParamError(f"{action.address} came with {shown(args)}, expected {names}")
        specs = [PARAMS[name] for name in action.sets]
        raws = [single_value(spec, (arg,)) for spec, arg in zip(specs, args, strict=True)]
        coerced = [coerce(spec, raw) for spec, raw in zip(specs, raws, strict=True)]
        for spec, raw, one in zip(specs, raws, coerced, strict=True):
            self._take(spec, raw, one, peer)
        return []

    def _take(self, spec: ParamSpec, raw: ParamValue, coerced: Coerced, peer: Peer) -> list[Answer]:
        """The value waits for `flush`. A fader that overshoots needs no answer, a text that was cut
        does."""
        value, clamped = coerced
        self.counts.applied += 1
        answers: list[Answer] = []
        if clamped:
            self.counts.clamped += 1
            text = f"{spec.address} = {shown(raw)}, expected {spec.allowed}: {shown(value)} used"
            if spec.kind is str:
                length = len(str(raw))
                text = f"{spec.address} has {length} characters: the first {spec.max_chars} used"
                answers.append(Answer("/sdv2/error", (spec.address, text)))
            self._tell(f"clamped {spec.address}", peer, text)
        # Kept in the order of arrival: the last one of all wins.
        self._waiting.pop(spec.name, None)
        self._waiting[spec.name] = _Waiting(value, peer, self.counts.datagrams)
        return answers

    def _action(
        self, action: ActionSpec, args: tuple[OscArgument, ...], peer: Peer
    ) -> list[Answer]:
        self.flush()  # what came before the action is in force when it fires
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
        second = self.clock() // NS_PER_S
        if second != self._note_second:
            self._note_second, self._notes = second, 0
        self._notes += 1
        if self._notes <= NOTES_PER_S:
            self.console.note(level, origin, text)
        else:
            self.monitor.add(origin, "", f"{level}: {text}")

    def _fired(self, action: ActionSpec, args: tuple[OscArgument, ...], peer: Peer) -> Args | None:
        """The action's arguments; None = a level that is held, or that fell."""
        has_text = any(isinstance(arg, str) for arg in args)
        needs_args = any(not arg.is_optional for arg in action.args)
        if len(args) != 1 or has_text or needs_args:
            return joined(args)
        if args[0] is Impulse.IMPULSE or args[0] is None:
            return ()
        is_high = isinstance(args[0], int | float) and args[0] != 0 and not math.isnan(args[0])
        is_press = self._presses.is_press((peer, action.address), is_high, self.clock())
        return () if is_press else None

    def _unknown(self, address: str, peer: Peer) -> list[Answer]:
        """Answered once: some senders send all that they have, to everybody, at 60 Hz."""
        self.counts.unknown += 1
        key = f"unknown {address}"
        if self._is_told(key):  # to look for what was meant takes a millisecond
            plain = f"warning: OSC {shown(address)} ignored: no such address"
            self.monitor.add(f"osc {peer}", "", plain)
            return []
        text = f"no such address; {_hint(address)}all are in /sdv2/dump"
        self._tell(key, peer, f"OSC {shown(address)} ignored: {text}")
        return [Answer("/sdv2/error", (address, text))]

    def _is_question(self, message: OscMessage) -> bool:
        """Whether the message leaves the parameters as they are."""
        address = INNER.get(message.address, message.address)
        if address in self.conversation.addresses:
            return True
        action = ACTION_BY_ADDRESS.get(address)
        asks = not message.args or message.args == ("?",)
        return asks and (action is None or bool(action.sets))

    def _is_told(self, key: str) -> bool:
        return key in self._told or len(self._told) > MAX_REMEMBERED

    def _tell(self, key: str, peer: Peer, text: str) -> None:
        """Each kind of fault once, and then no more than counted."""
        if self._is_told(key):
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


def _hint(address: str) -> str:
    if is_pattern(address):
        return "the pattern matches no parameter; "
    if " " in address:
        return "the value belongs into an argument, not into the address; "
    near = get_close_matches(address, (*BY_ADDRESS, *ACTION_BY_ADDRESS), 1)
    return f"did you mean {near[0]}? " if near else ""
