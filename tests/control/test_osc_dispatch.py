"""What senders mean: every row of the table of real ones, and of what makes no sense."""

from __future__ import annotations

import time

import pytest
from pythonosc.osc_message_builder import OscMessageBuilder

from sdv2_host.clock import NS_PER_S
from sdv2_host.control.monitor import Monitor
from sdv2_host.control.osc_dispatch import MAX_REMEMBERED, Answer, Dispatch, Peer
from sdv2_host.ipc.osc import OscMessage
from sdv2_host.ipc.osc_encode import encode_message
from sdv2_host.param_table import PARAMS, ParamValue
from sdv2_host.params import Params
from tests.control.fake_stage import FakeStage, Witness, fake_console

LOOK = {name for name, spec in PARAMS.items() if spec.in_preset}
PEER = Peer("udp", "127.0.0.1", 5000)
OTHER = Peer("udp", "127.0.0.1", 5001)


class Silence:
    """A conversation without one."""

    addresses = frozenset[str]()

    def handle(self, peer: Peer, message: OscMessage) -> list[Answer]:
        raise AssertionError(message)

    def heard(self, peer: Peer, address: str, value: ParamValue) -> None: ...


def desk() -> tuple[Dispatch, FakeStage, Witness]:
    console, stage, witness = fake_console()
    return Dispatch(console, Silence(), Monitor()), stage, witness


def sent(datagram: bytes) -> tuple[dict[str, object], Dispatch, Witness]:
    """What one packet changes."""
    dispatch, stage, witness = desk()
    dispatch.packet(datagram, PEER)
    dispatch.flush()
    changed = {key: value for patch, _, _ in stage.applied for key, value in patch.items()}
    return changed, dispatch, witness


def osc(address: str, *args: tuple[str, object]) -> bytes:
    builder = OscMessageBuilder(address)
    for tag, value in args:
        builder.add_arg(value, tag)  # type: ignore[arg-type]
    return builder.build().dgram


def osc_bundle(*messages: bytes) -> bytes:
    sizes = [len(one).to_bytes(4, "big") + one for one in messages]
    return b"#bundle\0" + (1).to_bytes(8, "big") + b"".join(sizes)


ACCEPTED: dict[str, tuple[bytes, dict[str, ParamValue]]] = {
    "prompt": (osc("/sdv2/prompt", ("s", "neon rain")), {"prompt": "neon rain"}),
    "prompt word by word": (
        osc("/sdv2/prompt", ("s", "neon"), ("i", 1984), ("f", 0.5), ("s", "rain")),
        {"prompt": "neon 1984 0.5 rain"},
    ),
    "int": (osc("/sdv2/steps", ("i", 3)), {"steps": 3}),
    "int as a CHOP sends it": (osc("/sdv2/steps", ("f", 3.0)), {"steps": 3}),
    "int between two": (osc("/sdv2/steps", ("f", 2.6)), {"steps": 3}),
    "int as text": (osc("/sdv2/seed", ("s", "17")), {"seed": 17}),
    "int of 64 bits": (osc("/sdv2/seed", ("h", 5)), {"seed": 5}),
    "float": (osc("/sdv2/noise/s_min", ("f", 0.25)), {"noise_s_min": 0.25}),
    "float as int": (osc("/sdv2/noise/s_max", ("i", 1)), {"noise_s_max": 1.0}),
    "double": (osc("/sdv2/noise/s_max", ("d", 0.3)), {"noise_s_max": 0.3}),
    "true": (osc("/sdv2/freeze", ("T", True)), {"freeze": True}),
    "false": (osc("/sdv2/freeze", ("F", False)), {"freeze": False}),
    "button": (osc("/sdv2/freeze", ("f", 1.0)), {"freeze": True}),
    "true in words": (osc("/sdv2/freeze", ("s", "True")), {"freeze": True}),
    "off in words": (osc("/sdv2/freeze", ("s", "off")), {"freeze": False}),
    "int of SuperCollider": (osc("/sdv2/freeze", ("i", 0)), {"freeze": False}),
    "bundle": (
        osc_bundle(osc("/sdv2/steps", ("i", 1)), osc("/sdv2/seed", ("i", 9))),
        {"steps": 1, "seed": 9},
    ),
    "last one of a bundle": (
        osc_bundle(osc("/sdv2/seed", ("i", 8)), osc("/sdv2/seed", ("i", 9))),
        {"seed": 9},
    ),
    "norm alias": (osc("/sdv2/norm/steps", ("f", 1.0)), {"steps": 4}),
    "norm alias past its end": (osc("/sdv2/norm/noise/s_max", ("f", 7.0)), {"noise_s_max": 1.0}),
    "choice in capitals": (osc("/sdv2/panic/safe", ("s", "BLACK")), {"safe": "black"}),
    "list symbol x of Pd": (
        osc("/sdv2/prompt", ("s", "symbol"), ("s", "rain")),
        {"prompt": "symbol rain"},
    ),
    "a pattern": (
        osc("/sdv2/noise/s_*", ("f", 0.5)),
        {"noise_s_min": 0.5, "noise_s_max": 0.5},
    ),
    "both bounds as an XY pad sends them, past its end": (
        osc("/sdv2/noise/bounds", ("f", 0.25), ("f", 1.5)),
        {"noise_s_min": 0.25, "noise_s_max": 1.0},
    ),
    "side of the output": (osc("/sdv2/output/width", ("i", 300)), {"width": 304}),
    "nested bundle": (
        osc_bundle(osc_bundle(osc("/sdv2/steps", ("i", 1))), osc("/sdv2/seed", ("i", 9))),
        {"steps": 1, "seed": 9},
    ),
}


