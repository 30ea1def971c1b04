"""The register's file and the catalogue: read back as written, hostile ones refused."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdv2_host.errors import ModelError
from sdv2_host.models.catalogue import CATALOGUE, HubFile, Role, read_catalogue
from sdv2_host.models.register import (
    LOCK_NAME,
    ImportedPart,
    PulledFile,
    Register,
    load_register,
    save_register,
    update_register,
)
from tests.models.toys import (
    TOYS,
)

# The register's file


def test_the_register_reads_back_what_was_written(tmp_path: Path) -> None:
    register = (
        Register()
        .with_pulled("a/b/c", PulledFile(commit="c" * 40, size_bytes=3, sha256="f" * 64))
        .with_started("a/b/d", "a" * 40)
        .with_imported("vae", ImportedPart(path=str(tmp_path), size_bytes=None))
    )

    save_register(tmp_path, register)

    assert load_register(tmp_path) == register
    assert [path.name for path in tmp_path.iterdir()] == ["models.json"]


def test_of_changes_at_the_same_time_none_is_lost(tmp_path: Path) -> None:
    def change(name: str) -> None:
        for index in range(20):
            update_register(
                tmp_path, partial(Register.with_started, key=f"{name}/{index}", blob="a" * 40)
            )

    threads = [threading.Thread(target=change, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(load_register(tmp_path).unfinished) == 60


def test_a_register_that_stays_in_use_is_told(tmp_path: Path) -> None:
    with (
        WeakFileLock(tmp_path / LOCK_NAME),
        pytest.raises(ModelError, match=r"models\.json: in use by another process"),
    ):
        update_register(tmp_path, lambda register: register, wait_s=0.05)


def test_there_is_an_empty_register_before_the_first_pull(tmp_path: Path) -> None:
    assert load_register(tmp_path) == Register()


PULLED = {"commit": "c" * 40, "size_bytes": 3, "sha256": "f" * 64}
HOSTILE = {
    "no text": b"",
    "no json": b"\x80\x02ccposix\nsystem\n",
    "not utf-8": b'{"format": "\xff"}',
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "another format": b'{"format": "other"}',
    "a later version": b'{"version": 2}',
    "an unknown key": b'{"more": 1}',
    "a commit that is a path": json.dumps(
        {"pulled": {"a/b/c": {**PULLED, "commit": "../../../etc"}}}
    ).encode(),
    "a blob that is a path": b'{"unfinished": {"a/b/c": "../../x"}}',
    "a negative size": json.dumps({"pulled": {"a": {**PULLED, "size_bytes": -1}}}).encode(),
    "a relative path": b'{"imported": {"vae": {"path": "../x"}}}',
    "a zero byte": b'{"imported": {"vae": {"path": "/x\\u0000y"}}}',
    "a slot with a slash": b'{"imported": {"../vae": {"path": "/x"}}}',
    "too large": b" " * 1_000_001,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_register_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_bytes(content)

    with pytest.raises(ModelError, match=r"models\.json: ") as caught:
        load_register(tmp_path)

    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("/x"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["format", "version", "pulled", "imported", "vae", "path", "commit", "a/b"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def read_or_refused(folder: Path) -> bool:
    """Whether the register is read; if not, it must be refused as the user's error."""
    try:
        load_register(folder)
    except ModelError:
        return False
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_in_the_register_are_read_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "models.json").write_bytes(content)

    assert read_or_refused(folder) in (True, False)


# The catalogue


@pytest.mark.parametrize(
    "path",
    [
        "../up",
        "a/../../b",
        "/etc/passwd",
        "a//b",
        ".",
        "..",
        "a/./b",
        "a\\b",
        "c:/x",
        "a\0b",
        "",
        "~/x",
    ],
)
def test_a_catalogue_s_paths_stay_inside(path: str) -> None:
    with pytest.raises(ValueError, match="relative path"):
        HubFile(repo="a/b", path=path, size_bytes=0)


@pytest.mark.parametrize("repo", ["a", "../b", "a/..", "a/b/c", "a/b\n", "/a/b", "a b/c"])
def test_a_catalogue_s_repositories_are_names(repo: str) -> None:
    with pytest.raises(ValueError, match="repo"):
        HubFile(repo=repo, path="x", size_bytes=0)


def test_the_catalogue_names_every_engine_with_weights_and_shares_all_but_the_dit() -> None:
    small, large = CATALOGUE.entry("wan-1.3b"), CATALOGUE.entry("wan-14b")

    shared = {part.slot for part in small.parts} & {part.slot for part in large.parts}

    assert shared == {"vae", "taehv", "text", "tokenizer"}
    assert {part.role for part in small.parts} == set(Role)
    assert all(
        file.sha256 for part in small.parts if part.role is not Role.DIT for file in part.files
    )


def test_a_catalogue_reads_back_from_its_json(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    path.write_text(TOYS.model_dump_json())

    assert read_catalogue(path) == TOYS


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"entries": [{"name": "../x"}]}'])
def test_what_is_no_catalogue_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.json"
    path.write_text(content)

    with pytest.raises(ModelError, match="not a catalogue"):
        read_catalogue(path)
