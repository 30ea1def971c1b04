"""Compiled models on disk: whole or not there, this user's alone, bounded."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from sdv2_host.errors import ModelError
from sdv2_host.models.compiled_store import ABANDONED_S, CONTENTS, CompiledStore, artifact_name

FACTS = {"torch": "2.13.0", "size": (256, 256), "sources": "ab"}

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")


@pytest.fixture
def store(tmp_path: Path) -> CompiledStore:
    return CompiledStore(tmp_path / "cache" / "compiled")


def make(store: CompiledStore, name: str, size_bytes: int = 10) -> None:
    with store.making(name, {"of": name}) as folder:
        (folder / "encode").write_bytes(b"x" * size_bytes)


def test_a_name_depends_on_every_fact() -> None:
    names = {artifact_name({**FACTS, key: "other"}) for key in FACTS}

    assert len(names | {artifact_name(FACTS)}) == len(FACTS) + 1


def test_a_name_does_not_depend_on_the_order_of_facts() -> None:
    assert artifact_name(FACTS) == artifact_name(dict(reversed(FACTS.items())))


def test_what_was_made_is_found_with_its_facts(store: CompiledStore) -> None:
    make(store, "a")

    found = store.find("a")

    assert found is not None
    assert found.facts == {"of": "a"}
    assert found.library("encode").read_bytes() == b"x" * 10


def test_nothing_is_found_where_nothing_was_made(store: CompiledStore) -> None:
    assert store.find("a") is None


def test_what_is_made_anew_replaces_what_was_there(store: CompiledStore) -> None:
    make(store, "a", 10)

    make(store, "a", 20)

    found = store.find("a")
    assert found is not None
    assert len(found.library("encode").read_bytes()) == 20


def test_an_error_on_the_way_leaves_nothing(store: CompiledStore) -> None:
    def fail(folder: Path) -> None:
        (folder / "encode").write_bytes(b"half")
        raise RuntimeError("the compiler failed")

    with pytest.raises(RuntimeError), store.making("a", {}) as folder:
        fail(folder)

    assert store.find("a") is None
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("file", ["encode", CONTENTS])
def test_a_damaged_one_is_told_and_deleted(
    store: CompiledStore, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    make(store, "a")
    (store.folder / "a" / file).write_bytes(b"damaged")

    found = store.find("a")

    assert found is None
    assert not (store.folder / "a").exists()
    assert f"{store.folder / 'a'} is damaged ({file}" in caplog.text


def test_one_that_lacks_a_file_is_damaged(
    store: CompiledStore, caplog: pytest.LogCaptureFixture
) -> None:
    make(store, "a")
    (store.folder / "a" / "encode").unlink()

    assert store.find("a") is None
    assert "is damaged" in caplog.text


@on_posix
def test_the_folder_is_this_users_alone(store: CompiledStore) -> None:
    make(store, "a")

    modes = [path.stat().st_mode & 0o777 for path in (store.folder, store.folder / "a")]

    assert modes == [0o700, 0o700]


@on_posix
@pytest.mark.parametrize("inner", ["", "a"])
def test_what_others_can_write_to_is_refused(store: CompiledStore, inner: str) -> None:
    make(store, "a")
    (store.folder / inner).chmod(0o770)

    with pytest.raises(ModelError, match="chmod 700"):
        store.find("a")


@on_posix
def test_a_link_in_the_folders_place_is_refused(store: CompiledStore, tmp_path: Path) -> None:
    make(store, "a")
    store.folder.rename(tmp_path / "elsewhere")
    store.folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ModelError, match="not a folder"):
        store.find("a")


def test_the_longest_unused_are_deleted_when_room_runs_out(
    tmp_path: Path,
) -> None:
    store = CompiledStore(tmp_path / "compiled", max_bytes=3000)
    for age, name in enumerate(["newest", "older", "oldest"]):
        make(store, name, 1000)
        used_s = time.time() - 100 * age
        os.utime(store.folder / name, (used_s, used_s))
    store.find("oldest")

    make(store, "another", 1000)

    assert {path.name for path in store.folder.iterdir()} == {"another", "oldest"}


def test_what_was_made_just_now_stays_even_where_it_has_no_room(
    tmp_path: Path,
) -> None:
    store = CompiledStore(tmp_path / "compiled", max_bytes=5)

    make(store, "a", 1000)

    assert store.find("a") is not None


def test_what_a_dead_process_left_unfinished_is_deleted_an_hour_later(
    store: CompiledStore,
) -> None:
    make(store, "a")
    old, young = (store.folder / f"b.making-{age}" for age in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
    an_hour_ago_s = time.time() - ABANDONED_S - 1
    os.utime(old, (an_hour_ago_s, an_hour_ago_s))

    deleted = store.prune(keep="a")

    assert deleted == [old.name]
    assert young.exists()
