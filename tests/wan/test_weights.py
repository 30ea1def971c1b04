"""Loading gives modules that equal the file, in the type asked for, in the memory of one model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import UMT5Config, UMT5EncoderModel

from sdv2_host.errors import ModelError
from sdv2_host.wan.dims import TINY_VAE, WanDims, WanVAEDims
from sdv2_host.wan.key_names import umt5_name
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import WanVAE
from sdv2_host.wan.vae_layers import channels_innermost
from sdv2_host.wan.weights import load_dit, load_taehv, load_umt5_state, load_wan_vae
from tests.toys import TOY_DIT
from tests.wan.containers import State, random_like, save_legacy, save_pt, save_shards, save_st

TOY_UMT5 = UMT5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2)
TOY_WAN_VAE = WanVAEDims(base=4)


@pytest.fixture
def state() -> State:
    return random_like(CausalWanModel(TOY_DIT).state_dict())


@pytest.mark.parametrize("target", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "stored",
    [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_are_cast_to_the_type_asked_for(
    tmp_path: Path, state: State, stored: torch.dtype, target: torch.dtype, suffix: str
) -> None:
    in_file = {name: value.to(stored) for name, value in state.items()}
    save = {"pt": save_pt, "safetensors": save_st}[suffix]

    loaded = load_dit(save(in_file, tmp_path / f"m.{suffix}"), TOY_DIT, dtype=target)

    for name, value in loaded.state_dict().items():
        assert value.dtype == target
        assert torch.equal(value, in_file[name].to(target))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("save", [save_pt, save_legacy, save_st], ids=lambda save: save.__name__)
def test_weights_on_the_gpu_equal_the_file(
    tmp_path: Path, state: State, save: Callable[[State, Path], Path]
) -> None:
    path = save(state, tmp_path / "model.pt")

    loaded = load_dit(path, TOY_DIT, torch.device("cuda"), torch.bfloat16)

    for name, value in loaded.state_dict().items():
        assert value.is_cuda
        assert torch.equal(value.cpu(), state[name].to(torch.bfloat16))


def test_progress_rises_to_one(tmp_path: Path, state: State) -> None:
    told: list[float] = []

    load_dit(save_pt(state, tmp_path / "model.pt"), TOY_DIT, progress=told.append)

    assert len(told) == len(state)
    assert told == sorted(told)
    assert told[0] > 0
    assert told[-1] == 1


def test_a_wan_vae_loads_into_the_memory_order_it_reads_fast(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = WanVAE(TOY_WAN_VAE)
    stored = {name: torch.randn(value.shape) for name, value in vae.state_dict().items()}

    loaded = load_wan_vae(save_pt(stored, tmp_path / "Wan2.1_VAE.pth"), dims=TOY_WAN_VAE)

    assert all(torch.equal(value, stored[name]) for name, value in loaded.state_dict().items())
    for name, value in loaded.state_dict().items():
        assert value.stride() == vae.state_dict()[name].stride(), name
    weight = loaded.state_dict()["encoder.conv1.weight"]
    assert weight.stride() == channels_innermost(stored["encoder.conv1.weight"]).stride()
    assert torch.equal(loaded.latent_scale.std, vae.latent_scale.std)


def test_the_recorded_vae_loads(reference: Path) -> None:
    path = reference / "vectors/vae.safetensors"

    loaded = load_wan_vae(path, dims=WanVAEDims(base=16))

    stored = load_file(path)
    assert all(torch.equal(value, stored[name]) for name, value in loaded.state_dict().items())


def test_of_a_taehv_that_grows_more_frames_the_last_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: torch.randn_like(v) for k, v in TinyVAE(TINY_VAE).state_dict().items()}
    grown = next(n for n in state if n.startswith("decoder.") and n.endswith(".conv.weight"))
    more = dict(state)
    more[grown] = torch.cat([torch.randn_like(state[grown]), state[grown]])

    loaded = load_taehv(save_pt(more, tmp_path / "taew2_1.pth"), dims=TINY_VAE)

    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def umt5_files(folder: Path, state: State) -> dict[str, Path]:
    embedding = "encoder.embed_tokens.weight"
    names = {umt5_name(name): name for name in original_umt5_names(TOY_UMT5.num_layers)}
    without = {name: value for name, value in state.items() if name != embedding}
    alone = {name: value for name, value in state.items() if name != "shared.weight"}
    original = {names[name]: value for name, value in without.items()}
    return {
        "both names": save_pt(state, folder / "both.bin"),
        "shared alone": save_st(without, folder / "shared.safetensors"),
        "embed_tokens alone": save_st(alone, folder / "embed.safetensors"),
        "shards": save_shards(without, folder / "text_encoder"),
        "original": save_pt(original, folder / "models_t5_umt5-xxl-enc-bf16.pth"),
    }


def original_umt5_names(num_layers: int) -> list[str]:
    parts = ["norm1", *(f"attn.{n}" for n in "qkvo"), "norm2", "pos_embedding.embedding"]
    parts += ["ffn.gate.0", "ffn.fc1", "ffn.fc2"]
    blocks = [f"blocks.{index}.{part}" for index in range(num_layers) for part in parts]
    return [f"{name}.weight" for name in ("token_embedding", *blocks, "norm")]


@pytest.mark.parametrize(
    "layout", ["both names", "shared alone", "embed_tokens alone", "shards", "original"]
)
def test_every_umt5_layout_gives_the_same_encoder(tmp_path: Path, layout: str) -> None:
    torch.manual_seed(0)
    source = UMT5EncoderModel(TOY_UMT5)
    path = umt5_files(tmp_path, source.state_dict())[layout]
    with torch.device("meta"):
        loaded = UMT5EncoderModel(TOY_UMT5)

    load_umt5_state(path, loaded)

    assert all(torch.equal(value, source.state_dict()[n]) for n, value in loaded.named_parameters())
    assert loaded.shared.weight is loaded.encoder.embed_tokens.weight
    ids = torch.arange(6)[None]
    with torch.inference_mode():
        want = source.eval()(ids).last_hidden_state
        assert torch.allclose(loaded(ids).last_hidden_state, want, atol=1e-6)


def test_after_a_failure_the_encoder_has_no_memory(tmp_path: Path) -> None:
    state = UMT5EncoderModel(TOY_UMT5).state_dict()
    state["encoder.final_layer_norm.weight"][0] = torch.nan
    with torch.device("meta"):
        module = UMT5EncoderModel(TOY_UMT5)

    with pytest.raises(ModelError, match=r"encoder\.final_layer_norm\.weight holds NaN"):
        load_umt5_state(save_pt(state, tmp_path / "t5.pth"), module)

    assert all(parameter.is_meta for parameter in module.parameters())


LOADS = """
import sys
from collections.abc import Callable
from pathlib import Path
import torch
from sdv2_host.wan.dims import WanDims
from sdv2_host.wan.weights import load_dit
from tests.toys import TOY_DIT

