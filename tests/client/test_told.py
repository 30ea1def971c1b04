"""What a host tells, and what it cannot make a client believe."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.client.status import Complaint
from sdv2_host.client.told import MAX_COMPLAINTS, MAX_VALUES, Told
from sdv2_host.ipc.osc import Impulse, OscArgument, OscMessage, TimeTag


def told(*messages: tuple[str, *tuple[OscArgument, ...]]) -> Told:
    found = Told()
    for address, *args in messages:
        found.take(OscMessage(address, tuple(args)))
    return found


def test_each_kind_of_message_has_its_place() -> None:
    found = told(
        ("/sdv2/status/state", "live"),
        ("/sdv2/status/delay_frames", 3),
        ("/sdv2/status/cue_list", "one", "two"),
        ("/sdv2/metrics/fps", 24.0),
        ("/sdv2/prompt", "neon"),
        ("/sdv2/blackout", 1),
        ("/sdv2/error", "osc", "no such address"),
        ("/sdv2/pong", "", "0.1.0", 3.0),
    )

    assert found.facts == {"state": "live", "delay_frames": 3, "cue_list": "one, two"}
    assert found.metrics == {"fps": 24.0}
    assert found.params == found.fresh == {"/sdv2/prompt": "neon", "/sdv2/blackout": 1}
    assert list(found.complaints) == [Complaint("osc", "no such address")]
    assert found.version == "0.1.0"
    assert found.delay_frames == 3
    assert found.is_on("/sdv2/blackout")
    assert not found.is_on("/sdv2/freeze")


def test_a_state_that_is_no_text_is_none() -> None:
    assert told(("/sdv2/status/state", 3)).text("state") == ""


def test_a_delay_that_no_ring_could_hold_is_none() -> None:
    for delay in (-1, 33, 2**40, "3", 3.0):
        assert told(("/sdv2/status/delay_frames", delay)).delay_frames is None


def test_what_is_no_value_is_passed_over() -> None:
    found = told(
        ("/sdv2/prompt",),
        ("/sdv2/prompt", "two", "texts"),
        ("/sdv2/prompt", None),
        ("/sdv2/prompt", Impulse.IMPULSE),
        ("/sdv2/metrics/fps", "fast"),
        ("/sdv2/status/state", TimeTag(1)),
        ("/other/prompt", "neon"),
    )

    assert (found.params, found.metrics, found.facts) == ({}, {}, {})


def test_no_flood_of_addresses_or_errors_fills_the_memory() -> None:
    found = Told()
    for number in range(3 * MAX_VALUES):
        for root in ("/sdv2/", "/sdv2/status/", "/sdv2/metrics/"):
            found.take(OscMessage(f"{root}{number}", (float(number),)))
        found.take(OscMessage("/sdv2/error", ("a", str(number))))

    assert len(found.params) == len(found.fresh) == MAX_VALUES
    assert len(found.facts) == len(found.metrics) == MAX_VALUES
    assert len(found.complaints) == MAX_COMPLAINTS


ADDRESSES = st.sampled_from(
    ("/sdv2/error", "/sdv2/pong", "/sdv2/status/state", "/sdv2/metrics/fps", "/sdv2/", "/")
)
ARGS = st.lists(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    max_size=4,
)


@given(ADDRESSES, ARGS)
def test_any_message_is_taken(address: str, args: list[OscArgument]) -> None:
    found = told((address, *args))

    assert isinstance(found.version, str)


def test_what_was_sent_is_known_until_the_host_tells_another_value() -> None:
    found = Told()
    found.assume({"/sdv2/pause": True})
    is_assumed = found.is_on("/sdv2/pause")
    found.take(OscMessage("/sdv2/pause", (0,)))

    assert is_assumed
    assert not found.is_on("/sdv2/pause")
    assert found.fresh == {"/sdv2/pause": 0}
