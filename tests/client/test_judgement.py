"""Every situation of a host has its state and a sentence that says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdv2_host.client.judgement import SWITCHES, Facts, is_same_release, judge
from sdv2_host.client.status import State

NOBODY = Facts(host="stage", ours="0.2.0")
STARTED = replace(NOBODY, is_there=True)
OPEN = replace(STARTED, has_file=True, listen="127.0.0.1", port=9400, version="0.2.1")
LIVE = replace(OPEN, told_state="live", sending_s=60.0)
WAITING = replace(OPEN, told_state="waiting", told_detail="no frames come in")

SITUATIONS = {
    "nobody": (NOBODY, State.NO_HOST, "sdv2-host run --name stage"),
    "another one runs": (
        replace(NOBODY, running=("a", "b")),
        State.NO_HOST,
        "but 'a', 'b' are: choose one of these names",
    ),
    "a bad name": (
        replace(NOBODY, refusal="host name 'Stage': use 1 to 44 of a-z"),
        State.REFUSED,
        "use 1 to 44 of a-z.",
    ),
    "our own fault": (
        replace(LIVE, fault="ValueError: x"),
        State.FAULT,
        "report it: ValueError: x. It goes on by itself",
    ),
    "before its port is open": (STARTED, State.STARTING, "'stage' is starting."),
    "before it told anything": (OPEN, State.STARTING, "'stage' is starting."),
    "loading": (
        replace(OPEN, told_state="starting", told_detail="loading weights 40 %"),
        State.STARTING,
        "is starting: loading weights 40 %.",
    ),
    "ready": (WAITING, State.WAITING, "connect a picture to the input"),
    "ready, and the input is off": (
        replace(WAITING, publishes=False),
        State.WAITING,
        "the input is off: turn it on, or let another program send",
    ),
    "ready, and the first frames are out": (
        replace(WAITING, sending_s=0.5),
        State.WAITING,
        "the first picture follows",
    ),
    "live": (LIVE, State.LIVE, "Live on 'stage'."),
    "live, and another program sends": (
        replace(LIVE, sending_s=0.0, input_trouble="Another program sends."),
        State.LIVE,
        "Live on 'stage'. Another program sends.",
    ),
    "slow": (replace(LIVE, dry_s=5.0), State.SLOW, "lower the size or the steps"),
    "dry since frames go out": (replace(LIVE, sending_s=1.0, dry_s=50.0), State.LIVE, "Live"),
    "dry, and nothing is shown": (replace(LIVE, dry_s=50.0, shows=False), State.LIVE, "Live"),
    "dry, and nothing is sent": (replace(LIVE, dry_s=50.0, publishes=False), State.LIVE, "Live"),
    "a render": (replace(LIVE, is_lockstep=True), State.LOCKSTEP, "lock-step"),
    "the worker died": (
        replace(OPEN, told_state="recovering", told_detail="the worker was killed"),
        State.RECOVERING,
        "the last picture is held, then the safe one is shown: the worker was killed.",
    ),
    "the engine was given up": (
        replace(OPEN, told_state="safe", told_detail="tiny died 5 times"),
        State.SAFE,
        "The input is shown as it is, unstyled: tiny died 5 times.",
    ),
    "gave up": (
        replace(OPEN, told_state="failed", told_detail="no memory; choose a smaller size"),
        State.FAILED,
        "The host gave up: no memory; choose a smaller size.",
    ),
    "no answer": (replace(LIVE, silent_s=5.0), State.UNANSWERED, "127.0.0.1 port 9400"),
    "no answer on a network address": (
        replace(LIVE, silent_s=5.0, listen="10.0.0.7"),
        State.UNANSWERED,
        "--osc-from 10.0.0.7",
    ),
    "hung": (replace(LIVE, silent_s=5.0, is_stalled=True), State.HUNG, "restart it"),
    "hung at its start": (replace(STARTED, is_stalled=True), State.HUNG, "restart it"),
    "an older host": (
        replace(LIVE, version="0.1.9"),
        State.WRONG_VERSION,
        "the host is older: update it",
    ),
    "a newer host": (
        replace(LIVE, version="1.0.0"),
        State.WRONG_VERSION,
        "the component is older: run 'sdv2-host touchdesigner'",
    ),
    "a strange host": (
        replace(LIVE, version="git"),
        State.WRONG_VERSION,
        "install the two of one release",
    ),
}


@pytest.mark.parametrize(("facts", "state", "words"), SITUATIONS.values(), ids=SITUATIONS)
def test_each_situation_has_its_state_and_says_what_to_do(
    facts: Facts, state: State, words: str
) -> None:
    judgement = judge(facts)

    assert judgement.state is state
    assert words in judgement.sentence


@pytest.mark.parametrize("facts", [one[0] for one in SITUATIONS.values()], ids=SITUATIONS)
def test_each_sentence_begins_as_one_and_ends_as_one(facts: Facts) -> None:
    sentence = judge(facts).sentence

    assert sentence[0].isupper()
    assert sentence.endswith(".") or sentence.endswith("--name stage")
    assert ".." not in sentence
    assert "  " not in sentence


@pytest.mark.parametrize("address", SWITCHES)
def test_a_switch_that_holds_the_picture_is_told_and_not_called_slow(address: str) -> None:
    judgement = judge(replace(LIVE, dry_s=50.0, switches=frozenset((address,))))

    assert judgement == SWITCHES[address]


@pytest.mark.parametrize(
    ("theirs", "ours", "is_same"),
    [
        ("0.1.0", "0.1.7", True),
        ("0.1.0rc1", "0.1.7+local", True),
        ("0.1.0", "0.2.0", False),
        ("1.1.0", "0.1.0", False),
        ("0.10.0", "0.1.0", False),
        ("test", "test", True),
        ("test", "0.1.0", False),
    ],
)
def test_releases_are_one_by_their_first_two_numbers(theirs: str, ours: str, is_same: bool) -> None:
    assert is_same_release(theirs, ours) is is_same
