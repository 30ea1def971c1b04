"""The prompt bank: what was written is read, whatever else lies there counts as absent."""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from sdv2_host.errors import ModelError
from sdv2_host.models.prompt_bank import MAX_ROWS, Bits, PromptBank
from sdv2_host.prompts import clean_prompt

DIM = 8
PROMPT = "neon rain"
NAN, INFINITE = 0x7FC0, 0x7F80


def rows_of(count: int, dim: int = DIM) -> Bits:
    """Finite bfloat16 bits, all different."""
    return (np.arange(count * dim, dtype=np.uint16) + 0x3F80).reshape(count, dim)


@pytest.fixture
def bank(tmp_path: Path) -> PromptBank:
    return PromptBank(tmp_path / "prompts", dim=DIM)


@given(prompt=st.text(max_size=200), rows=st.integers(1, 6))
def test_what_was_written_is_read_for_any_prompt(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, rows: int
) -> None:
    bank = PromptBank(tmp_path_factory.mktemp("bank"), dim=DIM)

    bank.write(prompt, rows_of(rows))

    found = bank.read(prompt)
    assert found is not None
    assert np.array_equal(found, rows_of(rows))
    (entry,) = bank.list()
    assert entry.prompt == clean_prompt(prompt)
    assert (entry.rows, entry.dim, entry.path) == (rows, DIM, bank.path(prompt))
    assert bank.remove(entry.prompt)
    assert bank.list() == ()


@given(st.text(alphabet=st.characters(codec=None), max_size=40))
def test_every_text_has_a_name_of_its_own_kind(prompt: str) -> None:
    assert len(PromptBank(Path("bank")).path(prompt).stem) == 64


def test_the_key_is_the_cleaned_prompt_and_the_encoder(tmp_path: Path) -> None:
    bank, other = PromptBank(tmp_path), PromptBank(tmp_path, encoder="another")

    assert bank.path(" neon \n rain ") == bank.path("neon rain")
    assert bank.path("neon rain") != bank.path("Neon rain")
    assert bank.path("neon rain") != other.path("neon rain")


def test_other_programs_can_read_the_file(bank: PromptBank) -> None:
    path = bank.write("火 & neon", rows_of(3))

    with safe_open(str(path), framework="np") as file:
        metadata = file.metadata()
        kind = file.get_slice("embedding").get_dtype()
        shape = file.get_slice("embedding").get_shape()

    assert (kind, shape) == ("BF16", [3, DIM])
    assert metadata["prompt"] == "火 & neon"
    assert metadata["encoder"] == "umt5-xxl"
    assert metadata["created_by"].startswith("sdv2-host ")


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_prompts_are_for_their_owner_only(bank: PromptBank) -> None:
    path = bank.write(PROMPT, rows_of(1))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_writing_again_replaces_and_leaves_nothing_else(bank: PromptBank) -> None:
    bank.write(PROMPT, rows_of(2))
    bank.write(PROMPT, rows_of(5))

    found = bank.read(PROMPT)
    assert found is not None
    assert len(found) == 5
    assert len(list(bank.folder.iterdir())) == 1


def test_a_bank_that_does_not_exist_is_empty(bank: PromptBank) -> None:
    assert not bank.has(PROMPT)
    assert bank.list() == ()
    assert not bank.remove(PROMPT)
    assert bank.remove_all() == 0


def test_all_are_removed_with_what_was_left_unfinished(bank: PromptBank) -> None:
    for prompt in ("a", "b"):
        bank.write(prompt, rows_of(1))
    (bank.folder / "x.unfinished").write_bytes(b"half")

    assert bank.remove_all() == 2
    assert list(bank.folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ModelError, match=r"cannot be written .*--models-dir"):
        PromptBank(tmp_path / "file" / "prompts", dim=DIM).write(PROMPT, rows_of(1))


@pytest.mark.parametrize(
    ("bits", "fault"),
    [
        (rows_of(2, DIM + 1), "9 numbers a token, expected 8: another encoder's"),
        (rows_of(0), r"0 tokens, expected 1\.\.512"),
        (rows_of(MAX_ROWS + 1), "513 tokens"),
        (np.full((1, DIM), NAN, np.uint16), "NaN"),
        (np.full((1, DIM), INFINITE, np.uint16), "infinite"),
    ],
)
def test_what_would_not_be_read_is_not_written(bank: PromptBank, bits: Bits, fault: str) -> None:
    with pytest.raises(ModelError, match=f'prompt "neon rain": the text encoder gives .*{fault}'):
        bank.write(PROMPT, bits)

    assert not bank.has(PROMPT)


Spoil = Callable[[dict[str, Any], bytes], tuple[object, bytes]]