def anonymous_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

dims = WanDims(dim=384, num_heads=6, ffn_dim=1536, num_layers=5, text_dim=64, text_len=4)
torch.set_num_threads(1)
peak = 0
def watch(done):
    global peak
    peak = max(peak, anonymous_kib())
load_dit(Path(sys.argv[3]), TOY_DIT)  # what torch and safetensors import only when first used
before = anonymous_kib()
model = load_dit(Path(sys.argv[1]), dims, dtype=getattr(torch, sys.argv[2]), progress=watch)
sizes = [p.numel() * p.element_size() for p in model.parameters()]
print((peak - before) << 10, sum(sizes), max(sizes))
"""
"""The peak is taken after every tensor, when it and all before it are in memory."""
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Each tensor of glibc's malloc is a mapping of its own, gone when it is freed. Without this its
heap keeps 3 to 7 MiB of what was freed, as the addresses of that process happen to be."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")
@pytest.mark.parametrize(
    ("container", "target"),
    [("pt", "float32"), ("safetensors", "bfloat16"), ("pth of the old format", "float32")],
)
def test_loading_takes_the_model_and_one_tensor(
    tmp_path: Path, state: State, container: str, target: str
) -> None:
    dims = WanDims(dim=384, num_heads=6, ffn_dim=1536, num_layers=5, text_dim=64, text_len=4)
    save = {"pt": save_pt, "safetensors": save_st, "pth of the old format": save_legacy}[container]
    path = save(CausalWanModel(dims).state_dict(), tmp_path / "model")
    first = save(state, tmp_path / "first")
    file_bytes = path.stat().st_size

    done = subprocess.run(
        [sys.executable, "-c", LOADS, str(path), target, str(first)],
        env=os.environ | GIVES_BACK, capture_output=True, text=True, check=True,
    )  # fmt: skip

    added, model_bytes, largest_bytes = map(int, done.stdout.split())
    slack = 4 << 20
    # The old format can only be read whole: then that is the bound, as it is let go of in steps.
    whole = file_bytes if container.startswith("pth") else 0
    print(f"{container} -> {target}: {added >> 20} MiB for {model_bytes >> 20} MiB")
    assert file_bytes > 45e6
    assert added <= max(model_bytes, whole) + largest_bytes + slack
