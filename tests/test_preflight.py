"""What is missing is told before anything is loaded, and the page offers what is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdv2_host.commands.demo import prompt_buttons
from sdv2_host.commands.preflight import check_installed
from sdv2_host.commands.prompts import open_bank
from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.models.prompt_bank import UMT5_XXL_DIM
from sdv2_host.params import Params
from tests.hosts import sdv2_host


def start(folder: Path, *args: str) -> str:
    """What a Wan engine that cannot start says; no download of this user counts."""
    done = subprocess.run(
        [sys.executable, "-m", "sdv2_host", "run", "--engine", "wan-1.3b", *args],
        env={**os.environ, "HF_HOME": str(folder / "hub"), "HF_HUB_CACHE": str(folder / "hub")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ModelError.exit_code
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def wan(folder: Path) -> Config:
    return Config(engine="wan-1.3b", models_dir=str(folder))


def bank(folder: Path, *prompts: str) -> None:
    for age, prompt in enumerate(prompts):
        path = open_bank(str(folder)).write(prompt, np.zeros((1, UMT5_XXL_DIM), np.uint16))
        os.utime(path, ns=(10**18 - age, 10**18 - age))


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    said = start(tmp_path, "--vae", "hybrid", "--models-dir", str(tmp_path))

    for title in ("DiT", "VAE", "TAEHV", "text encoder", "tokenizer"):
        assert title in said
    assert "run sdv2-host models pull wan-1.3b" in said


def test_a_banked_prompt_asks_for_no_text_encoder(tmp_path: Path) -> None:
    bank(tmp_path, "neon")

    said = start(tmp_path, "--prompt", "neon", "--models-dir", str(tmp_path))

    assert "the DiT and the VAE are not installed" in said


@pytest.mark.parametrize("engine", ["tiny", "wan-1.3b"])
def test_a_lora_that_is_not_there_is_named(tmp_path: Path, engine: str) -> None:
    config = Config.model_validate({"engine": engine, "models_dir": str(tmp_path)})

    with pytest.raises(ModelError, match=r"no LoRA ghibli in .*loras: there is none yet"):
        check_installed(config, Params(lora="ghibli:0.5"))


def test_engines_that_need_nothing_start_with_nothing(tmp_path: Path) -> None:
    for engine in ("tiny", "passthrough"):
        config = Config.model_validate({"engine": engine, "models_dir": str(tmp_path)})
        check_installed(config, Params())


def test_the_page_of_a_wan_engine_offers_the_banked_prompts_newest_first(tmp_path: Path) -> None:
    long = "a very long prompt about rain and neon lights"
    bank(tmp_path, "neon", long + " in Tokyo", long + " in Oslo", "")

    buttons = prompt_buttons(wan(tmp_path))

    assert list(buttons.values()) == ["neon", long + " in Tokyo", long + " in Oslo"]
    assert list(buttons)[:2] == ["neon", "a very long prompt about rain..."]


def test_the_page_of_the_embedded_model_offers_its_styles(tmp_path: Path) -> None:
    assert "woodcut" in prompt_buttons(Config(models_dir=str(tmp_path)))


def test_bench_precision_of_an_engine_without_models_is_refused() -> None:
    done = sdv2_host("bench", "precision", "--engine", "passthrough")

    assert done.returncode == 2
    assert done.stderr.strip().endswith("--engine passthrough: it has no models to measure")
    assert "Traceback" not in done.stderr
