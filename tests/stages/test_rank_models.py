"""A rank holds its blocks and its half of the autoencoder, and they are those of a whole load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdv2_host.config import Config
from sdv2_host.errors import ConfigError
from sdv2_host.gpu.engine import StreamEngine, StreamModels
from sdv2_host.gpu.tiny_engine import build_tiny_engine
from sdv2_host.gpu.wan_engine import load_wan_engine
from sdv2_host.gpu.wan_models import Placement, WanFamily
from sdv2_host.models.store import ModelFiles
from sdv2_host.params import Params
from sdv2_host.stages.rank_models import (
    BOTH_ENDS,
    Ends,
    RankModels,
    build_rank_models,
    build_ring_text,
    partial_wan_models,
    rank_models,
    spec_of,
)
from sdv2_host.types import Frame, FrameMeta, Size
from sdv2_host.wan.dims import TinyVAEDims, WanDims, WanVAEDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.partial import held_bytes
from sdv2_host.wan.text import TextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.tiny_weights import load_tiny
from sdv2_host.wan.vae import WanVAE
from tests.wan.containers import prefixed, save_pt, save_st

CPU = torch.device("cpu")
FAMILY = WanFamily(
    WanDims(dim=24, num_heads=2, ffn_dim=32, num_layers=4, text_dim=8, text_len=4, freq_dim=8),
    WanVAEDims(base=4),
    TinyVAEDims(encoder_width=8, decoder_widths=(8, 8, 8, 8), num_mem_blocks=1),
)
SIZE = Size(64, 48)
PARAMS = Params(prompt="a", steps=2, noise_s_min=0.7, noise_s_max=0.8)


class Words:
    def encode(self, prompt: str) -> Tensor:
        return torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(len(prompt)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(5)
    dit = {"generator": prefixed(CausalWanModel(FAMILY.dit).state_dict(), "model.")}
    vae, taehv = (
        {name: value.contiguous() for name, value in module.state_dict().items()}
        for module in (WanVAE(FAMILY.vae), TinyVAE(FAMILY.taehv))
    )
    return ModelFiles(
        save_pt(dit, folder / "model.pt"),
        save_pt(vae, folder / "Wan2.1_VAE.pth"),
        save_st(taehv, folder / "taew2_1.safetensors"),
        text=None,
        tokenizer=None,
    )


def untold(text: str, done: float) -> None:
    """Nobody listens."""


def wan_config(vae: str = "wan") -> Config:
    fixed = {"engine": "wan-1.3b", "device": "cpu", "max_steps": 2, "vae": vae}
    return Config.model_validate({**fixed, "width": SIZE.width, "height": SIZE.height})


def wan_rank(files: ModelFiles, vae: str, blocks: list[int], ends: Ends = BOTH_ENDS) -> RankModels:
    models = partial_wan_models(wan_config(vae), files, FAMILY, Placement(CPU, torch.float32))
    return rank_models(models, blocks, untold, ends)


def played(engine: StreamEngine, size: Size) -> np.ndarray:
    random = np.random.default_rng(1)
    shape = (size.height, size.width, 4)
    frames = [
        Frame(FrameMeta(*size), random.integers(0, 256, shape, dtype=np.uint8)) for _ in range(5)
    ]
    chunks = (frames[:1], frames[1:])
    return np.concatenate([engine.step(chunk, PARAMS).frames for chunk in chunks])


def engine_of(models: RankModels, text: TextEncoder, config: Config) -> StreamEngine:
    return StreamEngine("rank", StreamModels(models.dit, models.vae, text), spec_of(config, CPU))


def held(models: RankModels) -> list[int]:
    """Blocks with memory, by looking at every weight."""
    return [
        index
        for index, block in enumerate(models.dit.blocks)
        if not any(weight.is_meta for weight in block.parameters())
    ]


@pytest.mark.parametrize("vae", ["wan", "hybrid", "taehv"])
def test_brought_part_by_part_the_models_make_the_pictures_of_a_whole_load(
    files: ModelFiles, vae: str
) -> None:
    config = wan_config(vae)
    whole = load_wan_engine(config, files, FAMILY, Words(), untold)

    models = wan_rank(files, vae, [2], Ends(encodes=False, decodes=True))
    models.bring_([0, 1, 3])
    models.hold_vae_(Ends(encodes=True, decodes=False))
    models.hold_vae_(BOTH_ENDS)

    assert np.array_equal(played(engine_of(models, Words(), config), SIZE), played(whole, SIZE))


def test_the_embedded_model_in_parts_makes_the_pictures_of_the_whole_one() -> None:
    config = Config(width=64, height=64, threads=torch.get_num_threads())
    whole = build_tiny_engine(config.size, config.threads)

    models = build_rank_models(config, CPU, [0, 4], untold)
    models.bring_([3, 1, 2])

    in_parts = engine_of(models, build_ring_text(config), config)
    assert np.array_equal(played(in_parts, config.size), played(whole, config.size))


def test_a_rank_of_the_embedded_model_holds_its_blocks_alone() -> None:
    whole = load_tiny().dit
    block_bytes = held_bytes(whole.blocks[0])
    shared_bytes = held_bytes(whole) - len(whole.blocks) * block_bytes

    models = build_rank_models(Config(), CPU, [1, 2], untold)
    models.bring_([3])
    models.drop_([1, 2])

    assert held(models) == [3]
    assert held_bytes(models.dit) == shared_bytes + block_bytes


def vae_bytes(models: RankModels) -> int:
    assert isinstance(models.vae, nn.Module)
    return held_bytes(models.vae)


@pytest.mark.parametrize("vae", ["wan", "hybrid", "taehv"])
def test_a_place_in_the_middle_holds_nothing_of_the_autoencoder(
    files: ModelFiles, vae: str
) -> None:
    models = wan_rank(files, vae, [1], Ends(encodes=False, decodes=False))
    none_bytes = vae_bytes(models)
    models.hold_vae_(Ends(encodes=True, decodes=False))
    encoder_bytes = vae_bytes(models)
    models.hold_vae_(Ends(encodes=False, decodes=True))
    decoder_bytes = vae_bytes(models)
    models.hold_vae_(BOTH_ENDS)

    assert none_bytes == 0
    assert min(encoder_bytes, decoder_bytes) > 0
    assert vae_bytes(models) == encoder_bytes + decoder_bytes


def test_a_hybrid_never_holds_the_halves_that_nobody_uses(files: ModelFiles) -> None:
    models = wan_rank(files, "hybrid", [])

    used = held_bytes(WanVAE(FAMILY.vae).encoder) + held_bytes(TinyVAE(FAMILY.taehv).decoder)
    assert vae_bytes(models) - used < 0.05 * used, "beside them the encoder's last convolution"


def test_progress_rises_within_each_model(files: ModelFiles) -> None:
    told: list[tuple[str, float]] = []
    models = partial_wan_models(wan_config(), files, FAMILY, Placement(CPU, torch.float32))

    rank_models(models, [0], lambda text, done: told.append((text, done)))

    for text in ("loading the DiT", "loading the VAE"):
        parts = [done for what, done in told if what == text]
        assert parts == sorted(parts)
        assert parts[-1] == 1


def test_an_engine_without_blocks_is_refused(tmp_path: Path) -> None:
    config = Config(engine="passthrough", data_dir=str(tmp_path))

    with pytest.raises(ConfigError, match="passthrough has no model to spread"):
        build_rank_models(config, CPU, [], untold)
    with pytest.raises(ConfigError, match="passthrough has no model to spread"):
        spec_of(config, CPU)
    with pytest.raises(ConfigError, match="passthrough has no model to spread"):
        build_ring_text(config)
