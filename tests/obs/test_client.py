"""The adapter to OBS' WebSocket server, against a small OBS of our own."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time

import pytest

from sdv2_host.errors import ConfigError
from sdv2_host.obs import client as client_module
from sdv2_host.obs.client import (
    ObsAddress,
    ObsClient,
    ObsError,
    ObsPasswordError,
    ObsRefusedError,
    parse_address,
)
from tests.obs.fake_obs import FakeObs, Fields, Studio

SECRET = "tr0ub4dor"


def connect(fake: FakeObs, password: str = "") -> ObsClient:
    return ObsClient.connect(ObsAddress("127.0.0.1", fake.port), password)


def test_a_refused_request_raises_with_the_code_and_comment_of_obs() -> None:
    with FakeObs() as fake:
        client = connect(fake)
        with pytest.raises(
            ObsRefusedError, match=r"refuses CreateInput: .*plugins are loaded.*605"
        ):
            client.request(
                "CreateInput",
                sceneName="Main",
                inputName="x",
                inputKind="sdv2_source",
                inputSettings={},
            )
        client.close()


def test_the_right_password_opens_and_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeObs(password=SECRET) as fake:
        client = connect(fake, SECRET)
        version = client.version
        client.close()

    assert version == "29.0.2"
    assert SECRET not in caplog.text
    assert "authentication" not in caplog.text


@pytest.mark.parametrize(("given", "text"), [("", "wants a password"), ("no", "refuses the")])
def test_a_wrong_password_is_told_apart_from_none(given: str, text: str) -> None:
    with FakeObs(password=SECRET) as fake, pytest.raises(ObsPasswordError, match=text):
        connect(fake, given)


def test_an_obs_that_is_not_ready_yet_is_waited_for() -> None:
    with FakeObs(Studio(not_ready=3)) as fake:
        connect(fake).close()

        assert fake.requests == ["GetVersion"] * 4


def test_nobody_there_is_an_answer_and_soon() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ObsError, match=r"does not answer.*Enable WebSocket server"):
            ObsClient.connect(ObsAddress("127.0.0.1", closed.getsockname()[1]), "")


def test_a_server_that_says_nothing_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONNECT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin_s = time.monotonic()
        with pytest.raises(ObsError, match="does not answer"):
            ObsClient.connect(ObsAddress("127.0.0.1", silent.getsockname()[1]), "")

    assert time.monotonic() - begin_s < 2


def test_when_obs_goes_away_a_waiting_request_and_the_owner_are_told() -> None:
    gone = threading.Event()
    with FakeObs() as fake:
        client = ObsClient.connect(ObsAddress("127.0.0.1", fake.port), "", on_close=gone.set)
        fake.mute = True
        threading.Timer(0.2, fake.stop).start()
        begin_s = time.monotonic()
        with pytest.raises(ObsError, match="went away when it was asked for GetSceneList"):
            client.request("GetSceneList")

        assert time.monotonic() - begin_s < 5
        assert gone.wait(1)
        with pytest.raises(ObsError):
            client.request("GetSceneList")
        client.close()


def test_without_the_package_the_answer_is_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "obswebsocket.core", None)

    with pytest.raises(ConfigError, match=r"pip install 'sdv2-host\[obs\]'"):
        ObsClient.connect(ObsAddress("127.0.0.1", 1), "")


def test_requests_of_many_threads_get_their_own_answers() -> None:
    wrong: list[object] = []
    with FakeObs() as fake:
        client = connect(fake)

        def ask(kind: str, key: str) -> None:
            for _ in range(50):
                answer = client.request(kind)
                if key not in answer:
                    wrong.append(answer)

        kinds = {"GetSceneList": "scenes", "GetInputList": "inputs", "GetVersion": "obsVersion"}
        threads = [threading.Thread(target=ask, args=one) for one in kinds.items() for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()

    assert wrong == []


def test_events_come_and_nonsense_between_them_does_not_end_the_connection() -> None:
    heard: list[tuple[str, Fields]] = []
    came = threading.Event()

    def on_event(kind: str, fields: Fields) -> None:
        heard.append((kind, fields))
        came.set()

    with FakeObs() as fake:
        client = ObsClient.connect(ObsAddress("127.0.0.1", fake.port), "", on_event)
        fake.send_raw("no JSON")
        fake.send({"eventType": "SomethingNew", "eventData": {"x": 1}})
        fake.switch("Main")
        while len(heard) < 2:
            assert came.wait(3)
            came.clear()
        client.request("GetVersion")
        client.close()

    assert heard == [
        ("SomethingNew", {"x": 1}),
        ("CurrentProgramSceneChanged", {"sceneName": "Main"}),
    ]


@pytest.mark.parametrize("hello", ["[]", "{}", '{"op": 0}', '{"op": 0, "d": []}', "x", "null", ""])
def test_a_server_that_is_not_obs_is_an_answer(hello: str) -> None:
    with FakeObs() as fake:
        fake.hello = hello or " "
        with pytest.raises(ObsError, match=r"does not answer|wants a password"):
            connect(fake)


@pytest.mark.parametrize(
    "rest",
    [
        '"d": {"requestId": "REQUEST_ID"}',
        '"d": {"requestId": "REQUEST_ID", "requestStatus": []}',
        '"d": {"requestId": "REQUEST_ID", "requestStatus": {"result": true, "code": "x"}}',
        '"d": {"requestId": "REQUEST_ID", "requestStatus": {"result": true, "code": 1},'
        ' "responseData": 5}',
        '"d": []',
        '"d": {}',
    ],
)
def test_an_answer_of_another_shape_is_an_error_and_soon(rest: str) -> None:
    with FakeObs() as fake:
        client = connect(fake)
        fake.answer = '{"op": 7, ' + rest + "}"
        begin_s = time.monotonic()
        with pytest.raises(ObsError, match=r"not its protocol|went away"):
            client.request("GetSceneList")
        client.close()

    assert time.monotonic() - begin_s < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:4466", ("127.0.0.1", 4466)),
        ("studio.local", ("studio.local", 4455)),
        ("[::1]:4444", ("[::1]", 4444)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", ":4455", "a b", "x:99999", "http://x:1", "x:0"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        parse_address(text)
