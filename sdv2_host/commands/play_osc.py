"""Commands about the OSC of a running daemon: what arrives, what is learnt, what it answers."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sdv2_host.commands.client import Client, NotRunningError
from sdv2_host.commands.play import shown
from sdv2_host.errors import ParamError
from sdv2_host.ipc.osc import MAX_PACKET_BYTES, OscMessage, decode

MONITOR_S = 0.2
LESSON_S = 2.0
"""How long a fader is watched for its range, as control/mappings.py does."""
REPLY_S = 0.3
"""For the first answer to an OSC message: the host gives it within some turns of its loop."""
QUIET_S = 0.1
"""After an answer, for one more: those of /sdv2/dump come at 30 Hz."""
ANSWERS_S = 1.0
"""For all of them: who subscribes is told without end."""
FLOOD = 4
"""A sender that says more than this to one address between two looks moves a fader."""


def monitor(client: Client) -> None:
    """Prints what arrives, what changes and what is refused, with who did it, until interrupted."""
    newest = client.get("/api/monitor")["newest"]
    where = f"{client.host.host}:{client.host.port}"
    print(f"watching {client.host.name} at {where}; Ctrl-C stops", file=sys.stderr)
    while True:
        time.sleep(MONITOR_S)
        lines = client.get(f"/api/monitor?after={newest}")["lines"]
        for text in monitor_lines(lines, newest):
            print(text, flush=True)
        newest = lines[-1]["number"] if lines else newest


def monitor_lines(lines: list[dict[str, Any]], newest: int) -> list[str]:
    """As they are printed; of what a sender says to one address many times over, the last."""
    if not lines:
        return []
    missed = lines[0]["number"] - newest - 1
    texts = [f"{missed} lines missed"] if missed else []
    kinds = [_kind(line) for line in lines]
    counts = Counter(kinds)
    last = {kind: at for at, kind in enumerate(kinds)}
    for at, (line, kind) in enumerate(zip(lines, kinds, strict=True)):
        is_flood = counts[kind] > FLOOD
        if is_flood and last[kind] != at:
            continue
        clock = time.strftime("%H:%M:%S", time.localtime(line["at_ms"] / 1000))
        told = " ".join(filter(None, (line["address"], line["text"])))
        times = f" (of {counts[kind]})" if is_flood else ""
        texts.append(f"{clock} {line['origin']:20} {told}{times}")
    return texts


def _kind(line: dict[str, Any]) -> tuple[str, str, bool]:
    is_change = line["text"].startswith("= ")
    return line["origin"], line["address"] or line["text"], is_change


def learn(client: Client, target: str | None, remove: str | None) -> None:
    """Starts to learn, forgets, or lists. Raises: HostError."""
    if remove is not None:
        client.delete("/api/learn", {"address": remove})
        print(f"forgot {remove}")
        return
    if target is None:
        rows = client.get("/api/learn")["rows"]
        for row in rows:
            scale = f"{row['in_min']:g}..{row['in_max']:g}"
            print(f"{row['address']:30} {scale:12} plays {row['target']} ({row['mode']})")
        if not rows:
            print("nothing was learnt yet; sdv2-host osc learn PARAM begins")
        return
    known = {row["address"] for row in client.post("/api/learn", {"target": target})["rows"]}
    print(f"move the fader or press the button that shall play {target}; Ctrl-C stops")
    try:
        while client.get("/api/learn")["learning"]:
            for row in client.get("/api/learn")["rows"]:
                if row["address"] not in known and row["target"] == target:
                    known.add(row["address"])
                    print(f"{row['address']} plays {target}; move it from end to end")
                    time.sleep(LESSON_S)
                    client.delete("/api/learn", {})
            time.sleep(MONITOR_S)
    finally:
        client.delete("/api/learn", {})


def send(client: Client, address: str, args: list[str]) -> None:
    """Sends one OSC message over UDP, numbers as i or f and all else as text, and prints what is
    answered to the port it was sent from. A message that is obeyed has no answer.

    Raises:
        ParamError: that is no OSC address, or the host refuses it; with its reason.
        ProtocolError: the answer is no OSC.
        NotRunningError: nobody listens there.
    """
    # Here, not above: building messages is python-osc's, which `set` does not need.
    from pythonosc.osc_message_builder import OscMessageBuilder  # noqa: PLC0415

    if not address.startswith("/"):
        raise ParamError(
            f"{address!r} is no OSC address: expected one that begins with '/', such as "
            "/sdv2/prompt; sdv2-host osc doc lists all"
        )
    builder = OscMessageBuilder(address)
    for arg in args:
        builder.add_arg(_osc_value(arg))
    newest = client.get("/api/monitor")["newest"]
    reasons, num_answers = [], 0
    where = (client.host.address, client.host.port)
    try:
        family, kind, _, _, to = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as link:
            link.connect(to)  # so that nobody else can answer
            own_port = link.getsockname()[1]
            link.send(builder.build().dgram)
            for answer in _answers(link):
                num_answers += 1
                if answer.address == "/sdv2/error":
                    reasons.append(_reason(answer))
                else:
                    print(" ".join((answer.address, *map(shown, answer.args))).rstrip())
    except OSError as error:
        raise NotRunningError(f"cannot send OSC to {where[0]} port {where[1]}: {error}") from error
    if not num_answers:
        reasons = _ignored(client.get(f"/api/monitor?after={newest}")["lines"], own_port)
    if reasons:
        raise ParamError("; ".join(reasons))


def _answers(link: socket.socket) -> Iterator[OscMessage]:
    end_s, wait_s = time.monotonic() + ANSWERS_S, REPLY_S
    while (left_s := end_s - time.monotonic()) > 0:
        link.settimeout(min(wait_s, left_s))
        try:
            packet = link.recv(MAX_PACKET_BYTES)
        except TimeoutError:
            return
        yield from decode(packet).messages
        wait_s = QUIET_S


def _reason(error: OscMessage) -> str:
    """Of an answer /sdv2/error, with the address it is about."""
    *about, reason = map(str, error.args or ("refused",))
    return reason if "".join(about) in reason else f"{about[0]}: {reason}"


def _ignored(lines: list[dict[str, Any]], port: int) -> list[str]:
    """Why nothing became of what came from this port: the host answers an unknown address only
    once in its life, its monitor tells it each time."""
    told = [line["text"] for line in lines if line["origin"].endswith(f":{port}")]
    return [text.removeprefix("warning: ") for text in told if text.startswith("warning: OSC ")]


def _osc_value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
