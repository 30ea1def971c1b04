"""`sdv2-host prompts` and the real text process, with a UMT5 of two layers."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from transformers import UMT5Config

from sdv2_host.commands.prompts import add, bank_prompts, list_prompts, open_bank, remove
from sdv2_host.config import Config
from sdv2_host.errors import ConfigError, ModelError, WorkerError
from sdv2_host.gpu.banked_text import BankedText
from sdv2_host.host.text_process import TextSetup
from sdv2_host.models.prompt_bank import Bits, PromptBank
from sdv2_host.models.store import prompts_dir
from sdv2_host.wan.umt5 import Umt5Encoder
from tests.host.fake_text import FakeLog, fake_setup
from tests.hosts import RunningHost, children, is_running, sdv2_host
from tests.tiny_umt5 import (
    TOY_SIZES,
    install_text,
    toy_tokenizer,
    toy_umt5,
    write_encoder,
)

DIM = TOY_SIZES.d_model
REAL = TextSetup(text_dim=DIM, engine="wan-1.3b")


def config_of(folder: Path) -> Config:
    return Config(engine="wan-1.3b", models_dir=str(folder), threads=1)


def expected(prompt: str) -> torch.Tensor:
    return Umt5Encoder(toy_umt5().to(torch.bfloat16), toy_tokenizer()).encode(prompt)


def test_prompts_go_through_the_real_text_process_into_the_bank(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    install_text(tmp_path)
    prompts = ["neon rain", "火 ｎｅｏｎ", "neon " * 300, ""]

    bank_prompts(config_of(tmp_path), prompts, REAL)
    said = capfd.readouterr().err

    bank = PromptBank(prompts_dir(tmp_path), dim=DIM)
    for prompt in prompts:
        assert torch.equal(BankedText(bank, 512).encode(prompt), expected(prompt))
    assert "loading the text encoder to CPU in bfloat16 100 %" in said
    assert 'encoding prompt "neon rain" 100 %' in said
    assert "added  neon rain" in said


def test_prompts_that_are_there_start_no_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    setup = fake_setup(tmp_path)

    bank_prompts(config_of(tmp_path), ["neon", "rain"], setup)
    bank_prompts(config_of(tmp_path), ["rain", "neon"], setup)

    log = FakeLog(tmp_path)
    assert (log.encoded, len(log.pids)) == (["neon", "rain"], 1)
    assert "is there  rain" in capfd.readouterr().err


def test_what_was_added_before_a_crash_stays(tmp_path: Path) -> None:
    setup = fake_setup(tmp_path)

    with pytest.raises(WorkerError, match='prompt "crash": the text process was killed'):
        bank_prompts(config_of(tmp_path), ["neon", "crash", "rain"], setup)

    assert [entry.prompt for entry in open_bank(str(tmp_path), setup.text_dim).list()] == ["neon"]


def one_row(dim: int) -> Bits:
    bits: Bits = torch.ones(1, dim, dtype=torch.bfloat16).view(torch.uint16).numpy()
    return bits


def test_the_command_says_what_is_missing_and_exits_with_its_code(tmp_path: Path) -> None:
    done = sdv2_host("prompts", "add", "neon", "--models-dir", str(tmp_path))

    assert done.returncode == ModelError.exit_code
    assert "the text encoder and the tokenizer are not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_encoder_of_another_size_is_refused_by_the_command(tmp_path: Path) -> None:
    install_text(tmp_path)

    done = sdv2_host("prompts", "add", "neon", "--models-dir", str(tmp_path))

    assert done.returncode == ModelError.exit_code
    assert "t5.safetensors: this text encoder gives 16 numbers a token" in done.stderr


def test_the_command_puts_prompts_of_a_file_into_the_bank(tmp_path: Path) -> None:
    wide = UMT5Config(**{**TOY_SIZES.to_dict(), "d_model": 4096})
    install_text(tmp_path, write_encoder(tmp_path / "wide.safetensors", wide))
    file = tmp_path / "show.txt"
    file.write_text("\ufeffneon rain\n\n  a night in 火 \nneon rain\n", encoding="utf-8")

    added = sdv2_host("prompts", "add", "--file", str(file), "--models-dir", str(tmp_path))
    listed = sdv2_host("prompts", "list", "--json", "--models-dir", str(tmp_path))

    assert added.returncode == 0, added.stderr
    rows = json.loads(listed.stdout)
    assert [row["prompt"] for row in rows] == ["a night in 火", "neon rain"]
    assert all((row["dim"], row["encoder"]) == (4096, "umt5-xxl") for row in rows)


def test_ctrl_c_ends_the_command_and_its_process(tmp_path: Path) -> None:
    install_text(tmp_path)
    with RunningHost("prompts", "add", "neon", "--models-dir", str(tmp_path)) as command:
        command.wait_for("starting the text encoder")
        below = children(command.process.pid)
        code, seconds = command.stop(signal.SIGINT)

    assert code == 130
    assert seconds < 3
    assert len(below) == 1
    assert not is_running(below[0])


def test_the_list_shows_prompts_and_their_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank = PromptBank(prompts_dir(tmp_path), dim=4)
    for prompt in ("neon", "a\u2028b"):
        bank.write(prompt, one_row(4))

    list_prompts(bank, as_json=False)

    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["   1 tokens  a b", "   1 tokens  neon"]
    assert lines[2].startswith("2 prompts, ")
    assert lines[2].endswith(str(bank.folder))


def test_prompts_are_removed_by_name_or_all_at_once(tmp_path: Path) -> None:
    bank = PromptBank(prompts_dir(tmp_path), dim=4)
    for prompt in ("a", "b", "c"):
        bank.write(prompt, one_row(4))

    remove(bank, ["b"], everything=False)
    assert [entry.prompt for entry in bank.list()] == ["a", "c"]
    with pytest.raises(ModelError, match='prompt "b" is not in the prompt bank'):
        remove(bank, ["b"], everything=False)
    for texts, everything in ((["a"], True), ([], False)):
        with pytest.raises(ConfigError, match="say which prompts"):
            remove(bank, texts, everything)
    remove(bank, [], everything=True)
    assert bank.list() == ()


@pytest.mark.parametrize(
    ("prompt", "fault"),
    [("x" * 2001, "2001 characters, at most 2000"), ("caf\udce9", "not UTF-8 text")],
)
def test_what_cannot_be_a_prompt_is_refused(tmp_path: Path, prompt: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        add(config_of(tmp_path), [prompt], None)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8 text, at byte 0"), (b"\n\n", "no prompt")],
)
def test_a_file_that_holds_no_prompts_is_refused(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    path = tmp_path / "show.txt"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=fault):
        add(config_of(tmp_path), [], path)
