"""What each part of a stream is planned to take, against real tensors and the plan of the whole."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from sdv2_host.config import Config
from sdv2_host.gpu.device import GIB, DeviceMemory
from sdv2_host.gpu.dry_run import META, LiveBytes, tensor_bytes
from sdv2_host.gpu.memory_plan import ESTIMATED, FRAGMENTATION, plan_memory
from sdv2_host.gpu.part_bytes import PartBytes, part_bytes, plan_parts, room_bytes, room_of
from sdv2_host.gpu.partial_vae import half_modules
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.stream.state import fresh_kv
from sdv2_host.wan.dims import FRAMES_PER_LATENT, TinyVAEDims, WanVAEDims
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.streaming_vae import StreamingVAE
from sdv2_host.wan.tiny_vae import TinyVAE
from sdv2_host.wan.vae import HybridVAE, TaehvVAE, WanVAE
from tests.toys import TOY_DIT

CPU = torch.device("cpu")
SPEC = StreamSpec(64, 96, CacheGeometry(2, 2), timesteps=(700.0, 500.0, 400.0), num_prompts=3)
TAEHV = TinyVAEDims(encoder_width=8, decoder_widths=(8, 8, 8, 8), num_mem_blocks=1)


def make_vae(kind: str, device: torch.device) -> StreamingVAE:
    torch.manual_seed(0)
    with device:
        wan, tiny = WanVAE(WanVAEDims(base=8)), TinyVAE(TAEHV).eval().requires_grad_(False)
    return {"wan": wan, "taehv": TaehvVAE(tiny), "hybrid": HybridVAE(wan, tiny)}[kind]


@cache
def planned(kind: str = "wan") -> PartBytes:
    return part_bytes(TOY_DIT, make_vae(kind, META), replace(SPEC, device=META))


def test_a_block_takes_its_weights_and_the_keys_and_values_of_every_prompt() -> None:
    dit = CausalWanModel(TOY_DIT)
    text = dit.text_kv(torch.zeros(1, TOY_DIT.text_len, TOY_DIT.text_dim))[0]

    weights = tensor_bytes(dit.blocks[0].parameters())
    assert planned().block == weights + SPEC.num_prompts * tensor_bytes(text)


def test_a_row_takes_the_keys_and_values_of_one_block_at_one_step() -> None:
    kv = fresh_kv(SPEC, replace(TOY_DIT, num_layers=1))

    one_row = tensor_bytes([kv.k_RSHD[0][0], kv.v_RSHD[0][0]])  # type: ignore[attr-defined]
    assert planned().row == int(one_row * (1 + FRAGMENTATION))


def test_every_device_has_the_weights_that_are_of_no_block() -> None:
    dit = CausalWanModel(TOY_DIT)

    of_blocks = tensor_bytes(dit.blocks.parameters())
    assert planned().shared > tensor_bytes(dit.parameters()) - of_blocks


@pytest.mark.parametrize("kind", ["wan", "hybrid", "taehv"])
@torch.inference_mode()
def test_each_half_of_the_autoencoder_runs_within_what_is_planned_for_it(kind: str) -> None:
    vae = make_vae(kind, CPU)
    cache = vae.init_cache(1, SPEC.height_px, SPEC.width_px)
    frames_BTCHW = torch.zeros(1, FRAMES_PER_LATENT, 3, SPEC.height_px, SPEC.width_px)
    own = [[w for m in half for w in m.parameters()] for half in half_modules(vae)]

    with LiveBytes(CPU, [*own[0], *cache.encoder]) as encoding:
        z_BFCHW = vae.encode(frames_BTCHW, cache, is_first=False).z_BFCHW
    with LiveBytes(CPU, [*own[1], *cache.decoder]) as decoding:
        vae.decode(z_BFCHW, cache, is_first=False)

    plan = planned(kind)
    for part, lasting, peak in (
        (plan.encoder, tensor_bytes([*own[0], *cache.encoder]), encoding.peak),
        (plan.decoder, tensor_bytes([*own[1], *cache.decoder]), decoding.peak),
    ):
        assert lasting < part
        # What a call of the DiT takes is shared: a chunk is encoded before it and decoded after.
        # Meta kernels are a few percent off those of the CPU.
        assert 0.95 * (lasting + peak) <= plan.shared + part
        assert part <= 1.1 * (lasting + peak)


@pytest.mark.parametrize("vae", ["wan", "taehv"])
def test_on_one_device_the_parts_are_the_plan_of_the_whole(vae: str) -> None:
    config = Config(engine="wan-1.3b", width=256, height=256, max_steps=2, vae=vae)

    parts = plan_parts(config, torch.bfloat16)
    plan = plan_memory(config, torch.device("cuda:0"), torch.bfloat16)

    total = parts.shared + parts.encoder + parts.decoder + 30 * (parts.block + 2 * parts.row)
    whole = plan.total - plan.parts[ESTIMATED]
    # Only what both halves and the model take while they run is not shared here.
    activations = plan.parts["activations, at most"]
    assert whole - activations <= total <= whole * (1 + FRAGMENTATION) + 2 * activations


def test_more_pixels_take_more_of_all_but_the_blocks_weights() -> None:
    fixed = {"engine": "wan-1.3b", "vae": "taehv", "max_steps": 1}
    small, large = (
        plan_parts(Config.model_validate({**fixed, "width": side, "height": side}), torch.bfloat16)
        for side in (64, 128)
    )

    assert (large.block, large.num_rows) == (small.block, small.num_rows)
    assert large.shared > small.shared
    assert large.row == pytest.approx(4 * small.row, abs=1)
    assert large.encoder > small.encoder
    assert large.decoder > small.decoder


@pytest.mark.parametrize("kind", ["cuda", "mps", "cpu"])
def test_a_device_that_others_have_filled_has_no_room(kind: str) -> None:
    assert room_of(DeviceMemory(total=8 * GIB, free=GIB // 100), kind) == 0


def test_a_process_on_the_cpu_has_less_than_what_is_free() -> None:
    assert 0 < room_bytes(CPU) < 2**50
