"""The messages of the web protocol: what is understood, and that the published schema is theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.control import web_messages as messages
from sdv2_host.control.web_parse import MessageError, parse_message
from sdv2_host.control.web_schema import protocol_schema, schema_hash, schema_text
from sdv2_host.status import HostState, HostStatus
from sdv2_host.types import Size
from tests.control.json_schema import faults

COMMITTED = Path(__file__).parents[2] / "docs" / "protocol.schema.json"
DOCUMENT: dict[str, Any] = json.loads(schema_text())

GOOD = [
    {"type": "hello", "protocol": 1},
    {"type": "hello", "protocol": 1, "token": "t", "client": "page", "subscribe": ["status"]},
    {"type": "hello", "newer": {"field": 1}},
    {"type": "set", "values": {}},
    {"type": "set", "id": 7, "values": {"steps": 3, "/sdv2/freeze": True, "prompt": "é"}},
    {"type": "set", "id": "a", "values": {"mix": 0.5}, "fade": 2},
    {"type": "call", "action": "panic"},
    {"type": "call", "id": None, "action": "preset_load", "args": ["neon", 2.5, 1, True]},
    {"type": "drawn"},
    {"type": "ping", "id": 2**53},
]
BAD = [
    ({"type": "quit"}, "unknown_type"),
    ({"type": ["set"]}, "unknown_type"),
    ({}, "unknown_type"),
    ({"type": "hello", "protocol": "1"}, "bad_message"),
    ({"type": "hello", "token": "x" * 257}, "bad_message"),
    ({"type": "hello", "subscribe": ["everything"]}, "bad_message"),
    ({"type": "set"}, "bad_message"),
    ({"type": "set", "values": [1]}, "bad_message"),
    ({"type": "set", "values": {f"v{i}": 1 for i in range(129)}}, "bad_message"),
    ({"type": "set", "values": {"n" * 257: 1}}, "bad_message"),
    ({"type": "set", "values": {}, "fade": -1}, "bad_message"),
    ({"type": "set", "values": {}, "fade": "2"}, "bad_message"),
    ({"type": "set", "values": {}, "id": 1.5}, "bad_message"),
    ({"type": "set", "values": {}, "id": 2**60}, "bad_message"),
    ({"type": "call"}, "bad_message"),
    ({"type": "call", "action": "panic", "args": "now"}, "bad_message"),
    ({"type": "call", "action": "panic", "args": [[1]]}, "bad_message"),
    ({"type": "call", "action": "panic", "args": [None]}, "bad_message"),
    ({"type": "call", "action": "panic", "args": [1] * 65}, "bad_message"),
    ({"type": "ping", "id": "i" * 65}, "bad_message"),
]


def test_the_committed_schema_is_that_of_the_code() -> None:
    assert COMMITTED.read_text("utf-8") == schema_text(), (
        "run: python -m sdv2_host.control.web_schema > docs/protocol.schema.json"
    )


def test_the_schema_is_the_same_at_every_start() -> None:
    assert json.loads(schema_text()) == protocol_schema()
    assert len(schema_hash()) == 16


def test_each_message_is_in_the_schema_of_its_direction() -> None:
    named = {
        side: [
            DOCUMENT["$defs"][one["$ref"].rsplit("/", 1)[1]]["properties"]["type"]["const"]
            for one in DOCUMENT[side]["oneOf"]
        ]
        for side in ("client", "server")
    }

    assert named["client"] == list(messages.CLIENT_MESSAGES)
    assert sorted(named["server"]) == sorted(
        ["welcome", "ack", "result", "error", "state", "status", "notice", "pong"]
    )


@pytest.mark.parametrize("message", GOOD)
def test_a_message_of_the_protocol_is_understood_and_fits_the_schema(
    message: dict[str, Any],
) -> None:
    parsed = parse_message(json.dumps(message))

    assert parsed.type == message["type"]
    assert faults(message, DOCUMENT["client"], DOCUMENT) == []


@pytest.mark.parametrize(("message", "code"), BAD)
def test_any_other_is_refused_by_code_and_by_the_schema(message: Any, code: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(json.dumps(message))

    assert caught.value.code == code
    assert str(caught.value)
    assert faults(message, DOCUMENT["client"], DOCUMENT) != []


@pytest.mark.parametrize("text", ["", "{", "7", "null", "[" * 60_000, '"\\ud800"', "\ud800", "{}x"])
def test_text_that_is_no_object_is_not_json(text: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(text)

    assert caught.value.code == "not_json"


def test_an_error_answers_with_the_id_of_what_was_sent() -> None:
    with pytest.raises(MessageError) as caught:
        parse_message('{"type": "set", "id": 12}')

    assert caught.value.id == 12


def test_a_fault_names_the_field_and_not_the_input() -> None:
    secret = "x" * 1000
    with pytest.raises(MessageError, match="subscribe") as caught:
        parse_message(json.dumps({"type": "hello", "subscribe": [secret]}))

    assert secret[:50] not in str(caught.value)


def test_the_status_of_a_host_fits_the_schema() -> None:
    status = HostStatus(HostState.LIVE, "live", "tiny", Size(8, 8), ttff_ms=1.5, notes={"x": 1.0})
    empty = HostStatus(HostState.STARTING, "", "tiny", None)

    for one in (status, empty):
        message = json.loads(json.dumps({"type": "status", **one.to_json()}))
        assert faults(message, DOCUMENT["server"], DOCUMENT) == []


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["type", "id", "values", "action", "args", "fade", "subscribe"])
                | st.text(max_size=5),
                inner | st.sampled_from(list(messages.CLIENT_MESSAGES)),
                max_size=6,
            )
        ),
        max_leaves=15,
    )
)
def test_any_json_is_a_message_or_a_message_error(content: Any) -> None:
    try:
        parsed = parse_message(json.dumps(content))
    except MessageError:
        return

    assert parsed.type == content["type"]
