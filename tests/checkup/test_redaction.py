"""What leaves this computer: no secret, however it is written down."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.checkup.known_secrets import known_of_environment, known_of_prompt
from sdv2_host.checkup.redaction import (
    HOME,
    LEAST_CHARS,
    MARKS,
    PROMPT,
    SECRET,
    USER,
    Known,
    Redaction,
)

TOKEN = "q7-Zr_0pXw2"
KNOWN = [
    Known(TOKEN, SECRET),
    Known('pass "word" \\ ü', SECRET),
    Known("C:\\Users\\Mary Ann", HOME),
    Known("mary", USER),
    Known("a fox in the fog", PROMPT),
]


def cleaned(text: str) -> str:
    return Redaction(KNOWN, keeps_prompts=False).text(text)


@pytest.mark.parametrize(
    "said",
    [
        "hf_aBcDeFgHiJkLmNoPqRsT",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "live_123456789_AbCdEfGhIjKlMnOp",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP",
        "abcd-1234-efgh-5678-ijkl",
        "9f86d081884c7d659a2feaa0c55ad015",
        "Xy3-Zw9_Qp1-Rt5_Uv7-Ab2_Cd4-Ef6_Gh8-Ij0",
    ],
)
def test_what_looks_like_a_secret_goes_though_nobody_knows_it(said: str) -> None:
    assert said not in cleaned(f"12:00:01 sent {said} to them")


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("password = hunter2", "hunter2"),
        ('password: "hunter 2", next', "hunter 2"),
        ("the password is hunter2", "hunter2"),
        ("obs_password=hunter2;", "hunter2"),
        ('{"stream_key": "abc def"}', "abc def"),
        ('{"token": "q\\"uoted"}', "uoted"),
        ("STREAM KEY: abc", "abc"),
        ("Authorization: Bearer abcdef", "abcdef"),
        ("authorization: Basic dXNlcjpwdw==", "dXNlcjpwdw"),
        ("http://10.0.0.1:9400/#token=abc", "abc"),
        ("open https://example.org/a?code=abc&x=1", "code=abc"),
        ("https://mary:hunter2@example.org/", "hunter2"),
        ("rtmp://live.example.org/app/hunter2", "hunter2"),
        ("write to vj.night@example.org", "vj.night"),
        ("/home/otto/show/host.log", "otto"),
        ("C:\\Users\\otto\\show", "otto"),
        ('"C:\\\\Users\\\\otto\\\\show"', "otto"),
        ("prompt 'my secret look' is encoded", "my secret look"),
        ('prompt "my secret look" is not in the bank', "my secret look"),
        ("sdv2-host run --prompt 'my secret look'", "my secret look"),
        ("sdv2-host run --prompt secretlook --steps 2", "secretlook"),
    ],
)
def test_what_is_said_to_be_a_secret_goes(line: str, secret: str) -> None:
    assert secret in line
    assert secret not in cleaned(line)


@pytest.mark.parametrize("known", KNOWN, ids=lambda one: one.kind)
def test_what_is_known_goes_however_it_is_written(known: Known) -> None:
    text = known.text
    spelt = [
        *(text, text.upper(), quote(text), quote_plus(text), quote(text, safe="")),
        *(json.dumps(text)[1:-1], json.dumps(json.dumps(text))[3:-3], repr(text)[1:-1]),
        *(text.replace("\\", "/"), json.dumps(text, ensure_ascii=False)[1:-1]),
    ]

    for one in spelt:
        assert one not in cleaned(f"began <{one}> ended")
        assert cleaned(f"began <{one}> ended").endswith("> ended")


@settings(max_examples=50)
@given(
    st.text(min_size=LEAST_CHARS, max_size=30).filter(lambda one: len(one.strip()) >= LEAST_CHARS),
    st.text(max_size=50),
    st.text(max_size=50),
)
def test_a_known_secret_is_in_no_text(secret: str, before: str, after: str) -> None:
    # A mark may itself be what was to be hidden: "<S>" says no more than that something was.
    redaction = Redaction([Known(secret, SECRET)], keeps_prompts=False)

    text = redaction.text(f"{before} {secret} {after}")

    assert secret.strip() not in text or secret.strip().upper() in "".join(MARKS.values())


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_what_was_cleaned_stays_as_it_is(text: str) -> None:
    once = cleaned(text)

    assert cleaned(once) == once


def test_a_user_of_a_short_name_does_not_blacken_every_word() -> None:
    assert cleaned("summary: mary, and mary's") == "summary: <U>, and <U>'s"


HARMLESS = [
    "12:00:01 live: fresh frames reach the output",
    "engine tiny at 256x256, 2 steps: 38 fps alone, about 32 in a show",
    "made, written and read back, 4 slots, 230 ms",
    "OSC on 127.0.0.1:9400 (UDP and TCP), for example /sdv2/prompt",
    "every computer of the network, with the token that the start prints",
    "Linux-6.1.0-13-amd64-x86_64-with-glibc2.36",
    "torch 2.13.0+cpu, built for CPU; transformers 5.10.1",
    "sdv2-host models pull wan-1.3b",
    "text keys and values, 2 prompts",
]


@pytest.mark.parametrize("line", HARMLESS)
def test_what_helps_stays(line: str) -> None:
    assert cleaned(line) == line


def test_json_stays_json_and_whatever_stands_under_a_secrets_name_is_gone() -> None:
    content = {
        "obs": {"password": "hunter2", "port": 4455, "password_file": ""},
        "token": 1234,
        "keys": ["hunter2"],
        "prompt": "short",
        "/sdv2/prompt/b": "short",
        "web": {"no_token": 3, "wrong_token": 1},
        "mary": ["a fox in the fog", None, True, 1.5],
    }

    clean = Redaction(KNOWN, keeps_prompts=False).json(content)

    assert clean == {
        "obs": {"password": "<S>", "port": 4455, "password_file": ""},
        "token": "<S>",
        "keys": "<S>",
        "prompt": "<P>",
        "/sdv2/prompt/b": "<P>",
        "web": {"no_token": 3, "wrong_token": 1},
        "<U>": ["<P>", None, True, 1.5],
    }
    assert json.loads(json.dumps(clean)) == clean


def test_prompts_stay_where_they_are_wanted_and_secrets_do_not() -> None:
    redaction = Redaction(KNOWN, keeps_prompts=True)

    assert redaction.text("prompt 'a fox in the fog'") == "prompt 'a fox in the fog'"
    assert redaction.json({"prompt": f"{TOKEN} fox"}) == {"prompt": "<S> fox"}


def test_what_is_taken_out_is_counted() -> None:
    redaction = Redaction(KNOWN, keeps_prompts=False)

    redaction.text(f"{TOKEN} {TOKEN} mary")

    assert redaction.removed[SECRET] == 2
    assert redaction.removed[USER] == 1


def test_variables_are_secret_by_their_names() -> None:
    variables = {"MY_API_KEY": "abcdefg", "OBS_PWD": "hunter2!", "PWD": "/srv/show", "A_KEY": "1"}

    assert {one.text for one in known_of_environment(variables)} == {"abcdefg", "hunter2!"}


def test_each_part_of_a_prompt_with_weights_is_known() -> None:
    texts = {one.text for one in known_of_prompt("red fox:2 | blue fog : 0.5")}

    assert {"red fox:2 | blue fog : 0.5", "red fox", "blue fog"} <= texts
