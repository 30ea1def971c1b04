"""Importing: what a file is, its content says; what a folder holds, file by file."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path

import pytest

from sdv2_host.commands.models_import import import_path, slot_of
from sdv2_host.errors import ModelError
from sdv2_host.models.catalogue import CATALOGUE, Role
from sdv2_host.models.findings import Findings, search
from sdv2_host.models.hub_cache import HubCache
from sdv2_host.models.imports import copy_lora, lora_name
from sdv2_host.models.register import load_register
from sdv2_host.models.store import Store, list_loras

Shapes = Mapping[str, tuple[int, ...]]


def dit(dim: int, num_layers: int) -> Shapes:
    norms = {f"blocks.{i}.self_attn.norm_q.weight": (dim,) for i in range(num_layers)}
    return {"patch_embedding.weight": (dim, 16, 1, 2, 2), **norms}


BIAS = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
KINDS: dict[str, Shapes] = {
    "dit-1.3b": dit(1536, 30),
    "dit-14b": dit(5120, 40),
    "vae": {
        "encoder.conv1.weight": (96, 3, 3, 3, 3),
        "decoder.middle.0.residual.2.weight": (384, 384, 3, 3, 3),
    },
    "taehv": {
        "encoder.0.weight": (64, 3, 3, 3),
        "decoder.1.weight": (256, 16, 3, 3),
        "decoder.3.conv.0.weight": (256, 512, 3, 3),
    },
    "text": {"shared.weight": (256384, 4096), **{BIAS.format(i): (32, 64) for i in range(24)}},
    "lora": {"blocks.0.self_attn.q.lora_down.weight": (4, 1536)},
}


def write_weights(path: Path, shapes: Shapes) -> Path:
    """A safetensors file with these tensors, their values a hole in the file."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def write_tokenizer(folder: Path, num_words: int = 256_300) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    words = [["w", 0.0]] * num_words
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": words}}))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models", HubCache(tmp_path / "hub"))


def found(path: Path) -> Findings:
    return search(path, slot_of, CATALOGUE)


@pytest.mark.parametrize("slot", [slot for slot in KINDS if slot != "lora"])
def test_a_single_file_is_known_by_its_content(slot: str, tmp_path: Path) -> None:
    path = write_weights(tmp_path / "anything.bin", KINDS[slot])

    assert found(path) == Findings({slot: path}, (), {}, ())


def test_a_lora_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "ink.safetensors", KINDS["lora"])

    assert found(path) == Findings({}, (path,), {}, ())


def test_a_checkout_of_the_reference_gives_every_part_and_the_right_dit(tmp_path: Path) -> None:
    wan = tmp_path / "wan_models" / "Wan2.1-T2V-1.3B"
    wanted = {
        "dit-1.3b": tmp_path / "ckpts" / "wan_causal_dmd_v2v" / "model.pt",
        "dit-14b": tmp_path / "ckpts" / "wan_causal_dmd_v2v_14b" / "model.pt",
        "taehv": tmp_path / "ckpts" / "taew2_1.pth",
        "vae": wan / "Wan2.1_VAE.pth",
        "text": wan / "models_t5_umt5-xxl-enc-bf16.pth",
    }
    for slot, path in wanted.items():
        write_weights(path, KINDS[slot])
    write_weights(wan / "diffusion_pytorch_model.safetensors", KINDS["dit-1.3b"])
    tokenizer = write_tokenizer(wan / "google" / "umt5-xxl")
    write_tokenizer(tmp_path / "other" / "clip", num_words=49_408)

    findings = found(tmp_path)

    assert findings == Findings({**wanted, "tokenizer": tokenizer}, (), {}, ())


def test_a_diffusers_folder_with_shards_gives_the_index(tmp_path: Path) -> None:
    names = list(KINDS["dit-1.3b"])
    first, second = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    folder = tmp_path / "transformer"
    for shard, part in ((first, names[:10]), (second, names[10:])):
        write_weights(folder / shard, {name: KINDS["dit-1.3b"][name] for name in part})
    where = {name: first if name in names[:10] else second for name in names}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))

    assert found(tmp_path).parts == {"dit-1.3b": index}


def test_several_files_for_one_part_are_left_to_the_user(tmp_path: Path) -> None:
    choices = [
        write_weights(tmp_path / "diffusion_models" / name, KINDS["dit-1.3b"])
        for name in ("one.safetensors", "two.safetensors")
    ]

    findings = found(tmp_path)

    assert findings.parts == {}
    assert findings.unclear == {"dit-1.3b": tuple(choices)}


