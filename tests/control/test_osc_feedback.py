from __future__ import annotations

from dataclasses import replace

from sdv2_host.clock import NS_PER_S
from sdv2_host.control.console import Console
from sdv2_host.control.monitor import Monitor
from sdv2_host.control.osc_conversation import OscConversation
from sdv2_host.control.osc_dispatch import Answer, Dispatch, Peer
from sdv2_host.control.osc_feedback import (
    LEASE_NS,
    MAX_PER_TURN,
    MAX_TARGETS,
    Feedback,
    metric_values,
    status_values,
)
from sdv2_host.ipc.osc_encode import OutValue, encode_message
from sdv2_host.param_table import BY_ADDRESS, BY_NORM_ADDRESS
from sdv2_host.status import HostState, HostStatus, LatencyBudget, StageMs, StagesMs
from tests.control.fake_stage import fake_console

DESK = Peer("udp", "10.0.0.1", 5000)
FADER = Peer("udp", "10.0.0.2", 5000)
OWN_PORT = 9400
MS = NS_PER_S // 1000


class Room:
    """Console, dispatch and feedback with a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.console: Console
        self.console, self.stage, _ = fake_console()
        self.now = NS_PER_S
        self.feedback = Feedback(self.console)
        self.conversation = OscConversation(self.feedback, lambda: self.now, lambda: OWN_PORT)
        self.dispatch = Dispatch(self.console, self.conversation, Monitor())
        self.console.listen(self.feedback)

    def send(self, peer: Peer, address: str, *values: OutValue) -> list[Answer]:
        self.feedback.renew(peer, self.now)
        answers = self.dispatch.packet(encode_message(address, *values), peer)
        self.dispatch.flush()
        return answers

    def hear(self, peer: Peer, after_ms: float = 40) -> dict[str, tuple[OutValue, ...]]:
        """What the peer is told `after_ms` later, in one turn."""
        self.now += int(after_ms * MS)
        messages = [
            message
            for parcel in self.feedback.parcels(self.now)
            if parcel.peer == peer
            for message in parcel.messages
        ]
        assert len({m.address for m in messages}) == len(messages), "each address once"
        return {message.address: message.values for message in messages}

    def settle(self, peer: Peer) -> dict[str, tuple[OutValue, ...]]:
        """All that it is told until it is quiet."""
        told: dict[str, tuple[OutValue, ...]] = {}
        while more := self.hear(peer):
            told |= more
        return told


def test_a_subscriber_is_told_everything_and_then_what_changes() -> None:
    room = Room()
    room.console.publish({"preset": "neon", "presets": ["a", "b"]}, "t")

    room.send(DESK, "/sdv2/subscribe")

    told = room.settle(DESK)
    assert told.keys() >= BY_ADDRESS.keys()
    assert not told.keys() & BY_NORM_ADDRESS.keys()
    assert told["/sdv2/status/presets"] == ("a", "b")
    room.console.set({"steps": 4}, "t")
    room.console.publish({"preset": "gold"}, "t")
    assert room.settle(DESK) == {"/sdv2/steps": (4,), "/sdv2/status/preset": ("gold",)}


def test_a_lockstep_client_is_told_how_late_pictures_come() -> None:
    room = Room()
    room.send(DESK, "/sdv2/subscribe")
    room.settle(DESK)
    told = []
    for delay_frames in (0, 15, 0):
        room.stage.status = replace(room.stage.status, delay_frames=delay_frames)
        room.now += 200 * MS
        room.feedback.turn(room.stage.snapshot(), room.now)
        told.append(room.settle(DESK)["/sdv2/status/delay_frames"])

    assert told == [(0,), (15,), (0,)]


def test_the_dump_is_paced_and_nothing_of_it_is_lost() -> None:
    room = Room()
    room.send(DESK, "/sdv2/subscribe", "/sdv2/norm/")

    told = room.settle(DESK)

    assert told.keys() == BY_NORM_ADDRESS.keys()
    assert len(room.hear(DESK)) <= MAX_PER_TURN


def test_changes_are_coalesced_and_the_last_value_is_always_told() -> None:
    room = Room()
    room.send(DESK, "/sdv2/subscribe")
    room.settle(DESK)

    for value in range(100):
        room.console.set({"seed": value}, "t")

    assert room.settle(DESK) == {"/sdv2/seed": (99,)}


def test_no_more_often_than_the_rate_asked_for() -> None:
    room = Room()
    room.send(DESK, "/sdv2/subscribe", DESK.port, 10.0)
    room.settle(DESK)
    room.now += NS_PER_S
    times = []
    for step in range(1000):
        room.console.set({"seed": step}, "t")
        if room.hear(DESK, after_ms=1):
            times.append(step)

    assert len(times) == 10


def test_a_sender_does_not_hear_its_own_value_and_others_do() -> None:
    room = Room()
    for peer in (DESK, FADER):
        room.send(peer, "/sdv2/subscribe")
        room.settle(peer)

    room.send(FADER, "/sdv2/noise/s_max", 0.7)

    assert room.settle(DESK)["/sdv2/noise/s_max"][0] == room.stage.params.noise_s_max
    room.now += NS_PER_S
    assert room.settle(FADER) == {}


def test_a_sender_hears_the_value_that_came_into_force_instead_of_its_own() -> None:
    room = Room()
    room.send(FADER, "/sdv2/subscribe")
    room.settle(FADER)
    room.stage.params = room.stage.params.model_copy(update={"steps": 4})

    room.send(FADER, "/sdv2/steps", 9.0)
    assert room.hear(FADER) == {}
    room.now += NS_PER_S

    assert room.settle(FADER) == {"/sdv2/steps": (4,)}


def test_a_fader_that_is_being_moved_is_not_fought_and_ends_in_step() -> None:
    room = Room()
    room.send(FADER, "/sdv2/subscribe")
    room.settle(FADER)
    for value in (0.5, 0.6, 0.7):
        room.send(FADER, "/sdv2/noise/s_max", value)
        room.console.set({"noise_s_max": 0.4}, "somebody else")
        assert "/sdv2/noise/s_max" not in room.hear(FADER)

    room.now += NS_PER_S

    assert room.settle(FADER)["/sdv2/noise/s_max"] == (0.4,)


def test_echo_all_hears_itself_and_echo_none_not_even_corrections() -> None:
    room = Room()
    for word, expected in (("all", {"/sdv2/steps": (4,)}), ("none", {})):
        room.send(FADER, "/sdv2/subscribe")
        room.send(FADER, "/sdv2/echo", word)
        room.settle(FADER)
        room.send(FADER, "/sdv2/steps", 9)
        room.now += NS_PER_S
        assert room.settle(FADER) == expected
        room.console.set({"steps": 2}, "t")
        room.now += NS_PER_S
        room.settle(FADER)


def test_a_lease_ends_without_a_sign_of_life_and_lasts_with_one() -> None:
    room = Room()
    room.send(DESK, "/sdv2/subscribe")
    for _ in range(5):
        room.now += LEASE_NS - 1
        room.send(DESK, "/sdv2/ping")
    room.settle(DESK)
    assert room.feedback.targets

    room.hear(DESK, after_ms=LEASE_NS / MS + 1)

    assert room.feedback.targets == {}


def test_another_port_of_the_same_machine_can_listen_and_no_other_machine() -> None:
    room = Room()

    room.send(DESK, "/sdv2/subscribe", 9001)

    assert list(room.feedback.targets) == [DESK._replace(port=9001)]
    room.send(DESK, "/sdv2/unsubscribe", 9001)
    assert room.feedback.targets == {}


def test_subscribers_are_bounded() -> None:
    room = Room()
    answers = [room.send(DESK, "/sdv2/subscribe", 2000 + n) for n in range(MAX_TARGETS + 1)]

    assert answers[-1][0].address == "/sdv2/error"
    assert len(room.feedback.targets) == MAX_TARGETS


def test_a_ping_is_answered_with_its_token() -> None:
    answer = Room().send(DESK, "/sdv2/ping", "here")[0]

    assert (answer.address, answer.values[0]) == ("/sdv2/pong", "here")


def test_a_dump_without_a_subscription_is_told_once() -> None:
    room = Room()

    room.send(DESK, "/sdv2/dump")

    assert room.settle(DESK).keys() >= BY_ADDRESS.keys()
    room.hear(DESK, after_ms=1100)
    assert room.feedback.targets == {}


def test_the_heart_beats_once_a_second_and_metrics_are_floats() -> None:
    room = Room()
    room.send(DESK, "/sdv2/subscribe")
    room.settle(DESK)
    beats, fps = [], []
    for _ in range(500):
        room.feedback.turn(room.stage.snapshot(), room.now)
        told = room.hear(DESK, after_ms=10)
        beats += told.get("/sdv2/status/heartbeat", ())
        fps += told.get("/sdv2/metrics/fps", ())

    assert beats == list(range(1, 6))
    assert len(fps) >= 20
    assert all(isinstance(value, float) for value in fps)


def test_each_stage_of_a_chunk_has_its_time() -> None:
    status = HostStatus(
        HostState.LIVE, "", "tiny", None, spans_ms={"encode": 3.5, "denoise": 20.25}
    )

    told = metric_values(status)

    assert told["/sdv2/metrics/span_encode_ms"] == 3.5
    assert told["/sdv2/metrics/span_denoise_ms"] == 20.25
    assert told["/sdv2/metrics/chunk_ms"] == 23.75


def test_each_part_of_the_latency_has_its_mean_and_bottlenecks_their_names() -> None:
    stages_ms = StagesMs(wait=StageMs(mean=30.5), publish=StageMs(mean=2.25))
    budget = LatencyBudget(stages_ms, slowest="wait", limits_rate="input")
    status = HostStatus(HostState.LIVE, "", "tiny", None, budget=budget)

    told, texts = metric_values(status), status_values(status)

    assert told["/sdv2/metrics/budget_wait_ms"] == 30.5
    assert told["/sdv2/metrics/budget_publish_ms"] == 2.25
    assert told["/sdv2/metrics/budget_between_ms"] == 0
    assert texts["/sdv2/status/slowest"] == "wait"
    assert texts["/sdv2/status/limits_rate"] == "input"


def test_errors_reach_subscribers() -> None:
    room = Room()
    room.send(DESK, "/sdv2/subscribe")
    room.settle(DESK)

    room.console.note("error", "host", "the worker died")
    room.console.note("warning", "osc", "clamped")

    assert room.settle(DESK) == {"/sdv2/error": ("host", "the worker died")}


def test_two_surfaces_of_one_machine_hear_each_other() -> None:
    room = Room()
    fader, view = DESK, DESK._replace(port=7000)
    room.send(fader, "/sdv2/subscribe", 9001)
    room.send(view, "/sdv2/subscribe")
    room.settle(view)
    room.settle(fader._replace(port=9001))

    room.send(fader, "/sdv2/steps", 4)

    assert room.settle(view) == {"/sdv2/steps": (4,)}
    room.now += NS_PER_S
    assert room.settle(fader._replace(port=9001)) == {}


def test_dumps_leave_no_subscribers_behind_however_busy_their_machine_is() -> None:
    room = Room()
    for kind in ("udp", "tcp"):
        asker = Peer(kind, DESK.host, 7000)
        room.send(asker, "/sdv2/dump")
        for _ in range(20):
            room.send(asker, "/sdv2/steps", 2)
            room.settle(asker)
            room.now += NS_PER_S // 10

    assert room.feedback.targets == {}


def test_one_that_subscribes_again_is_told_all_again_but_not_fought_nor_flooded() -> None:
    room = Room()
    room.send(FADER, "/sdv2/subscribe", FADER.port, 10.0)
    room.settle(FADER)
    room.now += NS_PER_S
    room.send(FADER, "/sdv2/noise/s_max", 0.7)
    told = []

    for _ in range(100):
        room.send(FADER, "/sdv2/subscribe", FADER.port, 10.0)
        room.console.set({"noise_s_max": 0.4}, "somebody else")
        told.append(room.hear(FADER, after_ms=1))

    assert [len(one) > 0 for one in told].count(True) == 1
    assert not any("/sdv2/noise/s_max" in one for one in told)
    assert any("/sdv2/steps" in one for one in told)


def test_those_that_are_gone_make_room_though_their_machine_is_alive() -> None:
    room = Room()
    for number in range(MAX_TARGETS):
        room.send(DESK._replace(port=2000 + number), "/sdv2/subscribe")
    for _ in range(3):
        room.now += LEASE_NS // 2
        room.send(DESK._replace(port=2000), "/sdv2/ping")

    answers = room.send(FADER, "/sdv2/subscribe")

    assert answers == []
    assert FADER in room.feedback.targets
    assert DESK._replace(port=2000) in room.feedback.targets


def test_the_host_is_not_made_to_talk_to_itself() -> None:
    room = Room()

    answers = room.send(Peer("udp", "127.0.0.1", 5000), "/sdv2/subscribe", OWN_PORT)

    assert "give the one that you listen at" in str(answers[0].values[1])
    assert room.feedback.targets == {}
    assert room.send(DESK, "/sdv2/subscribe", OWN_PORT) == []
