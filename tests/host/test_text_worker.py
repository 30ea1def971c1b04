"""The daemon with the real text process, and a UMT5 of two layers in it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import numpy as np
import psutil
import torch

from sdv2_host.config import Config
from sdv2_host.gpu.banked_text import BankedText
from sdv2_host.host.child_process import module_command
from sdv2_host.host.text_process import TextSetup
from sdv2_host.host.text_worker import NICENESS
from sdv2_host.ipc.messages import (
    ConfigureText,
    EncodePrompt,
    Failed,
    PromptEncoded,
    SetParams,
    Stop,
    decode_from_text,
    encode,
)
from sdv2_host.models.prompt_bank import PromptBank
from sdv2_host.models.store import prompts_dir
from sdv2_host.params import Params
from sdv2_host.wan.umt5 import Umt5Encoder
from tests.host.live_host import BankedText as BankedHost
from tests.host.live_host import streaming_host
from tests.tiny_umt5 import TOY_SIZES, install_text, toy_tokenizer, toy_umt5

DIM = TOY_SIZES.d_model
REAL = TextSetup(text_dim=DIM, engine="wan-1.3b")


def expected(prompt: str) -> torch.Tensor:
    return Umt5Encoder(toy_umt5().to(torch.bfloat16), toy_tokenizer()).encode(prompt)


def test_a_show_runs_on_prompts_of_the_real_encoder(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    """The daemon, the real text process, and what a Wan engine would read."""
    install_text(tmp_path)
    bank = PromptBank(prompts_dir(tmp_path), dim=DIM)

    async def run() -> None:
        text = BankedHost(tmp_path, REAL)
        first = Params(prompt="neon night")
        async with streaming_host(run_dir, stream, first, text=text) as stage:
            stage.send_osc("/sdv2/prompt", "water color")
            shown = "water color"
            await stage.until(lambda: stage.daemon.snapshot().prompt == shown, timeout_s=60)
            seen = len(stage.fresh)
            await stage.until(lambda: len(stage.fresh) > seen + 4)

    asyncio.run(run())
    for prompt in ("neon night", "water color"):
        assert torch.equal(BankedText(bank, 512).encode(prompt), expected(prompt))


def test_an_encoder_of_another_width_keeps_the_stream(
    run_dir: Path, stream: str, tmp_path: Path
) -> None:
    install_text(tmp_path)
    setup = TextSetup(text_dim=DIM * 2, engine="wan-1.3b")
    PromptBank(prompts_dir(tmp_path), dim=DIM * 2).write(
        "a", np.full((1, DIM * 2), 0x3F80, dtype=np.uint16)
    )

    async def run() -> None:
        text = BankedHost(tmp_path, setup)
        async with streaming_host(run_dir, stream, Params(prompt="a"), text=text) as stage:
            stage.send_osc("/sdv2/prompt", "water color")
            await stage.until(lambda: stage.daemon.snapshot().problem != "", timeout_s=60)
            problem = stage.daemon.snapshot().problem
            assert problem.startswith('prompt "water color": ')
            assert "gives 16 numbers a token, wan-1.3b takes 32" in problem
            assert stage.daemon.snapshot().prompt == "a"

    asyncio.run(run())


def talk(lines: bytes) -> subprocess.CompletedProcess[bytes]:
    """The real text process with these lines on its stdin, which then closes."""
    command = module_command("sdv2_host.host.text_worker")
    return subprocess.run(command, input=lines, capture_output=True, timeout=60, check=False)


def test_it_answers_ends_when_told_and_keeps_stdout_for_messages(tmp_path: Path) -> None:
    install_text(tmp_path)
    config = Config(engine="wan-14b", models_dir=str(tmp_path), threads=1)
    process = subprocess.Popen(
        module_command("sdv2_host.host.text_worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    with process:
        process.stdin.write(encode(ConfigureText(config=config, text_dim=DIM)))
        process.stdin.write(encode(EncodePrompt(prompt="neon rain")))
        process.stdin.flush()
        lines = [decode_from_text(process.stdout.readline())]
        while not isinstance(lines[-1], PromptEncoded | Failed):
            lines.append(decode_from_text(process.stdout.readline()))
        niceness = psutil.Process(process.pid).nice()
        process.stdin.write(encode(Stop()))
        process.stdin.flush()
        code = process.wait(20)

    assert lines[-1] == PromptEncoded(prompt="neon rain", num_tokens=3)
    assert code == 0
    assert os.name != "posix" or niceness == min(os.nice(0) + NICENESS, 19)
    bank = PromptBank(prompts_dir(tmp_path), dim=DIM)
    assert [entry.prompt for entry in bank.list()] == ["neon rain"]


def test_it_says_why_it_fails(tmp_path: Path) -> None:
    config = Config(engine="wan-14b", models_dir=str(tmp_path))

    done = talk(encode(ConfigureText(config=config, text_dim=DIM)))

    *_, last = (decode_from_text(line) for line in done.stdout.splitlines(keepends=True))
    assert isinstance(last, Failed)
    assert last.error == "ModelError"
    assert "models pull wan-14b" in last.message
    assert done.returncode == 1


def test_another_first_message_is_refused() -> None:
    done = talk(encode(SetParams(version=0, params=Params())))

    message = decode_from_text(done.stdout)
    assert isinstance(message, Failed)
    assert message.error == "ProtocolError"


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    install_text(tmp_path)
    config = Config(engine="wan-14b", models_dir=str(tmp_path), threads=1)

    done = talk(encode(ConfigureText(config=config, text_dim=DIM)))

    assert done.returncode in (0, 3)
