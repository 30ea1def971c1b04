from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdv2_host.config import Config
from sdv2_host.errors import ProtocolError
from sdv2_host.ipc.messages import (
    MAX_LINE_BYTES,
    Configure,
    ConfigureText,
    EncodePrompt,
    Failed,
    Heartbeat,
    Problem,
    Progress,
    PromptEncoded,
    Ready,
    Report,
    SetParams,
    ShowTold,
    Stop,
    decode_from_text,
    decode_from_worker,
    decode_to_text,
    decode_to_worker,
    encode,
)
from sdv2_host.params import Params
from sdv2_host.picture_params import PROMPT_MAX_CHARS

TO_WORKER = [
    Configure(config=Config(), work_stream="a-wk", params=Params(), version=3, run_dir="/x"),
    SetParams(version=4, params=Params(prompt="line\nbreak", steps=4)),
    Stop(),
]
FROM_WORKER = [
    Progress(text="loading", fraction=0.5),
    Ready(
        engine="tiny",
        warmup_ms=12.5,
        ready_ns=1,
        width=256,
        height=256,
        first_chunk_frames=1,
        chunk_frames=4,
        delay_frames=3,
    ),
    Report(
        version=4,
        spans_ms={"encode": 1.5},
        notes={"motion": 0.25},
        frames_in=9,
        frames_out=5,
        dropped=4,
        queue_depth=0,
        rss_bytes=1 << 33,
    ),
    Heartbeat(),
    ShowTold(show="/v/a.show", text="the disk is full", has_failed=True),
    Problem(text="no LoRA nosuch"),
    Failed(error="ModelError", message="weights are missing"),
]

TO_TEXT = [
    ConfigureText(config=Config(), text_dim=4096),
    EncodePrompt(prompt="line\nbreak"),
    Stop(),
]
FROM_TEXT = [
    Progress(text="loading", fraction=0.5),
    PromptEncoded(prompt="neon", num_tokens=3),
    Failed(error="ModelError", message="weights are missing"),
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda message: message.kind)
def test_what_the_daemon_says_arrives_as_it_was_on_one_line(message: Configure) -> None:
    line = encode(message)

    assert decode_to_worker(line) == message
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda message: message.kind)
def test_what_the_worker_says_arrives_as_it_was_on_one_line(message: Report) -> None:
    line = encode(message)

    assert decode_from_worker(line) == message
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("message", TO_TEXT, ids=lambda message: message.kind)
def test_what_the_text_process_is_told_arrives_as_it_was(message: EncodePrompt) -> None:
    assert decode_to_text(encode(message)) == message


@pytest.mark.parametrize("message", FROM_TEXT, ids=lambda message: message.kind)
def test_what_the_text_process_says_arrives_as_it_was(message: PromptEncoded) -> None:
    assert decode_from_text(encode(message)) == message


@pytest.mark.parametrize("letter", ["a", "\x01", "é", "\U0001f3a8"])
def test_the_longest_prompt_fits_a_line(letter: str) -> None:
    message = SetParams(version=1, params=Params(prompt=letter * PROMPT_MAX_CHARS))

    assert decode_to_worker(encode(message)) == message


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes_that_are_no_message_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_to_worker(line)
    with pytest.raises(ProtocolError):
        decode_to_text(line)
    with pytest.raises(ProtocolError):
        decode_from_text(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"kind":"stop","extra":1}',
        b'{"kind":"reboot"}',
        b'{"kind":"set_params","version":-1,"params":{}}',
        b'{"kind":"set_params","version":1,"params":{"steps":9}}',
        b'{"kind":"set_params","version":1,"params":{"lora":"../secret"}}',
        b'{"kind":"heartbeat"}',
        b" " * (MAX_LINE_BYTES + 1),
    ],
)
def test_lines_that_are_nearly_messages_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_to_worker(line)


@pytest.mark.parametrize(
    "line",
    [
        encode(SetParams(version=1, params=Params())),
        b'{"kind":"encode_prompt","prompt":"' + b"x" * (PROMPT_MAX_CHARS + 1) + b'"}',
        b'{"kind":"configure_text","config":{},"text_dim":0}',
        b'{"kind":"prompt_encoded","prompt":"x","num_tokens":3}',
    ],
)
def test_lines_that_are_not_for_the_text_process_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_to_text(line)
