"""Parts of a module that are brought and dropped: bit-equal to a whole load, at their own cost."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdv2_host.errors import ModelError
from sdv2_host.wan.dims import WanVAEDims
from sdv2_host.wan.filling import CPU, META
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.partial import PartialModule, held_bytes
from sdv2_host.wan.vae import WanVAE
from sdv2_host.wan.weights import DIT, VAE, load_dit, load_wan_vae
from tests.toys import TOY_DIT
from tests.wan.containers import State, random_like, save_legacy, save_pt, save_st

DIMS = replace(TOY_DIT, num_layers=8)
BLOCKS = [f"blocks.{index}" for index in range(DIMS.num_layers)]


@pytest.fixture(scope="module")
def state() -> State:
    return random_like(CausalWanModel(DIMS).state_dict())


@pytest.fixture(scope="module")
def path(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_st(state, tmp_path_factory.mktemp("weights") / "model.safetensors")


def partial(
    path: Path, dtype: torch.dtype = torch.float32, spares: Collection[str] = ()
) -> PartialModule[CausalWanModel]:
    with torch.device(META):
        model = CausalWanModel(DIMS)
    return PartialModule(model, DIT.open(path), CPU, dtype, spares)


def bytes_of(state: State, parts: Collection[str]) -> int:
    """Of the float32 tensors of these parts, one by one."""
    owned = [name for name in state if any(name.startswith(f"{part}.") for part in parts)]
    return sum(4 * state[name].numel() for name in owned)


@pytest.mark.parametrize("spares", [(), BLOCKS], ids=["in the file", "in host memory"])
@settings(deadline=None, max_examples=20)
@given(
    moves=st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from(BLOCKS), max_size=5)), max_size=6
    )
)
def test_bringing_and_dropping_in_any_order_leaves_what_is_owned(
    path: Path, state: State, spares: list[str], moves: list[tuple[bool, list[str]]]
) -> None:
    model = partial(path, spares=spares)
    owned: set[str] = set()

    for is_brought, names in moves:
        if is_brought:
            model.bring_(names)
            owned |= set(names)
        else:
            model.drop_(names)
            owned -= set(names)

    assert model.held == owned
    assert held_bytes(model.module) == bytes_of(state, owned)
    for name, tensor in model.module.state_dict().items():
        has_memory = any(name.startswith(f"{part}.") for part in owned)
        assert tensor.is_meta != has_memory
        assert tensor.is_meta or torch.equal(tensor, state[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("save", [save_st, save_pt, save_legacy], ids=lambda save: save.__name__)
@pytest.mark.parametrize("spares", [(), BLOCKS[:3]], ids=["in the file", "some in host memory"])
def test_all_parts_are_the_model_loaded_whole(
    tmp_path: Path,
    state: State,
    dtype: torch.dtype,
    save: Callable[[State, Path], Path],
    spares: list[str],
) -> None:
    path = save(state, tmp_path / "model.pt")
    whole = load_dit(path, DIMS, dtype=dtype).state_dict()

    model = partial(path, dtype, spares)
    model.bring_(name for name, _ in model.module.named_children())

    for name, tensor in model.module.state_dict().items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, whole[name])
        assert tensor.stride() == whole[name].stride()
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_a_quarter_of_the_blocks_is_a_quarter_of_their_bytes(path: Path, state: State) -> None:
    model = partial(path)

    model.bring_(BLOCKS[2:4])

    assert held_bytes(model.module) * 4 == bytes_of(state, BLOCKS)


def test_the_memory_of_a_dropped_part_is_given_back(path: Path) -> None:
    model = partial(path)
    model.bring_(BLOCKS)
    part = model.module.get_submodule(BLOCKS[1])
    weights = [weakref.ref(parameter) for parameter in part.parameters()]
    assert all(weight() is not None for weight in weights)

    model.drop_([BLOCKS[1]])

    assert not any(weight() is not None for weight in weights)


def test_progress_of_several_parts_rises_to_one(path: Path) -> None:
    told: list[float] = []

    partial(path).bring_(BLOCKS[:3], told.append)

    assert told == sorted(told)
    assert told[0] > 0
    assert told[-1] == 1


def test_a_file_of_another_model_is_refused_before_anything_is_brought(
    tmp_path: Path, state: State
) -> None:
    other = {name: value for name, value in state.items() if not name.startswith("blocks.7.ffn")}
    path = save_st(other, tmp_path / "model.safetensors")

    with pytest.raises(ModelError, match=r"4 missing: blocks\.7\.ffn\.0"):
        partial(path)


@pytest.mark.parametrize("spares", [(), BLOCKS], ids=["in the file", "in host memory"])
def test_a_number_that_is_not_finite_is_refused_with_its_part(
    tmp_path: Path, state: State, spares: list[str]
) -> None:
    bad = dict(state)
    bad["blocks.5.ffn.0.bias"] = torch.full_like(state["blocks.5.ffn.0.bias"], torch.inf)
    path = save_st(bad, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"blocks\.5\.ffn\.0\.bias holds NaN or infinite"):
        partial(path, spares=spares).bring_(["blocks.4", "blocks.5", "blocks.6"])


def test_a_part_that_is_refused_has_no_memory_and_those_before_it_have(
    tmp_path: Path, state: State
) -> None:
    bad = dict(state)
    bad["blocks.5.ffn.0.bias"] = torch.full_like(state["blocks.5.ffn.0.bias"], torch.nan)
    model = partial(save_st(bad, tmp_path / "model.safetensors"))

    with pytest.raises(ModelError, match="NaN"):
        model.bring_(["blocks.4", "blocks.5", "blocks.6"])

    assert model.held == {"blocks.4"}
    assert held_bytes(model.module) == bytes_of(state, ["blocks.4"])


def test_halves_of_an_autoencoder_keep_the_memory_order_they_read_fast(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dims = WanVAEDims(base=4)
    stored = {n: torch.randn(v.shape) for n, v in WanVAE(dims).state_dict().items()}
    path = save_pt(stored, tmp_path / "Wan2.1_VAE.pth")
    whole = load_wan_vae(path, dims=dims)
    with torch.device(META):
        vae = WanVAE(dims)

    halves = PartialModule(vae, VAE.open(path), CPU, torch.float32)
    halves.bring_(["decoder", "conv2", "latent_scale"])
    halves.drop_(["decoder"])
    halves.bring_(["decoder"])

    z_BFCHW = torch.randn(1, 1, dims.z_dim, 4, 4)
    cache = [whole.init_cache(1, 32, 32) for _ in range(2)]
    want = whole.decode(z_BFCHW, cache[0], is_first=True).frames_BTCHW
    assert torch.equal(vae.decode(z_BFCHW, cache[1], is_first=True).frames_BTCHW, want)
    assert all(parameter.is_meta for parameter in vae.encoder.parameters())
    strides = {name: tensor.stride() for name, tensor in whole.state_dict().items()}
    assert {name: tensor.stride() for name, tensor in vae.state_dict().items()} == strides
