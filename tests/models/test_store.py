"""What is installed, from names and sizes alone; and the folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sdv2_host.errors import ConfigError, ModelError
from sdv2_host.models.catalogue import Role, size_text
from sdv2_host.models.imports import register_part
from sdv2_host.models.store import State, Store, list_loras, locate, lora_dir, models_dir
from tests.models.hub import COMMIT, ToyHub
from tests.models.toys import (
    SMALL,
    TOYS,
    VAE,
    NoteProgress,
    files_of,
    pull,
    puller,
)

BOTH = {Role.DIT, Role.VAE}


def test_located_parts_are_the_pulled_files(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")

    files = store.locate("wan-1.3b", BOTH)

    assert files.dit is not None
    assert files.dit.read_bytes() == SMALL
    assert files.vae is not None
    assert files.vae.read_bytes() == VAE
    assert files.taehv is None
    assert files.tokenizer is not None
    assert sorted(path.name for path in files.tokenizer.iterdir()) == [
        "spiece.model",
        "tokenizer.json",
    ]


def test_what_is_not_needed_may_be_missing(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    for remote in one.plan(files_of("wan-1.3b")[:2]).missing:
        one.fetch(remote, NoteProgress())

    files = store.locate("wan-1.3b", BOTH)

    assert files.text is None
    assert files.tokenizer is None


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({Role.DIT}, "wan-1.3b: the DiT is not installed (300.0 kB): run sdv2-host models pull "),
        (BOTH, "wan-1.3b: the DiT and the VAE are not installed (400.0 kB): run sdv2-host "),
        ({Role.TEXT, Role.TOKENIZER}, "wan-1.3b: the text encoder and the tokenizer are not"),
    ],
)
def test_what_is_missing_is_named_with_size_and_command(
    needs: set[Role], says: str, store: Store
) -> None:
    with pytest.raises(ModelError) as caught:
        store.locate("wan-1.3b", needs)

    assert str(caught.value).startswith(says)


def test_a_missing_real_model_is_named_without_network_or_cache(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from sdv2_host.models.catalogue import Role;"
        "from sdv2_host.models.store import locate\n"
        "try: locate('wan-14b', pathlib.Path(sys.argv[1]), needs={Role.DIT})\n"
        "except Exception as error: print(error)\n"
        "print('torch' in sys.modules, 'httpx2' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={"HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [
        "wan-14b: the DiT is not installed (28.6 GB): run sdv2-host models pull wan-14b",
        "False False",
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_model_has_no_files(tmp_path: Path) -> None:
    assert locate("tiny", tmp_path, needs={Role.DIT}) == (None,) * 5


def test_an_unknown_model_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"known are tiny, wan-1\.3b, wan-14b"):
        store.locate("wan-3b", BOTH)


def test_an_imported_part_comes_before_a_pulled_one(
    hub: ToyHub, store: Store, tmp_path: Path
) -> None:
    pull(store, hub, "wan-1.3b")
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"mine")

    register_part(store, "vae", mine)

    assert store.locate("wan-1.3b", BOTH).vae == mine
    assert store.statuses(TOYS.entry("wan-14b"))[1].state is State.IMPORTED


def test_an_imported_part_that_is_gone_is_not_replaced_in_silence(
    hub: ToyHub, store: Store, tmp_path: Path
) -> None:
    pull(store, hub, "wan-1.3b")
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"mine")
    register_part(store, "vae", mine)
    mine.unlink()

    with pytest.raises(ModelError, match=r"imported VAE is not at .*mine\.pth any more"):
        store.locate("wan-1.3b", BOTH)
    assert store.locate("wan-1.3b", {Role.DIT}).vae is None


def test_a_file_that_another_tool_pulled_at_another_commit_is_found_by_its_hash(
    hub: ToyHub, store: Store
) -> None:
    pull(store, hub, "wan-1.3b")
    snapshots = store.cache.repo_dir("toys/wan") / "snapshots"
    (snapshots / COMMIT).rename(snapshots / ("e" * 40))
    (store.models_dir / "models.json").unlink()

    vae = store.locate("wan-1.3b", {Role.VAE}).vae

    assert vae is not None
    assert "e" * 40 in vae.parts


def test_a_tokenizer_without_all_its_files_is_not_installed(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    folder = store.locate("wan-1.3b", {Role.TOKENIZER}).tokenizer
    assert folder is not None
    (folder / "spiece.model").unlink()

    with pytest.raises(ModelError, match="the tokenizer is not installed"):
        store.locate("wan-1.3b", {Role.TOKENIZER})


def test_loras_are_the_safetensors_files_with_plain_names(tmp_path: Path) -> None:
    folder = lora_dir(tmp_path)
    folder.mkdir()
    for name in ("ink.safetensors", "Ghibli_v1.2.safetensors", "a b.safetensors", "ink.pt"):
        (folder / name).touch()
    (folder / ".hidden.safetensors").touch()
    (folder / "folder.safetensors").mkdir()

    assert list_loras(tmp_path) == ("Ghibli_v1.2", "ink")


def test_without_a_folder_there_are_no_loras(tmp_path: Path) -> None:
    assert list_loras(tmp_path / "none") == ()


def test_the_models_folder_is_the_one_wanted_and_absolute(tmp_path: Path) -> None:
    assert models_dir(str(tmp_path)) == tmp_path
    assert models_dir("here") == Path.cwd() / "here"
    assert models_dir("").is_absolute()
    assert "sdv2-host" in models_dir("").parts


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (949, "949 bytes"), (22_642_902, "22.6 MB"), (5_676_282_858, "5.7 GB")],
)
def test_sizes_read_as_the_hub_states_them(size: int, text: str) -> None:
    assert size_text(size) == text
