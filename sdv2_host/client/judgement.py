"""From what a courier knows of its host to a state and a sentence for a person. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from sdv2_host.client.status import State

SLOW_S = 3.0
"""Without a fresh picture although frames go out."""
SILENT_S = 4.0
"""Without an answer on OSC."""

_RELEASE = re.compile(r"(\d{1,6})\.(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of now. Ages in seconds; None = it never happened."""

    host: str
    ours: str
    """Our version."""
    running: tuple[str, ...] = ()
    """Names of hosts that run."""
    refusal: str = ""
    """Why the name or the run directory cannot be used."""
    fault: str = ""
    """The courier's own last error, while it is new."""
    is_there: bool = False
    """A process holds the output ring."""
    has_file: bool = False
    """The host told how to reach it."""
    listen: str = ""
    port: int = 0
    version: str = ""
    silent_s: float = 0.0
    """Since its last answer, or since we began to ask."""
    is_stalled: bool = False
    """The output ring has had no heartbeat for two seconds."""
    told_state: str = ""
    """As /sdv2/status/state; '' = not told yet."""
    told_detail: str = ""
    switches: frozenset[str] = frozenset()
    """Those of SWITCHES that are on."""
    is_lockstep: bool = False
    publishes: bool = True
    shows: bool = True
    input_trouble: str = ""
    sending_s: float = 0.0
    """For how long frames have been going out without a pause; 0 = they do not."""
    dry_s: float = 0.0
    """Since the last fresh picture, or since the host was met."""


class Judgement(NamedTuple):
    state: State
    sentence: str


PAUSE = "/sdv2/pause"
SWITCHES = {
    PAUSE: Judgement(State.PAUSED, "Paused: the picture is held until Pause is off."),
    "/sdv2/panicked": Judgement(State.HELD, "Panic: the safe picture is shown until Resume."),
    "/sdv2/blackout": Judgement(State.HELD, "Blackout is on: the output is black until it is off."),
    "/sdv2/freeze": Judgement(State.HELD, "Frozen: the picture is held until Freeze is off."),
}
"""Why the picture does not follow the input although all is well; the first that is on is told."""


def judge(facts: Facts) -> Judgement:
    """What the state of affairs is, the worst thing first."""
    judgement = (
        _without_host(facts) or _without_answer(facts) or _in_trouble(facts) or _playing(facts)
    )
    if judgement.state in (State.LIVE, State.WAITING, State.SLOW) and facts.input_trouble:
        return Judgement(judgement.state, f"{judgement.sentence} {facts.input_trouble}")
    return judgement


def _without_host(facts: Facts) -> Judgement | None:
    if facts.fault:
        return Judgement(
            State.FAULT,
            f"An error of this component, please report it: {facts.fault}. It goes on by itself; "
            "Status.faults has the details.",
        )
    if facts.refusal:
        return Judgement(State.REFUSED, _sentence(facts.refusal[:1].upper() + facts.refusal[1:]))
    if facts.is_there:
        return None
    others = [name for name in facts.running if name != facts.host]
    if others:
        listed = ", ".join(f"'{name}'" for name in others)
        these = "is: choose that name" if len(others) == 1 else "are: choose one of these names"
        return Judgement(
            State.NO_HOST,
            f"No host named '{facts.host}' is running, but {listed} {these}, or "
            f"start '{facts.host}'.",
        )
    return Judgement(
        State.NO_HOST,
        f"No host named '{facts.host}' is running. Start it here, or in a terminal with: "
        f"sdv2-host run --name {facts.host}",
    )


def _without_answer(facts: Facts) -> Judgement | None:
    name = f"'{facts.host}'"
    if facts.is_stalled and (not facts.has_file or facts.silent_s > SILENT_S):
        return Judgement(
            State.HUNG,
            f"Host {name} hangs: its process is there but gives no sign of life. The last picture "
            "is held; if it does not come back, restart it.",
        )
    if not facts.has_file:
        return Judgement(State.STARTING, f"Host {name} is starting.")
    if facts.silent_s > SILENT_S:
        return Judgement(
            State.UNANSWERED,
            f"Host {name} runs but does not answer OSC on {facts.listen} port {facts.port}. "
            f"{_why_unanswered(facts.listen)}",
        )
    return None


