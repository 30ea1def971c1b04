"""The causal DiT: equals the reference's recorded tensors, and obeys its own laws."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sdv2_host.wan.attention import WholeAttend, block_causal_mask
from sdv2_host.wan.dims import WAN_1_3B, WAN_14B, WanDims
from sdv2_host.wan.model import CausalWanModel, TextKV, attend_text
from sdv2_host.wan.rope import rotary_table

DIMS = WanDims(dim=32, num_heads=2, ffn_dim=48, num_layers=3, text_dim=12, text_len=5, freq_dim=16)
GRID = (2, 3)


@pytest.fixture
def model() -> CausalWanModel:
    torch.manual_seed(0)
    return CausalWanModel(DIMS).double().eval()


def attend(num_frames: int, mask: torch.Tensor | None = None) -> WholeAttend:
    return WholeAttend(rotary_table(DIMS.head_dim, torch.arange(num_frames), *GRID), mask)


def noisy(rows: int, frames: int) -> torch.Tensor:
    return torch.randn(rows, frames, 16, GRID[0] * 2, GRID[1] * 2, dtype=torch.double)


def test_first_chunk_equals_the_recorded_reference(reference: Path) -> None:
    weights = load_file(reference / "vectors/generator.safetensors")
    recorded = load_file(reference / "vectors/batch2.safetensors")
    prompt = load_file(reference / "vectors/inputs.safetensors")["prompt_a"]
    dims = WanDims(dim=256, num_heads=2, ffn_dim=512, num_layers=3)
    model = CausalWanModel(dims).eval()
    model.load_state_dict({k.removeprefix("model."): v for k, v in weights.items()})
    text = torch.zeros(1, dims.text_len, dims.text_dim)
    text[:, : prompt.shape[1]] = prompt
    whole = WholeAttend(rotary_table(dims.head_dim, torch.arange(2), 4, 6), None)

    errors = []
    with torch.inference_mode():
        for call in ("call0", "call1"):
            x_BFCHW = recorded[f"prepare.{call}.x"].transpose(1, 2)
            flow = model(x_BFCHW, recorded[f"prepare.{call}.t"], model.text_kv(text), whole)
            want = recorded[f"prepare.{call}.flow"].transpose(1, 2)
            errors.append(float((flow - want).abs().max() / want.abs().max()))

    assert max(errors) < 1e-5, errors


@pytest.mark.parametrize(("name", "dims"), [("1.3B", WAN_1_3B), ("14B", WAN_14B)])
def test_names_and_shapes_equal_the_published_checkpoint(
    reference: Path, name: str, dims: WanDims
) -> None:
    lines = (reference / f"keys/dit_{name}.txt").read_text().split("\n")
    published = {
        line.split("\t")[0].removeprefix("model."): line.split("\t")[1]
        for line in lines
        if "\t" in line
    }

    with torch.device("meta"):
        model = CausalWanModel(dims)

    assert {k: str(list(v.shape)) for k, v in model.state_dict().items()} == published


def test_split_of_blocks_equals_whole(model: CausalWanModel) -> None:
    x, t = noisy(2, 3), torch.tensor([[700.0, 500.0, 20.0]]).repeat(2, 1).double()
    text_kv = model.text_kv(torch.randn(1, 5, 12).double())

    whole = model(x, t, text_kv, attend(3))
    tokens = model.embed(x, t)
    for first, last in ((0, 1), (1, 2), (2, 3)):
        tokens = model.run_blocks(tokens, text_kv, attend(3), first, last)

    assert torch.equal(model.unembed(tokens), whole)


def test_the_past_does_not_depend_on_the_future(model: CausalWanModel) -> None:
    x, t = noisy(1, 4), torch.full((1, 4), 500.0).double()
    text_kv = model.text_kv(torch.randn(1, 5, 12).double())
    changed = x.clone()
    changed[:, 3] += 1

    flows = [
        model(latents, t, text_kv, attend(4, block_causal_mask(4, 6))) for latents in (x, changed)
    ]

    assert torch.equal(flows[0][:, :3], flows[1][:, :3])
    assert not torch.allclose(flows[0][:, 3], flows[1][:, 3])


def test_rows_with_a_prompt_each_equal_rows_alone(model: CausalWanModel) -> None:
    x, t = noisy(2, 1), torch.full((2, 1), 500.0).double()
    prompts = torch.randn(2, 5, 12).double()

    together = model(x, t, model.text_kv(prompts), attend(1))
    alone = [
        model(x[i : i + 1], t[:1], model.text_kv(prompts[i : i + 1]), attend(1)) for i in range(2)
    ]

    assert torch.allclose(together, torch.cat(alone), atol=1e-12)


def test_frames_with_a_prompt_each_equal_whole_clips_with_that_prompt(
    model: CausalWanModel,
) -> None:
    prompts = torch.randn(2, 5, 12).double()
    q = torch.randn(1, 12, 2, 16).double()
    text = model.text_kv(prompts)[0]

    mixed = attend_text(q, text)

    assert torch.allclose(mixed[:, :6], attend_text(q[:, :6], TextKV(*[p[:1] for p in text])))
    assert torch.allclose(mixed[:, 6:], attend_text(q[:, 6:], TextKV(*[p[1:] for p in text])))
