"""From a prompt through the real encoder into the bank, and out of the bank for the DiT."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import UMT5Config

from sdv2_host.config import Config
from sdv2_host.errors import DeviceError, ModelError
from sdv2_host.gpu.banked_text import CAPACITY, BankedText, banked_text
from sdv2_host.gpu.prompt_writer import PromptWriter
from sdv2_host.models.prompt_bank import PromptBank
from sdv2_host.models.store import prompts_dir
from sdv2_host.wan.umt5 import Umt5Encoder
from tests.tiny_umt5 import (
    TOY_SIZES,
    install_text,
    toy_tokenizer,
    toy_umt5,
    write_hollow_encoder,
)

DIM = TOY_SIZES.d_model
PROMPT = "neon rain, a night"


def quiet(text: str, fraction: float) -> None:
    """Progress that nobody follows."""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(engine="wan-1.3b", models_dir=str(tmp_path), threads=1)


@pytest.fixture
def bank(tmp_path: Path) -> PromptBank:
    return PromptBank(prompts_dir(tmp_path), dim=DIM)


@pytest.mark.parametrize("prompt", [PROMPT, "", "neon " * 700], ids=["some", "empty", "long"])
def test_what_comes_from_the_bank_equals_the_encoder(
    config: Config, bank: PromptBank, tmp_path: Path, prompt: str
) -> None:
    install_text(tmp_path)
    encoder = Umt5Encoder(toy_umt5().to(torch.bfloat16), toy_tokenizer())

    count = PromptWriter(config, bank, quiet).write(prompt, quiet)
    banked = BankedText(bank, 512, torch.bfloat16).encode(prompt)

    assert count == len(encoder.tokens(prompt))
    assert banked.dtype == torch.bfloat16
    assert torch.equal(banked, encoder.encode(prompt))


def test_progress_goes_through_loading_and_encoding(
    config: Config, bank: PromptBank, tmp_path: Path
) -> None:
    install_text(tmp_path)
    told: list[tuple[str, float]] = []

    def note(text: str, fraction: float) -> None:
        told.append((text, fraction))

    writer = PromptWriter(config, bank, note)
    num_loading = len(told)
    writer.write(PROMPT, note)

    assert {text for text, _ in told[:num_loading]} == {
        "loading the text encoder to CPU in bfloat16"
    }
    assert told[num_loading - 1][1] == 1.0
    assert told[num_loading:] == [(f'encoding prompt "{PROMPT}"', one) for one in (0.5, 1.0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_come_in_the_type_asked_for(bank: PromptBank, dtype: torch.dtype) -> None:
    rows = torch.linspace(-2, 2, 3 * DIM).reshape(3, DIM).to(torch.bfloat16)
    bank.write(PROMPT, rows.view(torch.uint16).numpy())

    encoded = BankedText(bank, 8, dtype).encode(PROMPT)

    assert encoded.shape == (1, 8, DIM)
    assert encoded.dtype == dtype
    assert torch.equal(encoded[0, :3], rows.to(dtype))
    assert not encoded[0, 3:].any()


def test_a_prompt_that_was_read_outlives_the_bank(bank: PromptBank) -> None:
    ones = torch.ones(1, DIM, dtype=torch.bfloat16).view(torch.uint16).numpy()
    text = BankedText(bank, 4)
    for number in range(CAPACITY + 1):
        bank.write(f"prompt {number}", ones)
        text.encode(f"prompt {number}")
    bank.remove_all()

    assert text.encode(f"prompt {CAPACITY}").any()
    with pytest.raises(ModelError, match="not in the prompt bank"):
        text.encode("prompt 0")


def test_a_prompt_that_is_not_there_is_named_with_the_remedy(bank: PromptBank) -> None:
    with pytest.raises(ModelError, match=r'"neon rain, a night" is not in .*prompts add'):
        BankedText(bank, 512).encode(PROMPT)


def test_more_tokens_than_the_model_takes_are_refused(bank: PromptBank) -> None:
    rows = torch.ones(5, DIM, dtype=torch.bfloat16)
    bank.write(PROMPT, rows.view(torch.uint16).numpy())

    with pytest.raises(ModelError, match="has 5 tokens in the prompt bank, this model takes 4"):
        BankedText(bank, 4).encode(PROMPT)


def test_a_wan_engine_reads_the_bank_of_its_models_folder(config: Config, tmp_path: Path) -> None:
    bank = PromptBank(prompts_dir(tmp_path))
    bank.write(PROMPT, torch.ones(2, 4096, dtype=torch.bfloat16).view(torch.uint16).numpy())

    assert banked_text(config).encode(PROMPT).shape == (1, 512, 4096)


def test_an_encoder_of_another_width_is_refused_before_loading(
    config: Config, tmp_path: Path
) -> None:
    install_text(tmp_path)

    with pytest.raises(ModelError, match=r"t5\.safetensors: .* gives 16 .* wan-1\.3b takes 4096"):
        PromptWriter(config, PromptBank(prompts_dir(tmp_path)), quiet)


def test_without_an_encoder_it_says_how_to_get_one(config: Config, bank: PromptBank) -> None:
    with pytest.raises(ModelError, match=r"text encoder and the tokenizer are not installed"):
        PromptWriter(config, bank, quiet)


def test_a_device_that_is_not_there_is_named_by_its_option(
    config: Config, bank: PromptBank
) -> None:
    with pytest.raises(DeviceError, match="--text-device cuda:77: torch"):
        PromptWriter(config.model_copy(update={"text_device": "cuda:77"}), bank, quiet)


def test_an_encoder_that_cannot_fit_is_refused_before_loading(
    config: Config, bank: PromptBank, tmp_path: Path
) -> None:
    bottomless = UMT5Config(**{**TOY_SIZES.to_dict(), "vocab_size": 2**36})
    install_text(tmp_path, write_hollow_encoder(tmp_path / "t5.pth", bottomless))

    with pytest.raises(DeviceError, match=r"needs \d+\.\d GiB, .* free on CPU: .*prompts add"):
        PromptWriter(config, bank, quiet)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_prompts_encode_as_on_the_cpu(
    config: Config, bank: PromptBank, tmp_path: Path
) -> None:
    install_text(tmp_path)

    writer = PromptWriter(config.model_copy(update={"text_device": "cuda"}), bank, quiet)
    writer.write(PROMPT, quiet)

    encoder = Umt5Encoder(toy_umt5(), toy_tokenizer())
    count = len(encoder.tokens(PROMPT))
    on_gpu = BankedText(bank, 512, torch.float32).encode(PROMPT)
    # bfloat16 against float32; on the CPU it is 0.997 at worst.
    alike = torch.cosine_similarity(on_gpu[0, :count], encoder.encode(PROMPT)[0, :count])
    assert float(alike.min()) > 0.99