def _why_unanswered(listen: str) -> str:
    if listen in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::", ""):
        return "A firewall may be between; or restart the host."
    return (
        f"It takes no OSC from its own network address: start it with --listen 0.0.0.0, or with "
        f"--osc-from {listen}."
    )


def _in_trouble(facts: Facts) -> Judgement | None:
    if facts.version and not is_same_release(facts.version, facts.ours):
        return Judgement(State.WRONG_VERSION, _wrong_version(facts))
    if facts.told_state == "failed":
        return Judgement(State.FAILED, f"The host gave up: {_sentence(facts.told_detail)}")
    if facts.told_state == "recovering":
        return Judgement(
            State.RECOVERING,
            "The host recovers, the last picture is held, then the safe one is shown: "
            f"{_sentence(facts.told_detail)}",
        )
    if facts.told_state == "safe":
        return Judgement(
            State.SAFE, f"The input is shown as it is, unstyled: {_sentence(facts.told_detail)}"
        )
    return None


def _playing(facts: Facts) -> Judgement:
    if facts.told_state in ("", "starting"):
        progress = facts.told_detail.strip()
        doing = f": {progress}" if progress not in ("", "starting") else ""
        return Judgement(State.STARTING, f"Host '{facts.host}' is starting{_sentence(doing)}")
    if facts.is_lockstep and PAUSE not in facts.switches:
        return Judgement(State.LOCKSTEP, "Rendering in lock-step.")
    for address, judgement in SWITCHES.items():
        if address in facts.switches:
            return judgement
    if facts.publishes and facts.shows and min(facts.sending_s, facts.dry_s) > SLOW_S:
        return Judgement(
            State.SLOW,
            f"Frames go to '{facts.host}', but no new picture has come for some seconds. It may be "
            "busy with a new size or prompt; else lower the size or the steps.",
        )
    if facts.told_state == "waiting":
        return Judgement(State.WAITING, _waiting(facts))
    return Judgement(State.LIVE, f"Live on '{facts.host}'.")


def _waiting(facts: Facts) -> str:
    if facts.sending_s:
        return f"Frames go to '{facts.host}'; the first picture follows."
    if facts.publishes:
        return f"Host '{facts.host}' is ready: connect a picture to the input."
    return (
        f"Host '{facts.host}' is ready. Nothing is sent to it from here, because the input is off: "
        "turn it on, or let another program send."
    )


def is_same_release(theirs: str, ours: str) -> bool:
    """Equal major and minor numbers; what is no release number must be equal itself."""
    their_release, our_release = _RELEASE.match(theirs), _RELEASE.match(ours)
    if their_release is None or our_release is None:
        return theirs == ours
    return _numbers(their_release) == _numbers(our_release)


def _wrong_version(facts: Facts) -> str:
    both = f"The host is version {facts.version}, this component {facts.ours}"
    theirs, ours = _RELEASE.match(facts.version), _RELEASE.match(facts.ours)
    if theirs is None or ours is None:
        return f"{both}: install the two of one release. Until then some controls may do nothing."
    if _numbers(theirs) < _numbers(ours):
        what = "the host is older: update its folder, run 'python bootstrap.py' there, restart it"
    else:
        what = (
            "the component is older: run 'sdv2-host touchdesigner' of the host's release and "
            "install what it writes"
        )
    return f"{both}; {what}. Until then some controls may do nothing."


def _numbers(release: re.Match[str]) -> tuple[int, int]:
    return int(release[1]), int(release[2])


def _sentence(text: str) -> str:
    """With a full stop, if it has none."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