@pytest.mark.parametrize(("datagram", "patch"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_common_senders_send_is_understood(
    datagram: bytes, patch: dict[str, ParamValue]
) -> None:
    changed, dispatch, witness = sent(datagram)

    assert changed == patch
    assert dispatch.counts.applied >= 1
    assert [n for n in witness.notices if "used" not in n.text] == []


REJECTED = {
    "words for a number": osc("/sdv2/steps", ("s", "many")),
    "NaN": osc("/sdv2/noise/s_min", ("f", float("nan"))),
    "infinity": osc("/sdv2/noise/s_min", ("f", float("inf"))),
    "NaN as text": osc("/sdv2/steps", ("s", "nan")),
    "blob": osc("/sdv2/seed", ("b", b"\1\2\3\4")),
    "two values": osc("/sdv2/noise/s_min", ("f", 0.1), ("f", 0.2)),
    "true for a number": osc("/sdv2/steps", ("T", True)),
    "nil for a prompt": osc("/sdv2/prompt", ("N", None)),
    "one bound for both": osc("/sdv2/noise/bounds", ("f", 0.5)),
    "a bound that is none": osc("/sdv2/noise/bounds", ("f", 0.5), ("s", "x")),
    "bang for freeze": b"/sdv2/freeze\0\0\0\0,I\0\0",
}


@pytest.mark.parametrize("datagram", REJECTED.values(), ids=REJECTED.keys())
def test_what_makes_no_sense_changes_nothing_is_answered_and_told_once(datagram: bytes) -> None:
    dispatch, stage, witness = desk()

    answers = [dispatch.packet(datagram, PEER) for _ in range(5)]
    dispatch.flush()

    assert stage.params == Params()
    assert dispatch.counts.rejected == 5
    assert [answer[0].address for answer in answers] == ["/sdv2/error"] * 5
    assert len(witness.notices) == 1
    assert "expected" in witness.notices[0].text


def test_a_bundle_is_one_change_and_what_is_wrong_in_it_is_left_out() -> None:
    wrong, right = osc("/sdv2/steps", ("s", "x")), osc("/sdv2/seed", ("i", 9))

    changed, dispatch, witness = sent(osc_bundle(wrong, right, osc("/sdv2/steps", ("i", 1))))

    assert changed == {"seed": 9, "steps": 1}
    assert len(witness.changes) == 1
    assert (dispatch.counts.applied, dispatch.counts.rejected) == (2, 1)


def test_a_question_and_both_bounds_in_a_bundle_leave_it_one_change() -> None:
    dispatch, stage, _ = desk()

    answers = dispatch.packet(
        osc_bundle(
            osc("/sdv2/steps", ("i", 1)),
            osc("/sdv2/steps"),
            osc("/sdv2/noise/bounds", ("f", 0.25), ("f", 0.75)),
            osc("/sdv2/noise/bounds"),
            osc("/sdv2/seed", ("i", 9)),
        ),
        PEER,
    )
    dispatch.flush()

    assert [patch for patch, _, _ in stage.applied] == [
        {"steps": 1, "noise_s_min": 0.25, "noise_s_max": 0.75, "seed": 9}
    ]
    assert answers == [Answer("/sdv2/steps", (1,)), Answer("/sdv2/noise/bounds", (0.25, 0.75))]


def test_values_of_one_turn_are_one_change_and_the_last_one_wins() -> None:
    dispatch, stage, _ = desk()

    for value in range(100):
        dispatch.packet(osc("/sdv2/seed", ("i", value)), PEER)
    dispatch.flush()

    assert len(stage.applied) == 1
    assert stage.params.seed == 99


def test_two_senders_of_one_turn_are_two_changes_and_the_later_value_stays() -> None:
    dispatch, stage, witness = desk()
    dispatch.packet(osc("/sdv2/seed", ("i", 1)), PEER)
    dispatch.packet(osc("/sdv2/steps", ("i", 3)), OTHER)
    dispatch.packet(osc("/sdv2/seed", ("i", 2)), OTHER)

    dispatch.flush()

    assert (stage.params.seed, stage.params.steps) == (2, 3)
    assert [change.origin for change in witness.changes] == ["osc 127.0.0.1:5001"]


@pytest.mark.parametrize("args", [(), ("?",)])
def test_a_question_is_answered_with_what_is_in_force(args: tuple[str, ...]) -> None:
    dispatch, _, _ = desk()
    dispatch.packet(osc("/sdv2/noise/s_max", ("f", 0.75)), PEER)

    assert dispatch.packet(encode_message("/sdv2/noise/s_max", *args), PEER) == [
        Answer("/sdv2/noise/s_max", (0.75,))
    ]
    assert dispatch.packet(encode_message("/sdv2/norm/noise/s_max"), PEER)[0].values == (0.75,)
    bounds = dispatch.packet(encode_message("/sdv2/noise/bounds"), PEER)
    assert bounds == [Answer("/sdv2/noise/bounds", (0.35, 0.75))]


def test_a_fader_moved_with_a_prompt_is_a_change_of_its_own_unless_they_are_a_bundle() -> None:
    dispatch, stage, _ = desk()
    prompt, fader = osc("/sdv2/prompt", ("s", "neon")), osc("/sdv2/steps", ("i", 1))

    dispatch.packet(osc("/sdv2/seed", ("i", 1)), PEER)
    dispatch.packet(prompt, PEER)
    dispatch.packet(fader, PEER)
    dispatch.flush()
    dispatch.packet(osc_bundle(prompt, fader), PEER)
    dispatch.flush()

    assert [patch for patch, _, _ in stage.applied] == [
        {"seed": 1, "steps": 1},
        {"prompt": "neon"},
        {"prompt": "neon", "steps": 1},
    ]


def test_a_level_held_fires_once_and_again_after_it_fell() -> None:
    dispatch, stage, _ = desk()
    dispatch.clock = lambda: NS_PER_S

    for level in (1.0, 1.0, 1.0, 0.0, 0.0):
        dispatch.packet(osc("/sdv2/panic", ("f", level)), PEER)
    assert dispatch.counts.called == 1
    assert stage.params.panicked
    dispatch.packet(osc("/sdv2/panic", ("i", 1)), PEER)

    assert dispatch.counts.called == 2


def test_a_button_that_never_tells_its_release_fires_each_time() -> None:
    dispatch, _, _ = desk()
    times = iter(range(0, 10 * NS_PER_S, NS_PER_S // 2))
    dispatch.clock = lambda: next(times)

    for _ in range(3):
        dispatch.packet(osc("/sdv2/seed/randomise", ("i", 1)), PEER)

    assert dispatch.counts.called == 3


BANGS = {
    "no argument": encode_message("/sdv2/panic"),
    "impulse": b"/sdv2/panic\0,I\0\0",
    "true": encode_message("/sdv2/panic", True),
    "nil": b"/sdv2/panic\0,N\0\0",
    "one": encode_message("/sdv2/panic", 1),
}


@pytest.mark.parametrize("bang", BANGS.values(), ids=BANGS.keys())
def test_an_action_fires_however_it_is_banged(bang: bytes) -> None:
    dispatch, stage, _ = desk()

    dispatch.packet(bang, PEER)

    assert stage.params.panicked


@pytest.mark.parametrize("value", [0, 0.0, False, float("nan")])
def test_a_level_of_nothing_fires_nothing(value: float) -> None:
    dispatch, stage, _ = desk()

    dispatch.packet(encode_message("/sdv2/panic", value), PEER)

    assert not stage.params.panicked


@pytest.mark.parametrize("address", ["/*", "/sdv2/*", "/sdv2/p*", "/sdv2/panic*", "/*/*", "/?*?"])
def test_no_pattern_reaches_more_than_the_look(address: str) -> None:
    dispatch, stage, _ = desk()

    dispatch.packet(osc(address, ("f", 1.0)), PEER)
    dispatch.flush()

    assert dispatch.counts.called == 0
    assert {patch_name for patch, _, _ in stage.applied for patch_name in patch} <= LOOK


def test_an_action_takes_effect_after_what_came_before_it_and_before_what_comes_after() -> None:
    dispatch, stage, _ = desk()

    dispatch.packet(
        osc_bundle(
            osc("/sdv2/freeze", ("T", True)), osc("/sdv2/resume"), osc("/sdv2/blackout", ("i", 1))
        ),
        PEER,
    )
    dispatch.flush()

    assert (stage.params.freeze, stage.params.blackout) == (False, True)


def test_words_and_numbers_become_the_arguments_of_an_action() -> None:
    dispatch, stage, _ = desk()

    dispatch.packet(encode_message("/sdv2/prompt/go", "neon", "rain", 2.0), PEER)
    dispatch.packet(encode_message("/sdv2/prompt/blend", "a", "b", 3, "c", 1.0), PEER)

    assert [patch for patch, _, _ in stage.applied] == [
        {"prompt": "neon rain"},
        {"prompt": "a b:0.75 | c:0.25"},
    ]


def test_a_prompt_of_two_thousand_characters_of_any_language_comes_whole() -> None:
    prompt = "雨のネオン街 " * 285

    changed, _, _ = sent(osc("/sdv2/prompt", ("s", prompt)))

    assert changed == {"prompt": prompt}


def test_a_prompt_that_is_cut_is_told_to_its_sender() -> None:
    dispatch, stage, witness = desk()

    answers = dispatch.packet(encode_message("/sdv2/prompt", "x" * 60_000), PEER)
    dispatch.flush()

    assert stage.params.prompt == "x" * 2000
    text = "/sdv2/prompt has 60000 characters: the first 2000 used"
    assert answers == [Answer("/sdv2/error", ("/sdv2/prompt", text))]
    assert [notice.text for notice in witness.notices] == [f"{text} (said once)"]


def test_latin_1_is_read_where_it_is_no_utf_8() -> None:
    changed, _, _ = sent(b"/sdv2/prompt\0\0\0\0,s\0\0caf\xe9\0\0\0\0")

    assert changed == {"prompt": "café"}


def test_an_unknown_address_is_told_with_the_nearest_known_one() -> None:
    _, dispatch, witness = sent(osc("/sdv2/promt", ("s", "x")))

    assert dispatch.counts.unknown == 1
    assert "did you mean /sdv2/prompt?" in witness.notices[0].text


def test_a_typing_error_is_answered_once_and_what_is_no_osc_always() -> None:
    dispatch, _, _ = desk()

    answers = [dispatch.packet(osc("/sdv2/promt", ("s", "x")), PEER) for _ in range(3)]

    assert [len(answer) for answer in answers] == [1, 0, 0]
    assert answers[0][0].values[0] == "/sdv2/promt"
    for packet in (b"no OSC", osc_bundle(b"/a\0\0,Q\0\0"), osc("/sdv2/[", ("f", 1.0))):
        assert [a.address for a in dispatch.packet(packet, PEER)] == ["/sdv2/error"]


def test_channels_that_are_not_ours_cost_next_to_nothing() -> None:
    dispatch, _, _ = desk()
    packet = osc("/sdv2/chan1", ("f", 1.0))
    dispatch.packet(packet, PEER)
    begin = time.process_time()

    for _ in range(2000):
        dispatch.packet(packet, PEER)

    assert time.process_time() - begin < 0.5


def test_a_value_in_the_address_gets_a_hint() -> None:
    _, _, witness = sent(b"/sdv2/steps 3\0\0\0,\0\0\0")

    assert "the value belongs into an argument" in witness.notices[0].text


def test_a_sender_of_noise_fills_neither_log_nor_memory() -> None:
    dispatch, _, witness = desk()

    for number in range(5000):
        dispatch.packet(encode_message(f"/noise/{number}", 1.0), PEER)
        dispatch.packet(encode_message("/sdv2/panic", 0.0), PEER._replace(port=number))

    assert dispatch.counts.unknown == 5000
    assert len(witness.notices) == MAX_REMEMBERED + 1
    assert "only counted" in witness.notices[-1].text


def test_every_packet_is_counted_once() -> None:
    dispatch, _, _ = desk()
    for packet in (b"", b"x", encode_message("/sdv2/steps", 1), encode_message("/sdv2/resume")):
        dispatch.packet(packet, PEER)

    counts = dispatch.counts
    assert (counts.datagrams, counts.bad_datagrams, counts.applied, counts.called) == (4, 2, 1, 1)