def spoilt(bank: PromptBank, spoil: Spoil) -> Path:
    """The file of PROMPT with its header and bytes changed by `spoil`."""
    path = bank.write(PROMPT, rows_of(3))
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header, data = spoil(json.loads(content[8 : 8 + length]), content[8 + length :])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensor(header: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**header, "embedding": {**header["embedding"], **changes}}


def metadata(header: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**header, "__metadata__": {**header["__metadata__"], **changes}}


HOSTILE: dict[str, Spoil] = {
    "truncated": lambda h, data: (h, data[:-2]),
    "truncated: more": lambda h, data: (h, data + b"xx"),
    "truncated: none": lambda h, data: (h, b""),
    "numbers of type 'F32'": lambda h, data: (tensor(h, dtype="F32"), data),
    "numbers of type None": lambda h, data: (tensor(h, dtype=None), data),
    "shape [24]": lambda h, data: (tensor(h, shape=[24]), data),
    "shape [3.0, 8]": lambda h, data: (tensor(h, shape=[3.0, 8]), data),
    "shape [-3, -8]": lambda h, data: (tensor(h, shape=[-3, -8]), data),
    "shape [True, 24]": lambda h, data: (tensor(h, shape=[True, 24]), data),
    "shape None": lambda h, data: (tensor(h, shape=None), data),
    "48 bytes for 9 x 8": lambda h, data: (tensor(h, shape=[9, 8]), data),
    "4 numbers a token": lambda h, data: (tensor(h, shape=[6, 4]), data),
    "0 tokens": lambda h, data: (tensor(h, shape=[0, 8], data_offsets=[0, 0]), b""),
    "513 tokens": lambda h, data: (
        tensor(h, shape=[513, 8], data_offsets=[0, 513 * 16]),
        bytes(513 * 16),
    ),
    "NaN": lambda h, data: (h, struct.pack("<H", NAN) + data[2:]),
    "infinite": lambda h, data: (h, data[:-2] + struct.pack("<H", INFINITE)),
    "infinite: negative": lambda h, data: (h, data[:-2] + struct.pack("<H", 0xFF80)),
    "of its prompt 'another'": lambda h, data: (metadata(h, prompt="another"), data),
    "no prompt, encoder": lambda h, data: (metadata(h, prompt=None), data),
    "made by 'clip'": lambda h, data: (metadata(h, encoder="clip"), data),
    "not of format": lambda h, data: (metadata(h, version="2"), data),
    "no header: a list": lambda h, data: ([], data),
    "no header: texts": lambda h, data: ({"__metadata__": "", "embedding": ""}, data),
    "no header: more tensors": lambda h, data: ({**h, "x": h["embedding"]}, data),
    "shape [[[: deep": lambda h, data: (tensor(h, shape=json.loads("[" * 400 + "]" * 400)), data),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_file_is_named_and_counts_as_absent(
    bank: PromptBank, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    path = spoilt(bank, HOSTILE[fault])

    assert bank.read(PROMPT) is None
    assert not bank.has(PROMPT)
    assert bank.list() == ()
    assert f"{path} is not used" in caplog.text
    assert fault.partition(": ")[0] in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\0", b"{}", b"\xff" * 64, struct.pack("<Q", 2**63) + b"{}"),
        *(struct.pack("<Q", 100_000) + b"[" * 100_000, bytes(2 << 20)),
    ],
    ids=["empty", "a byte", "json", "ones", "huge header", "brackets", "too large"],
)
def test_rubbish_counts_as_absent(
    bank: PromptBank, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = bank.write(PROMPT, rows_of(1))
    path.write_bytes(content)

    assert not bank.has(PROMPT)
    assert f"{path} is not used" in caplog.text


def test_a_cut_anywhere_counts_as_absent(bank: PromptBank) -> None:
    path = bank.write(PROMPT, rows_of(2))
    content = path.read_bytes()

    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert not bank.has(PROMPT)


@pytest.mark.skipif(os.name != "posix", reason="POSIX file kinds")
def test_what_is_no_file_counts_as_absent(bank: PromptBank) -> None:
    path = bank.path(PROMPT)
    bank.folder.mkdir()

    os.mkfifo(path)
    assert not bank.has(PROMPT)
    path.unlink()
    path.mkdir()
    assert not bank.has(PROMPT)
    path.rmdir()
    path.symlink_to(path)
    assert not bank.has(PROMPT)


def test_a_hostile_file_is_replaced_by_writing(bank: PromptBank) -> None:
    spoilt(bank, HOSTILE["NaN"])

    bank.write(PROMPT, rows_of(4))

    assert [(one.prompt, one.rows) for one in bank.list()] == [(PROMPT, 4)]


def test_the_bank_needs_no_torch() -> None:
    code = "import sys, sdv2_host.models.prompt_bank; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