def test_two_copies_of_one_file_are_one(tmp_path: Path) -> None:
    first = write_weights(tmp_path / "a" / "Wan2.1_VAE.pth", KINDS["vae"])
    write_weights(tmp_path / "b" / "Wan2.1_VAE.pth", KINDS["vae"])

    assert found(tmp_path).parts == {"vae": first}


def test_files_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    vae = write_weights(tmp_path / "vae.safetensors", KINDS["vae"])
    (tmp_path / "evil.pt").write_bytes(b"\x80\x02cos\nsystem\n(S'touch /tmp/never'\ntR.")
    (tmp_path / "empty.pth").touch()

    findings = found(tmp_path)

    assert findings.parts == {"vae": vae}
    assert len(findings.refused) == 2
    assert all("evil.pt" in line or "empty.pth" in line for line in findings.refused)


def test_hidden_folders_are_not_searched(tmp_path: Path) -> None:
    write_weights(tmp_path / ".git" / "vae.safetensors", KINDS["vae"])

    assert found(tmp_path).parts == {}


@pytest.mark.parametrize("content", ["{}", "[]", '{"model": 3}', "[" * 9_000, "nothing"])
def test_what_is_no_tokenizer_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)

    assert found(tmp_path).parts == {}


def test_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        found(tmp_path / "none")


def test_a_file_of_another_model_is_an_error(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "x.safetensors", {"some.weight": (2, 2)})

    with pytest.raises(ModelError, match="none of the files"):
        found(path)


def test_an_imported_folder_is_registered_where_it_is(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    write_weights(mine / "wan_causal_dmd_v2v" / "model.pt", KINDS["dit-1.3b"])
    write_weights(mine / "Wan2.1_VAE.pth", KINDS["vae"])

    import_path(store, mine, loras=False)

    files = store.locate("wan-1.3b", {Role.DIT, Role.VAE})
    assert files.dit == mine / "wan_causal_dmd_v2v" / "model.pt"
    assert files.vae == mine / "Wan2.1_VAE.pth"
    assert {path.name for path in store.models_dir.iterdir()} == {"models.json", ".models.lock"}
    said = capsys.readouterr().out
    assert "wan-1.3b: still missing TAEHV, text encoder, tokenizer: sdv2-host models pull" in said
    assert "cannot be told" not in said


def test_a_dit_of_unknown_name_is_taken_with_a_warning(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_weights(tmp_path / "wan.safetensors", KINDS["dit-14b"])

    import_path(store, path, loras=False)

    assert load_register(store.models_dir).imported["dit-14b"].path == str(path)
    assert "plain Wan have the same shapes and give noise" in capsys.readouterr().out


def test_a_lora_is_copied_and_listed(store: Store, tmp_path: Path) -> None:
    path = write_weights(tmp_path / "my ink (v2).safetensors", KINDS["lora"])

    import_path(store, path, loras=False)
    path.unlink()

    assert list_loras(store.models_dir) == ("my-ink-v2",)


@pytest.mark.parametrize("loras", [False, True])
def test_loras_of_a_folder_are_copied_on_wish(loras: bool, store: Store, tmp_path: Path) -> None:
    write_weights(tmp_path / "loras" / "ink.safetensors", KINDS["lora"])

    import_path(store, tmp_path / "loras", loras=loras)

    assert list_loras(store.models_dir) == (("ink",) if loras else ())


def test_a_lora_is_not_copied_over_another_of_its_name(tmp_path: Path) -> None:
    first = write_weights(tmp_path / "a" / "ink.safetensors", KINDS["lora"])
    other = write_weights(tmp_path / "b" / "ink.safetensors", {"x.lora_down.weight": (2, 2)})
    copy_lora(tmp_path, first)

    assert copy_lora(tmp_path, first) == "ink"
    with pytest.raises(ModelError, match="another file of that name"):
        copy_lora(tmp_path, other)


def test_a_lora_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "ink.safetensors", KINDS["lora"])

    with pytest.raises(ModelError, match=r"to copy, 1\.0 kB free"):
        copy_lora(tmp_path, path, free_bytes=lambda folder: 1000)
    assert list_loras(tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "says"),
    [("ink.pt", "convert it first"), ("...safetensors", "rename it"), ("☃.safetensors", "rename")],
)
def test_a_lora_that_can_have_no_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        lora_name(Path("/somewhere") / name)
