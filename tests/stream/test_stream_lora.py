"""The laws of live merging, on a toy model in float32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sdv2_host.errors import ModelError
from sdv2_host.params import Params
from sdv2_host.stream.lora import NO_LORAS, LoraMerge
from sdv2_host.wan.fp8 import by_hand, quantised
from sdv2_host.wan.model import CausalWanModel, TextKV
from sdv2_host.wan.weights import load_dit, open_dit
from tests.lora_files import factors, tensors_of, write
from tests.toys import TOY_DIT

Base = Mapping[str, Tensor]
WHOLE = 10**12
"""Bytes: everything in one chunk."""
NUM_MATRICES = TOY_DIT.num_layers * 10 + 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """LoRAs a and b on all matrices, c on one block's, d on self-attention's queries."""
    write(tmp_path / "a.safetensors", tensors_of("kohya", factors(TOY_DIT, 1), 1.0))
    write(tmp_path / "b.safetensors", tensors_of("diffusers", factors(TOY_DIT, 2), None))
    some = factors(TOY_DIT, 3)
    block = {name: part for name, part in some.items() if name.startswith("blocks.1.")}
    write(tmp_path / "c.safetensors", tensors_of("comfy", block, 3.0))
    queries = {name: part for name, part in some.items() if name.endswith("self_attn.q")}
    write(tmp_path / "d.safetensors", tensors_of("comfy", queries, None))
    return tmp_path


def finder(folder: Path) -> Callable[[str], Path]:
    def find(name: str) -> Path:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            raise ModelError(f"no LoRA {name}")
        return path

    return find


class Running:
    """A model that chunks are made with, and what was merged into it."""

    def __init__(
        self,
        folder: Path,
        budget_bytes: int = WHOLE,
        dtype: torch.dtype = torch.float32,
        *,
        is_live: bool = True,
        is_in_8_bits: bool = False,
    ) -> None:
        """`is_live`: one chunk without LoRAs has passed."""
        torch.manual_seed(5)
        self.dit = CausalWanModel(TOY_DIT).eval().requires_grad_(False)
        self.base = {name: value.clone() for name, value in self.dit.state_dict().items()}
        self.dit.to(dtype)
        if is_in_8_bits:
            self.dit.quantise_(by_hand)
        self.reads: list[str] = []
        self.merge = LoraMerge(self.dit, self._read, finder(folder), budget_bytes)
        if is_live:
            self.advance("")

    def _read(self, name: str) -> Tensor:
        self.reads.append(name)
        return self.base[name]

    def advance(self, lora: str, strength: float = 1.0) -> str:
        """One chunk; the problem."""
        step = self.merge.advance_(Params(lora=lora, lora_strength=strength))
        return step.problem

    def settle(self, lora: str, strength: float = 1.0) -> int:
        """Chunks until the request is in the weights."""
        params = Params(lora=lora, lora_strength=strength)
        for count in range(1, 1000):
            self.merge.advance_(params)
            if not self.merge.is_due(params):
                return count
        raise AssertionError("it never settles")

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.dit.state_dict().items()}


def same(first: Base, second: Base) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def naive(base: Base, *parts: tuple[int, float]) -> dict[str, Tensor]:
    """base + sum of scale x up @ down, of `factors` with a seed each."""
    total = {name: value.double() for name, value in base.items()}
    for seed, scale in parts:
        for name, (up, down) in factors(TOY_DIT, seed).items():
            total[f"{name}.weight"] += scale * up.double() @ down.double()
    return total


def test_weights_are_base_plus_strengths_times_changes(folder: Path) -> None:
    running = Running(folder)

    running.settle("a:0.5, b:-1.5", strength=0.8)

    expected = naive(running.base, (1, 0.5 * 0.8 * 1.0 / 2), (2, -1.5 * 0.8))
    for name, value in running.weights.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_removed_lora_leaves_the_base_bit_for_bit(folder: Path, dtype: torch.dtype) -> None:
    running = Running(folder, dtype=dtype)
    before = running.weights
    running.settle("a, b:-0.3")
    assert not same(running.weights, before)

    running.settle("")

    assert same(running.weights, before)


def test_into_weights_in_8_bits_a_lora_is_merged_wide_and_quantised(folder: Path) -> None:
    wide = Running(folder, dtype=torch.bfloat16)
    small = Running(folder, dtype=torch.bfloat16, is_in_8_bits=True)
    before, scales_before = small.weights, {k: v.clone() for k, v in small.dit.scales().items()}
    addresses = [weight.data_ptr() for weight in small.dit.parameters()]

    wide.settle("a, b:-0.3")
    small.settle("a, b:-0.3")
    after = small.weights

    scales = small.dit.scales()
    assert scales
    for name, weight in wide.weights.items():
        rows = quantised(weight) if name in scales else None
        assert torch.equal(after[name].float(), (rows.values_RI if rows else weight).float())
        assert rows is None or torch.equal(scales[name], rows.scale_R1)
    small.settle("")
    for name, weight in before.items():
        assert torch.equal(small.weights[name].float(), weight.float())
    assert all(torch.equal(small.dit.scales()[name], one) for name, one in scales_before.items())
    assert [weight.data_ptr() for weight in small.dit.parameters()] == addresses


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_a_model_from_a_checkpoint_gets_its_loaded_weights_back(
    folder: Path, stored: torch.dtype
) -> None:
    base = {name: value.to(stored) for name, value in Running(folder).base.items()}
    path = write(folder / "model.safetensors", base)
    dit = load_dit(path, TOY_DIT, dtype=torch.bfloat16)
    loaded = {name: value.clone() for name, value in dit.state_dict().items()}
    with open_dit(path, TOY_DIT) as checkpoint:
        merge = LoraMerge(dit, checkpoint.read, finder(folder))
        merge.advance_(Params(lora="a"))
        assert not same(dit.state_dict(), loaded)

        params = Params()
        while merge.is_due(params):
            merge.advance_(params)

    assert same(dit.state_dict(), loaded)


def test_what_weights_hold_does_not_depend_on_the_way_there(folder: Path) -> None:
    straight, around = Running(folder), Running(folder, budget_bytes=5000)
    straight.settle("a:0.4, b")

    around.settle("a")
    around.advance("c:-1, b")
    around.settle("b", strength=0.1)
    around.advance("")
    around.settle("a:0.4, b")

    assert same(straight.weights, around.weights)


def test_strength_zero_is_the_base_itself(folder: Path) -> None:
    running = Running(folder)
    before = running.weights
    running.settle("a")

    running.settle("a", strength=0.0)
    assert same(running.weights, before)
    running.settle("a:0, b:0")

    assert same(running.weights, before)


def test_weights_stay_where_they_are(folder: Path) -> None:
    running = Running(folder)
    places = {name: value.data_ptr() for name, value in running.dit.state_dict().items()}

    running.settle("a, b")
    running.settle("")

    after = {name: value.data_ptr() for name, value in running.dit.state_dict().items()}
    assert after == places


def test_a_chunk_writes_no_more_than_its_budget_and_at_least_one_weight(folder: Path) -> None:
    sizes = {name: value.nbytes for name, value in Running(folder).weights.items()}
    for budget_bytes in (1, 3000, 20_000):
        running = Running(folder, budget_bytes)
        params = Params(lora="a")
        while running.merge.is_due(params):
            running.reads.clear()
            running.merge.advance_(params)
            written = [sizes[name] for name in running.reads]
            assert sum(written[:-1]) < budget_bytes
        assert same(running.weights, settled(folder, "a"))


def settled(folder: Path, lora: str) -> dict[str, Tensor]:
    running = Running(folder)
    running.settle(lora)
    return running.weights


def test_a_change_goes_block_by_block_in_order(folder: Path) -> None:
    running = Running(folder, budget_bytes=1)

    running.settle("a")

    names = [name for name in running.base if name in set(running.reads)]
    assert running.reads == names
    assert len(names) == NUM_MATRICES


def test_only_weights_that_are_not_right_yet_are_written(folder: Path) -> None:
    running = Running(folder)
    running.settle("a")
    running.reads.clear()

    running.settle("a, d:0.5")

    assert set(running.reads) == {f"blocks.{index}.self_attn.q.weight" for index in range(2)}
    running.reads.clear()
    running.settle("a, d:0")
    assert len(running.reads) == 2


def test_a_newer_request_replans_what_is_under_way(folder: Path) -> None:
    running = Running(folder, budget_bytes=4000)
    for _ in range(8):
        running.advance("a")
    half_way = running.weights
    assert not same(half_way, running.base)
    assert not same(half_way, settled(folder, "a"))
    running.reads.clear()

    num_chunks = running.settle("")

    assert same(running.weights, running.base)
    assert len(running.reads) < NUM_MATRICES
    assert num_chunks < 20


def test_every_block_gets_its_turn_while_a_fader_moves(folder: Path) -> None:
    running = Running(folder, budget_bytes=4000)
    running.settle("a")
    running.reads.clear()

    for tick in range(200):
        running.advance("a", strength=0.5 + tick / 1000)

    assert len(set(running.reads)) == NUM_MATRICES


def test_the_same_parameters_at_the_same_chunks_give_the_same_weights(folder: Path) -> None:
    requests = [*["a"] * 5, *["a:0.5"] * 3, *["b, c"] * 9, *[""] * 4]
    first, second = Running(folder, budget_bytes=3000), Running(folder, budget_bytes=3000)

    for request in requests:
        first.advance(request)
        second.advance(request)

        assert same(first.weights, second.weights)


def test_what_is_asked_from_the_start_is_there_at_the_first_chunk(folder: Path) -> None:
    running = Running(folder, budget_bytes=1, is_live=False)

    running.advance("a, b")

    assert same(running.weights, settled(folder, "a, b"))


def test_an_unknown_name_changes_nothing_and_says_so_until_it_is_put_right(folder: Path) -> None:
    running = Running(folder)
    running.settle("a")
    before = running.weights

    problems = [running.advance("a, nosuch") for _ in range(3)]

    assert problems == ["the LoRA was not changed: no LoRA nosuch"] * 3
    assert same(running.weights, before)
    assert running.advance("b") == ""
    assert same(running.weights, settled(folder, "b"))


def test_an_unknown_name_does_not_stop_a_change_under_way(folder: Path) -> None:
    running = Running(folder, budget_bytes=1000)
    running.advance("a")

    for _ in range(300):
        running.advance("nosuch")

    assert same(running.weights, settled(folder, "a"))


def test_a_file_that_turns_out_damaged_changes_nothing(folder: Path) -> None:
    tensors = tensors_of("kohya", factors(TOY_DIT, 4), None)
    last = list(tensors)[-1]
    tensors[last] = torch.full_like(tensors[last], float("nan"))
    write(folder / "bad.safetensors", tensors)
    running = Running(folder, budget_bytes=300)
    running.settle("c")
    before = running.weights

    problems = [running.advance("c, bad") for _ in range(100)]

    assert problems[0] == ""
    assert "not finite" in problems[-1]
    assert same(running.weights, before)
    running.settle("c:0.5")
    assert running.advance("c:0.5") == ""


def test_reading_a_file_is_spread_over_chunks_too(folder: Path) -> None:
    running = Running(folder, budget_bytes=500)

    running.advance("a")
    running.advance("a")

    assert running.reads == []
    running.settle("a")
    assert same(running.weights, settled(folder, "a"))


def test_a_file_may_vanish_once_it_is_merged(folder: Path) -> None:
    running = Running(folder)
    running.settle("a")
    (folder / "a.safetensors").unlink()

    running.settle("a:0.5, b")
    running.settle("a")

    torch.testing.assert_close(
        running.weights["blocks.0.ffn.0.weight"].double(),
        naive(running.base, (1, 0.5))["blocks.0.ffn.0.weight"],
        rtol=1e-5,
        atol=1e-5,
    )


def flat(text_kv: list[TextKV]) -> Tensor:
    return torch.stack([torch.stack([*one]) for one in text_kv])


def test_text_is_stale_when_a_weight_it_depends_on_changed_and_only_then(folder: Path) -> None:
    text = torch.randn(1, TOY_DIT.text_len, TOY_DIT.text_dim)
    running = Running(folder, budget_bytes=1)
    params = Params(lora="a")
    num_stale = 0

    while running.merge.is_due(params):
        before = copy.deepcopy(running.dit).text_kv(text)
        step = running.merge.advance_(params)
        after = running.dit.text_kv(text)

        is_equal = torch.equal(flat(before), flat(after))
        assert step.changed_text != is_equal
        num_stale += step.changed_text

    assert num_stale == 2 + 2 * TOY_DIT.num_layers
    assert step.has_settled


def test_where_nothing_can_be_merged_a_request_is_a_problem() -> None:
    assert NO_LORAS.advance_(Params()).problem == ""
    assert NO_LORAS.advance_(Params(lora="a")).problem == "this engine takes no LoRAs"
