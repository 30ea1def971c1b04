"""Costs of stages: multiplications against torch's counter and by hand, bytes and launches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sdv2_host.bench.stage_costs import (
    Costs,
    StageCost,
    WholeAttention,
    at_depth,
    count_coding,
    count_denoising,
)
from sdv2_host.config import Config
from sdv2_host.gpu.dry_run import META
from sdv2_host.gpu.wan_models import Placement, WanFamily, random_vae
from sdv2_host.gpu.wan_spec import WAN_DIMS, wan_spec
from sdv2_host.params import Params
from sdv2_host.stream.kv_cache import CacheGeometry
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.wan.dims import WAN_1_3B, WanDims
from sdv2_host.wan.streaming_vae import StreamingVAE
from tests.bench.test_bench_cells import FAMILY
from tests.toys import TOY_DIT

SPEC = StreamSpec(64, 64, CacheGeometry(1, 2), timesteps=(700.0, 500.0), device=META)
NUM_SLOTS = SPEC.geometry.num_slots


def by_hand(dims: WanDims, num_tokens: int, num_held: int, text_len: int) -> int:
    """Of one call of the model on one latent frame: 2 m n k of every matrix product."""
    dim = dims.dim
    linears = 4 * dim * dim + 2 * dim * dim + 2 * dim * dims.ffn_dim
    attention = 2 * dim * num_held + 2 * dim * text_len
    patch = dims.in_dim * dims.patch[1] * dims.patch[2]
    per_token = dims.num_layers * (linears + attention) + 2 * patch * dim
    time = dims.freq_dim * dim + dim * dim + 6 * dim * dim
    return 2 * (num_tokens * per_token + time)


@pytest.mark.parametrize(("num_steps", "num_layers"), [(1, 1), (2, 5)])
def test_multiplications_of_the_denoiser_are_those_counted_by_hand(
    num_steps: int, num_layers: int
) -> None:
    dims = replace(TOY_DIT, num_layers=num_layers)

    cost = count_denoising(dims, SPEC, Params(steps=num_steps, drift="off"))

    num_tokens = dims.tokens_per_frame(64, 64)
    assert cost.flop == num_steps * by_hand(dims, num_tokens, NUM_SLOTS * num_tokens, dims.text_len)


@pytest.mark.parametrize("kind", ["wan", "taehv", "hybrid"])
def test_multiplications_of_an_autoencoder_are_those_that_torch_counts_in_a_real_run(
    kind: str,
) -> None:
    cpu = torch.device("cpu")
    vae = random_vae(kind, FAMILY, Placement(cpu, torch.float32))

    costs = count_coding(random_vae(kind, FAMILY, Placement(META, torch.float32)), SPEC)

    assert (costs["encode"].flop, costs["decode"].flop) == counted_by_torch(vae)


@torch.inference_mode()
def counted_by_torch(vae: StreamingVAE) -> tuple[int, int]:
    frames = torch.zeros(1, 4, 3, 64, 64)
    cache = vae.init_cache(1, 64, 64)
    with sdpa_kernel(SDPBackend.MATH):  # of the others it counts not all
        with FlopCounterMode(display=False) as encoding:
            z_BFCHW = vae.encode(frames, cache, is_first=False).z_BFCHW
        with FlopCounterMode(display=False) as decoding:
            vae.decode(z_BFCHW, cache, is_first=False)
    return encoding.get_total_flops(), decoding.get_total_flops()


def test_the_real_models_take_what_the_estimates_were_made_with() -> None:
    """field.md: TFLOP at 512x512 of 1.3B, and of the Wan VAE for a latent."""
    config = Config(engine="wan-1.3b", width=512, height=512, max_steps=1)
    spec = wan_spec(config, META, torch.bfloat16)
    family = WanFamily(WAN_DIMS["wan-1.3b"])

    denoise = count_denoising(family.dit, spec, Params(steps=1))
    coding = count_coding(random_vae("wan", family, Placement(META, torch.bfloat16)), spec)

    assert denoise.flop / 1e12 == pytest.approx(3.82, abs=0.01)
    assert coding["encode"].flop / 1e12 == pytest.approx(5.27, rel=0.25)
    assert coding["decode"].flop / 1e12 == pytest.approx(8.88, rel=0.25)
    weights = sum(weight.numel() for weight in block_weights(WAN_1_3B))
    held = 2 * spec.geometry.num_slots * 1024 * WAN_1_3B.dim
    assert denoise.kept_bytes == pytest.approx(2 * 30 * (weights + held), rel=0.1)


def block_weights(dims: WanDims) -> list[Tensor]:
    square = torch.empty(dims.dim, dims.dim, device=META)
    return [square] * 6 + [torch.empty(2 * dims.dim, dims.ffn_dim, device=META)]


def test_depth_is_extrapolated_exactly() -> None:
    two, three, six = StageCost(10, 20, 30, 4), StageCost(13, 25, 37, 6), StageCost(22, 40, 58, 12)

    assert at_depth(two, three, 6) == six


def test_bytes_are_those_of_what_is_read_and_written_and_of_the_kept_apart() -> None:
    kept = torch.empty(10, 10, device=META)
    given = torch.empty(10, 10, device=META)

    with torch.inference_mode(), Costs(passing=[given]) as costs, costs.stage("all"):
        product = given @ kept.T
        kept[:5].copy_(product.view(10, 10)[5:])
        product + torch.empty(1, 1, device=META).expand(10, 10)

    matmul = StageCost(2 * 1000, 400, 3 * 400, 1)
    copy = StageCost(0, 200, 2 * 200, 1)
    addition = StageCost(0, 0, 2 * 400 + 4, 1)
    assert costs.stages == {"all": matmul + copy + addition}


def test_of_a_large_tensor_no_more_counts_than_is_put_in_and_taken_out() -> None:
    cache, new = torch.empty(100, 10, device=META), torch.empty(2, 10, device=META)
    slots = torch.empty(2, dtype=torch.int64, device=META)

    with torch.inference_mode(), Costs(passing=[new]) as costs:
        with costs.stage("put"):
            cache.index_copy_(0, slots, new)
        with costs.stage("take"):
            cache.index_select(0, slots)

    assert costs.stages["put"] == StageCost(0, 80 + 16, 80 + 80 + 16, 1)
    assert costs.stages["take"] == StageCost(0, 80 + 16, 80 + 80 + 16, 1)


def test_attention_is_one_operation_on_queries_keys_values_and_result() -> None:
    q, k = (torch.empty(1, 2, tokens, 8, device=META) for tokens in (3, 5))

    with torch.inference_mode(), Costs() as costs, WholeAttention(costs), costs.stage("all"):
        F.scaled_dot_product_attention(q, k, k)

    assert costs.stages["all"].flop == 2 * (2 * 3 * 5 * 8) * 2
