"""Linears joined in one memory: one product that equals each alone, whatever is done to them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sdv2_host.wan.filling import CPU, META
from sdv2_host.wan.joined import JoinedLinears
from sdv2_host.wan.model import CausalWanModel, CrossAttention, SelfAttention
from sdv2_host.wan.partial import PartialModule
from sdv2_host.wan.weights import DIT, load_dit
from tests.toys import TOY_DIT
from tests.wan.containers import random_like, save_st


def attention() -> SelfAttention:
    torch.manual_seed(0)
    return SelfAttention(TOY_DIT).requires_grad_(False)


def alone(module: JoinedLinears, x: Tensor, names: str) -> list[Tensor]:
    """The naive form: each linear by its own weights."""
    linears = [module.get_submodule(name) for name in names]
    return [F.linear(x, linear.weight, linear.bias) for linear in linears]  # type: ignore[arg-type]


def assert_is_joined(module: JoinedLinears, names: str) -> None:
    weight = module.joined_weight
    x = torch.randn(2, 5, weight.shape[1]).to(weight.dtype)

    for got, want in zip(module.products(x), alone(module, x, names), strict=True):
        torch.testing.assert_close(got, want)
    shares = [module.get_submodule(name).weight for name in names]
    assert {share.untyped_storage().data_ptr() for share in shares} == {  # type: ignore[operator]
        weight.untyped_storage().data_ptr()
    }


@pytest.mark.parametrize(("kind", "names"), [(SelfAttention, "qkv"), (CrossAttention, "kv")])
def test_one_product_equals_each_linear_alone(kind: type[JoinedLinears], names: str) -> None:
    assert_is_joined(kind(TOY_DIT).requires_grad_(False), names)  # type: ignore[call-arg]


def test_names_and_numbers_of_parameters_are_those_of_separate_linears() -> None:
    module = attention()

    state = module.state_dict()

    linears = [f"{name}.{part}" for name in "qkvo" for part in ("weight", "bias")]
    assert list(state) == [*linears, "norm_q.weight", "norm_k.weight"]
    assert sum(p.numel() for p in module.parameters()) == sum(t.numel() for t in state.values())


def test_what_is_written_to_a_share_in_place_is_used() -> None:
    module = attention()

    module.v.weight.zero_()
    module.v.bias.fill_(3.0)

    assert torch.equal(module.products(torch.randn(1, TOY_DIT.dim))[2], torch.full((1, 24), 3.0))


def _loaded(empty: SelfAttention, source: SelfAttention) -> SelfAttention:
    empty.to_empty(device=CPU).load_state_dict(source.state_dict())
    return empty


def _assigned(source: SelfAttention) -> SelfAttention:
    with META:
        module = SelfAttention(TOY_DIT)
    module.load_state_dict({k: v.clone() for k, v in source.state_dict().items()}, assign=True)
    return module.requires_grad_(False)


CHANGES: dict[str, Callable[[SelfAttention], SelfAttention]] = {
    "cast": lambda module: module.to(torch.bfloat16),
    "copied": copy.deepcopy,
    "emptied and loaded": lambda module: _loaded(copy.deepcopy(module).to(META), module),
    "loaded by assign": _assigned,
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_stays_joined_and_equal_when_it_is(change: str) -> None:
    before = attention()
    state = {name: tensor.clone() for name, tensor in before.state_dict().items()}

    after = CHANGES[change](before)

    assert_is_joined(after, "qkv")
    for name, tensor in after.state_dict().items():
        assert torch.equal(tensor, state[name].to(tensor.dtype)), name


def test_a_copy_does_not_change_with_the_original() -> None:
    module = attention()
    x = torch.randn(1, TOY_DIT.dim)
    twin = copy.deepcopy(module)
    before = twin.products(x)

    module.q.weight.zero_()

    assert torch.equal(twin.products(x)[0], before[0])


def test_a_parameter_stays_the_same_object_when_it_is_cast() -> None:
    module = attention()
    weight = module.k.weight

    module.to(torch.bfloat16)

    assert module.k.weight is weight
    assert weight.dtype == torch.bfloat16


def test_gradients_are_those_of_separate_linears() -> None:
    module, naive = SelfAttention(TOY_DIT), SelfAttention(TOY_DIT)
    naive.load_state_dict(module.state_dict())
    x = torch.randn(4, TOY_DIT.dim)

    torch.stack(module.products(x)).square().sum().backward()  # type: ignore[no-untyped-call]
    torch.stack(alone(naive, x, "qkv")).square().sum().backward()  # type: ignore[no-untyped-call]

    for name in "qkv":
        got, want = (one.get_submodule(name).weight.grad for one in (module, naive))
        torch.testing.assert_close(got, want)


def test_models_loaded_whole_and_in_parts_are_joined(tmp_path: Path) -> None:
    path = save_st(
        random_like(CausalWanModel(TOY_DIT).state_dict()), tmp_path / "model.safetensors"
    )
    with META:
        empty = CausalWanModel(TOY_DIT)
    names = [f"blocks.{index}" for index in range(TOY_DIT.num_layers)]
    parts = PartialModule(empty, DIT.open(path), CPU, torch.float32, spares=names[:1])

    parts.bring_(names)
    parts.drop_(names[:1])
    parts.bring_(names[:1])

    for model in (load_dit(path, TOY_DIT), parts.module):
        for block in model.blocks:
            assert_is_joined(block.self_attn, "qkv")  # type: ignore[arg-type, union-attr]
            assert_is_joined(block.cross_attn, "kv")  # type: ignore[arg-type, union-attr]
