"""Weights that are readable but not the model: what differs is named, and what the file is."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sdv2_host.errors import ModelError
from sdv2_host.wan.identify import identify_file
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.weights import load_dit
from tests.toys import TOY_DIT
from tests.wan.containers import State, random_like, save_legacy, save_pt, save_shards, save_st


@pytest.fixture
def state() -> State:
    return random_like(CausalWanModel(TOY_DIT).state_dict())


def without(state: State, name: str) -> State:
    return {key: value for key, value in state.items() if key != name}


HEAD = "head.head.bias"
WRONG: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (
        lambda s: without(s, HEAD),
        r"1 missing: head\.head\.bias; it looks like a damaged",
    ),
    "extra": (lambda s: s | {"extra.weight": torch.zeros(1)}, r"1 unexpected: extra\.weight"),
    "renamed": (
        lambda s: without(s, HEAD) | {"head.tail.bias": s[HEAD]},
        r"1 missing: head\.head\.bias; 1 unexpected: head\.tail\.bias",
    ),
    "shape": (
        lambda s: s | {HEAD: torch.zeros(3, 5)},
        r"1 of the wrong shape: head\.head\.bias 3x5 for 64",
    ),
    "scalar": (lambda s: s | {HEAD: torch.tensor(1.0)}, r"head\.head\.bias scalar for 64"),
    "int8": (
        lambda s: s | {HEAD: s[HEAD].to(torch.int8)},
        r"1 of a type that is not for weights: head\.head\.bias int8",
    ),
    "bool": (lambda s: s | {HEAD: s[HEAD] > 0}, r"head\.head\.bias bool"),
    "complex": (lambda s: s | {HEAD: s[HEAD].to(torch.complex64)}, r"head\.head\.bias complex64"),
    "NaN": (
        lambda s: s | {HEAD: torch.full_like(s[HEAD], torch.nan)},
        r"head\.head\.bias holds NaN or infinite numbers",
    ),
    "one infinity": (
        lambda s: s | {HEAD: torch.cat([s[HEAD][1:], torch.tensor([-torch.inf])])},
        r"head\.head\.bias holds NaN or infinite numbers",
    ),
    "all renamed": (
        lambda s: {f"x.{name}": value for name, value in s.items()},
        r"and \d+ more; \d+ unexpected: .* it looks like nothing known here$",
    ),
    "both names": (
        lambda s: s | {"module.head.head.bias": s[HEAD].clone()},
        r"head\.head\.bias and module\.head\.head\.bias are both head\.head\.bias",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("save", [save_pt, save_legacy, save_st], ids=lambda save: save.__name__)
def test_wrong_weights_are_named(
    tmp_path: Path, state: State, fault: str, save: Callable[[State, Path], Path]
) -> None:
    change, says = WRONG[fault]
    path = save(change(state), tmp_path / "model.pt")

    with pytest.raises(ModelError, match=says):
        load_dit(path, TOY_DIT)


def test_a_tensor_that_claims_a_terabyte_takes_none(tmp_path: Path, state: State) -> None:
    path = save_pt(state | {HEAD: torch.zeros(1).expand(2**40)}, tmp_path / "model.pt")

    with pytest.raises(ModelError, match=r"head\.head\.bias 1099511627776 for 64"):
        load_dit(path, TOY_DIT)


def test_after_a_failure_not_even_the_error_holds_a_half_filled_model(
    tmp_path: Path, state: State
) -> None:
    path = save_pt(state | {HEAD: torch.full_like(state[HEAD], torch.nan)}, tmp_path / "model.pt")

    with pytest.raises(ModelError) as caught:
        load_dit(path, TOY_DIT)

    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    held = [
        one for frame in frames for one in frame.f_locals.values() if isinstance(one, nn.Module)
    ]
    assert held
    assert all(parameter.is_meta for module in held for parameter in module.parameters())


def test_numbers_too_large_for_the_type_are_named(tmp_path: Path, state: State) -> None:
    path = save_pt(state | {HEAD: torch.full_like(state[HEAD], 1e6)}, tmp_path / "model.pt")

    with pytest.raises(ModelError, match=r"head\.head\.bias holds numbers too large for float16"):
        load_dit(path, TOY_DIT, dtype=torch.float16)


def test_a_model_of_another_size_is_recognised(tmp_path: Path) -> None:
    big = {f"model.blocks.{i}.self_attn.norm_q.weight": torch.zeros(5120) for i in range(40)}

    with pytest.raises(ModelError, match=r"the Wan 2\.1 14B DiT: run it with --engine wan-14b"):
        load_dit(save_pt({"generator": big}, tmp_path / "model.pt"), TOY_DIT)


def index_of(weight_map: object) -> str:
    return json.dumps({"metadata": {}, "weight_map": weight_map})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (index_of({"a": "../../../etc/passwd"}), "expected a file of its own folder"),
        (index_of({"a": "/etc/passwd"}), "expected a file of its own folder"),
        (index_of({"a": ".."}), "expected a file of its own folder"),
        (index_of({"a": "..\\x"}), "expected a file of its own folder"),
        (index_of({"a": "x\0y"}), "expected a file of its own folder"),
        (index_of({"a": ""}), "expected a file of its own folder"),
        (index_of({"a": "model-00002-of-00002.safetensors"}), "shard .* is missing"),
        (index_of({"a": "folder"}), "shard folder is missing"),
        (index_of({"a": "part.safetensors"}), "a is not in part.safetensors"),
        (index_of({"a\nb": "part.safetensors"}), "has 'a.{2}b' where the name of a tensor"),
        (index_of({"a": 1}), "weight_map"),
        (index_of(["a"]), "weight_map"),
        (index_of({}), "weight_map"),
        ("[]", "weight_map"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff", "not JSON"),
    ],
)
def test_a_bad_index_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    save_file({"b": torch.zeros(1)}, str(tmp_path / "part.safetensors"))
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(ModelError, match=says):
        load_dit(path, TOY_DIT)


def test_a_damaged_shard_is_named(tmp_path: Path, state: State) -> None:
    path = save_shards(state, tmp_path)
    shard = tmp_path / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])

    with pytest.raises(ModelError, match=r"model-00002-of-00003\.safetensors: a damaged"):
        load_dit(path, TOY_DIT)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty", "no model in this folder"),
        ("model.pt", "no model in this folder"),
        ("loop.pt", "symbolic links"),
        ("dangling.pt", "No such file"),
        ("gone.pt", "No such file"),
    ],
)
def test_paths_without_a_model_say_so(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.pt").mkdir()
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    (tmp_path / "dangling.pt").symlink_to(tmp_path / "nowhere")

    with pytest.raises(ModelError, match=says):
        load_dit(tmp_path / name, TOY_DIT)


def test_several_files_that_could_be_meant_are_listed(tmp_path: Path, state: State) -> None:
    for name in ("one.safetensors", "two.safetensors"):
        save_st(state, tmp_path / name)

    says = r"2 files could be meant \(one\.safetensors, two\.safetensors\); name one"
    for read in (lambda path: load_dit(path, TOY_DIT), identify_file):
        with pytest.raises(ModelError, match=says):
            read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any file")
def test_a_file_without_permission_says_so(tmp_path: Path, state: State) -> None:
    path = save_pt(state, tmp_path / "model.pt")
    path.chmod(0)

    with pytest.raises(ModelError, match="Permission denied"):
        load_dit(path, TOY_DIT)
