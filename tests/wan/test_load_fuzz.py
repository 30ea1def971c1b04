"""A bad file of weights: one clear line, nothing executed, nothing loaded."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors

from sdv2_host.errors import ModelError
from sdv2_host.wan.checkpoint import open_checkpoint
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.weights import load_dit
from tests.toys import TOY_DIT
from tests.wan.containers import State, random_like

FORMATS = ("pt", "legacy", "safetensors")
ANY_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
"""The folder is the same for all examples; each writes its file anew."""


@cache
def good_bytes(kind: str) -> bytes:
    """A small file of each format that opens."""
    state = {f"layer.{index}.weight": torch.arange(24.0).reshape(4, 6) for index in range(3)}
    if kind == "safetensors":
        return to_safetensors(state)
    buffer = io.BytesIO()
    torch.save({"generator": state}, buffer, _use_new_zipfile_serialization=kind == "pt")
    return buffer.getvalue()


@pytest.fixture
def state() -> State:
    return random_like(CausalWanModel(TOY_DIT).state_dict())


def refusal(path: Path) -> str:
    """What a load says of a file that it must not take, as one line."""
    with pytest.raises(ModelError) as caught:
        load_dit(path, TOY_DIT)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert "weights_only=False" not in message
    return message


def fault_of(path: Path) -> ModelError | None:
    """No other error than ours; what opens can be read to its end."""
    try:
        with open_checkpoint(path) as checkpoint:
            for name, info in checkpoint.entries.items():
                assert tuple(checkpoint.read(name).clone().shape) == info.shape
    except ModelError as error:
        return error
    return None


class Trap:
    """Makes a folder when it is unpickled by something that runs what a pickle asks for."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def raw_pickle(trap: Trap, path: Path) -> None:
    path.write_bytes(pickle.dumps({"generator": trap}))


def pickle_with_torch_magic(trap: Trap, path: Path) -> None:
    good = good_bytes("legacy")
    magic = good[: good.index(b".") + 1]
    path.write_bytes(magic + pickle.dumps(trap, protocol=2) * 4)


def trap_among_weights(trap: Trap, path: Path) -> None:
    torch.save({"generator": {"a": torch.zeros(1), "b": trap}}, path)


def trap_beside_weights(trap: Trap, path: Path) -> None:
    torch.save({"generator": {"a": torch.zeros(1)}, "optimizer": trap}, path)


def trap_in_the_old_format(trap: Trap, path: Path) -> None:
    torch.save({"a": torch.zeros(1), "b": trap}, path, _use_new_zipfile_serialization=False)


def system_call(trap: Trap, path: Path) -> None:
    command = f"mkdir {trap.marker}".encode()
    path.write_bytes(b"cos\nsystem\n(S'" + command + b"'\ntR.")


TRAPS = (
    raw_pickle,
    pickle_with_torch_magic,
    trap_among_weights,
    trap_beside_weights,
    trap_in_the_old_format,
    system_call,
)


@pytest.mark.parametrize("write", TRAPS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.pth"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(
    tmp_path: Path, name: str, write: Callable[[Trap, Path], None]
) -> None:
    marker = tmp_path / "executed"
    write(Trap(marker), tmp_path / name)

    refusal(tmp_path / name)

    assert not marker.exists()


def test_the_trap_works_where_pickles_are_run(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    raw_pickle(Trap(marker), tmp_path / "model.pt")

    pickle.loads((tmp_path / "model.pt").read_bytes())

    assert marker.exists()


def test_a_refused_pickle_is_named_with_what_it_asks_for(tmp_path: Path) -> None:
    trap_among_weights(Trap(tmp_path / "executed"), tmp_path / "model.pt")

    assert "asks for posix.mkdir): refused, nothing was executed" in refusal(tmp_path / "model.pt")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    good = good_bytes(kind)
    path = tmp_path / "model.pt"
    lengths = sorted({*range(0, 80), *range(0, len(good), 37), *range(len(good) - 20, len(good))})

    for length in lengths:
        path.write_bytes(good[:length])
        refusal(path)


@pytest.mark.parametrize("kind", FORMATS)
@ANY_FOLDER
@given(data=st.data())
def test_changed_bytes_open_or_are_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(good_bytes(kind))
    spots = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for spot, value in data.draw(st.lists(spots, min_size=1, max_size=8)):
        content[spot] = value
    path = tmp_path / "model.pt"
    path.write_bytes(content)

    fault = fault_of(path)
    assert fault is None or (str(path) in str(fault) and "\n" not in str(fault))


@ANY_FOLDER
@given(
    head=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", good_bytes("legacy")[:30], bytes(8)]),
    tail=st.binary(max_size=300),
)
def test_random_bytes_are_refused(tmp_path: Path, head: bytes, tail: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(head + tail)

    refusal(path)


def header(content: object, claimed: int | None = None, data: bytes = bytes(16)) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text) if claimed is None else claimed) + text + data


def one(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        header({"a": one([4], [0, 16])}, claimed=2**63),
        header({"a": one([4], [0, 16])}, claimed=2**40),
        header({"a": one([2**40], [0, 2**42])}),
        header({"a": one([2**62, 2**62], [0, 16])}),
        header({"a": one([4], [0, 16]), "b": one([4], [0, 16])}),
        header({"a": one([2], [0, 8]), "b": one([2], [4, 12])}),
        header({"a": one([2], [8, 16])}),
        header({"a": one([4], [16, 0])}),
        header({"a": one([4], [-16, 0])}),
        header({"a": one([3], [0, 16])}),
        header({"a": one([4], [0, 16], "F33")}),
        header({"a": 1}),
        header({"a": one([4], [0, 16])}, data=b""),
        header({}, data=b""),
        header({"__metadata__": {"a": 1}}, data=b""),
    ],
)
def test_a_lying_safetensors_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)

    refusal(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"just some text, not a model", "neither .safetensors nor a PyTorch checkpoint"),
    ],
)
def test_what_is_no_model_is_told_by_its_first_bytes(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)

    assert says in refusal(path)


@pytest.mark.parametrize("member", ["readme.txt", "model/constants.pkl"])
def test_a_zip_file_of_another_kind_is_refused(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr(member, b"hello")

    refusal(tmp_path / "model.pt")


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good.pt").write_bytes(good_bytes("pt"))
    with (
        zipfile.ZipFile(tmp_path / "good.pt") as good,
        zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in good.namelist():
            packed.writestr(name, good.read(name))

    assert "compressed inside" in refusal(tmp_path / "model.pt")


def test_a_wrapper_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["generator"] = content
    torch.save(content, tmp_path / "model.pt")

    refusal(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(1)],
        torch.zeros(1),
        {1: torch.zeros(1)},
        {"a": [torch.zeros(1)]},
        {"a": torch.zeros(2, 2).to_sparse()},
        {"a": torch.zeros(2, device="meta")},
        {"a\nb": torch.zeros(1)},
        {"a" * 300: torch.zeros(1)},
        {"step": 1},
        {},
    ],
    ids=str,
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pt")

    refusal(tmp_path / "model.pt")
