"""A dry run says what a real run takes; a memory plan adds it up and finds what fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sdv2_host.config import Config
from sdv2_host.errors import DeviceError
from sdv2_host.gpu.device import GIB, device_memory, resolve_device, resolve_dtype
from sdv2_host.gpu.dry_run import META, LiveBytes, at_depth, dry_run, tensor_bytes
from sdv2_host.gpu.engine import StreamModels
from sdv2_host.gpu.memory_plan import advice, plan_memory, smaller_sizes
from sdv2_host.gpu.wan_spec import wan_spec
from sdv2_host.params import Params
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Layout, Size
from sdv2_host.wan.dims import WAN_1_3B, WanDims, WanVAEDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.vae import WanVAE
from tests.toys import TOY_DIT, TOY_TEXT

CPU = torch.device("cpu")
CUDA = torch.device("cuda:0")
VAE_DIMS = WanVAEDims(base=8)
SPEC = StreamSpec(64, 96, CacheGeometry(2, 2), timesteps=(700.0, 500.0))

WIDE_DIT = replace(TOY_DIT, dim=384, ffn_dim=12288)


def toy_models(device: torch.device, dims: WanDims = TOY_DIT) -> StreamModels:
    with torch.device(device):
        dit, vae = CausalWanModel(dims).eval(), WanVAE(VAE_DIMS).eval()
    return StreamModels(dit, vae, TinyTextEncoder(TOY_TEXT).eval())


def test_live_bytes_follow_tensors_and_not_their_views() -> None:
    with LiveBytes() as live:
        kept = torch.empty(100, device=META)
        view = kept[:50]
        passing = kept + 1
        del passing
        product = view * 2

    assert live.now == 400 + 200
    assert live.peak == 400 + 400
    assert product.shape == view.shape


class LongTexts:
    """A text encoder without an encoder; keys and values of its texts outweigh all else."""

    dims = replace(TOY_DIT, num_layers=8, text_len=4000)

    def encode(self, prompt: str) -> Tensor:
        del prompt
        return torch.empty(1, self.dims.text_len, self.dims.text_dim, device=META)


def no_noise(chunk_index: int, seed: int, step: int, like: Tensor) -> Tensor:
    del chunk_index, seed, step
    return torch.empty_like(like)


@torch.inference_mode()
def test_a_new_prompt_in_a_batch_takes_its_own_keys_and_values_and_little_more() -> None:
    spec = replace(SPEC, layout=Layout.BATCH, device=META)
    models = toy_models(META, LongTexts.dims)
    pipeline = StreamPipeline(models.dit, models.vae, LongTexts(), spec, noise=no_noise)
    state = pipeline.fresh_state()
    peaks = []

    with LiveBytes() as live:
        for index, prompt in enumerate("aaab"):
            params = Params(steps=2, prompt=prompt)
            live.peak = before = live.now
            frames = torch.empty(1, 4 if index else 1, 3, 64, 96, device=META)
            pipeline.step(state, frames, params)
            peaks.append(live.peak - before)

    text_bytes = tensor_bytes(part for kv in state.texts.entries["b"] for part in kv)
    assert peaks[-1] < peaks[-2] + 2 * text_bytes


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("dims", [TOY_DIT, WIDE_DIT])
@torch.inference_mode()
def test_a_dry_run_says_what_a_real_run_takes(dims: WanDims, layout: Layout) -> None:
    """The wider DiT takes more than the autoencoder, and in a batch most with all rows at work.
    A cut, which denoises the past once more, takes no more than that."""
    torch.manual_seed(0)
    spec = replace(SPEC, layout=layout, timesteps=(700.0, 500.0, 400.0))
    dry = dry_run(toy_models(META, dims), replace(spec, device=META), steps=3)

    models = toy_models(CPU, dims)
    pipeline = StreamPipeline(models.dit, models.vae, models.text, spec)
    params = Params(steps=3, recache="window", recache_frames=3)
    weights = [*models.dit.parameters(), *models.vae.parameters()]
    with LiveBytes(CPU, weights) as live:
        state = pipeline.fresh_state()
        lasting = live.now
        frames = torch.zeros(1, 1, 3, 64, 96)
        pipeline.step(state, frames, params)
        for _ in range(spec.geometry.num_slots + spec.num_rows):
            pipeline.step(state, frames.expand(-1, 4, -1, -1, -1), params)
        state.has_new_weights = True
        pipeline.step(state, frames.expand(-1, 4, -1, -1, -1), params)
        num_recached = state.num_recached
    held = [*state.vae_cache.encoder, *state.vae_cache.decoder]
    texts = [part for kv in state.texts.entries[params.prompt] for part in kv]

    assert num_recached > 0
    assert dry.dit == tensor_bytes(models.dit.state_dict().values())
    assert dry.vae_cache == tensor_bytes(held)
    assert dry.kv_cache + dry.vae_cache == lasting
    assert dry.text_kv == tensor_bytes(texts)
    assert dry.activations == pytest.approx(live.peak - lasting - dry.text_kv, rel=0.15)


@pytest.mark.parametrize("dims", [TOY_DIT, WIDE_DIT])
def test_depth_is_extrapolated_exactly(dims: WanDims) -> None:
    spec = replace(SPEC, device=META, layout=Layout.BATCH)
    two, three, six = (
        dry_run(toy_models(META, replace(dims, num_layers=n)), spec, steps=2) for n in (2, 3, 6)
    )

    assert at_depth(two, three, 6) == six


def test_a_plan_knows_the_sizes_of_the_real_models() -> None:
    config = Config(engine="wan-1.3b", width=832, height=480, max_steps=2)

    plan = plan_memory(config, CUDA, torch.bfloat16)

    # shared/reference/streamdiffusionv2.md, section 6: 1.4190 B weights, 1.61 GiB per row.
    assert plan.parts["DiT weights"] == pytest.approx(1.4190e9 * 2, rel=1e-4)
    assert plan.parts["VAE weights"] == pytest.approx(126.9e6 * 2, rel=1e-3)
    assert plan.parts["KV cache"] / GIB == pytest.approx(2 * 1.61, rel=0.01)
    assert plan.total == sum(plan.parts.values())
    assert "text encoder" not in plan.parts


def test_a_plan_in_8_bits_has_half_the_weights_of_the_blocks() -> None:
    config = Config(engine="wan-1.3b", width=512, height=512, device="cuda:0")

    plain, small = (
        plan_memory(config.model_copy(update={"linears": linears}), CUDA, torch.bfloat16).parts
        for linears in ("plain", "fp8")
    )

    dims = WAN_1_3B
    num_large = dims.num_layers * (6 * dims.dim**2 + 2 * dims.dim * dims.ffn_dim)
    assert plain["DiT weights"] - small["DiT weights"] == num_large
    # An input in 8 bits beside the one it is made from, and in float32 on the way.
    assert 0 <= small["activations, at most"] - plain["activations, at most"] < 100 << 20


@pytest.mark.parametrize("name", ["cuda:0", "cuda:00", "cuda", "auto"])
def test_a_text_encoder_on_the_same_card_counts(name: str) -> None:
    config = Config(engine="wan-1.3b", width=64, height=64, text_device=name)

    assert plan_memory(config, CUDA, torch.bfloat16).parts["text encoder"] == 11_361_820_672


@pytest.mark.parametrize("name", ["cuda:1", "cpu", "mps"])
def test_a_text_encoder_elsewhere_does_not(name: str) -> None:
    config = Config(engine="wan-1.3b", width=64, height=64, text_device=name)

    assert "text encoder" not in plan_memory(config, CUDA, torch.bfloat16).parts


@pytest.mark.parametrize(
    ("free_gib", "said"),
    [(9.0, "--max-steps"), (6.5, "--vae taehv"), (5.0, "--size"), (1.0, "no size fits")],
)
def test_advice_is_the_mildest_change_that_fits(free_gib: float, said: str) -> None:
    config = Config(engine="wan-1.3b", width=512, height=512, max_steps=2)

    advised = advice(config, CUDA, torch.bfloat16, int(free_gib * GIB))

    assert said in advised


def test_smaller_sizes_keep_the_aspect_and_end() -> None:
    sizes = list(smaller_sizes(Size(832, 480)))

    assert sizes[0] == Size(736, 432)
    assert all(width % 16 == height % 16 == 0 for width, height in sizes)
    assert all(abs(width / height - 832 / 480) < 0.35 for width, height in sizes)
    assert min(sizes[-1]) >= 64


def test_devices_that_are_not_there_are_refused_by_name() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device that the test wants to miss")

    with pytest.raises(DeviceError, match=r"--device cuda:3: torch .* finds no CUDA device here"):
        resolve_device("cuda:3")


def test_the_automatic_choices() -> None:
    device = resolve_device("auto")
    memory = device_memory(device)

    assert resolve_dtype("auto", CPU) == torch.float32
    assert resolve_dtype("auto", CUDA) == torch.bfloat16
    assert resolve_dtype("float16", CPU) == torch.float16
    assert 0 < memory.free <= memory.total


def test_the_reference_mode_takes_every_rule_of_the_reference() -> None:
    config = Config(engine="wan-1.3b", mode="reference", max_steps=2)

    spec = wan_spec(config, CPU, torch.float32)

    assert spec.cache.value == "reference"
    assert spec.timesteps == (700.0, 500.0)
    assert (spec.timestep_offset, spec.sink_threshold) == (100.0, 0.2)
    assert spec.is_first_canonical
