"""Verifying reads every byte; removing frees what nothing else uses, and no file of the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdv2_host.models.catalogue import Role
from sdv2_host.models.imports import register_part
from sdv2_host.models.integrity import Health, verify_part
from sdv2_host.models.register import load_register
from sdv2_host.models.removal import plan_removal, remove
from sdv2_host.models.store import State, Store
from tests.models.hub import Fault, ToyHub
from tests.models.toys import (
    LARGE,
    SMALL,
    TOYS,
    VAE,
    NoteProgress,
    files_of,
    pull,
    puller,
)


def healths(store: Store, name: str) -> dict[str, Health]:
    register = load_register(store.models_dir)
    verdicts = [
        verdict
        for part in TOYS.entry(name).parts
        for verdict in verify_part(store, part, register, NoteProgress())
    ]
    return {verdict.name: verdict.health for verdict in verdicts}


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.resolve().write_bytes(content)


def states(store: Store, name: str) -> dict[str, State]:
    return {status.part.slot: status.state for status in store.statuses(TOYS.entry(name))}


def bytes_in(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def test_what_was_pulled_is_sound(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")

    assert set(healths(store, "wan-1.3b").values()) == {Health.OK}


@pytest.mark.parametrize("forget", [False, True], ids=["our record", "the hub's names"])
@pytest.mark.parametrize("index", range(5))
def test_one_flipped_bit_is_found_in_any_file(
    index: int, forget: bool, hub: ToyHub, store: Store
) -> None:
    pull(store, hub, "wan-1.3b")
    file = files_of("wan-1.3b")[index]
    path = store.find(file, load_register(store.models_dir))
    assert path is not None
    flip_a_byte(path)
    if forget:
        (store.models_dir / "models.json").unlink()

    found = healths(store, "wan-1.3b")

    assert found.pop(file.key) is Health.DAMAGED
    assert set(found.values()) == {Health.OK}


def test_a_cut_file_is_found_without_reading_it(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    path = store.locate("wan-1.3b", {Role.DIT}).dit
    assert path is not None
    path.resolve().write_bytes(SMALL[:-1])

    assert healths(store, "wan-1.3b")["toys/stream/small/model.pt"] is Health.DAMAGED


def test_what_was_never_pulled_is_missing(store: Store) -> None:
    assert set(healths(store, "wan-1.3b").values()) == {Health.MISSING}


def test_an_imported_file_must_keep_its_size(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"mine")
    register_part(store, "vae", mine)
    assert healths(store, "wan-1.3b")["imported VAE"] is Health.OK

    mine.write_bytes(b"mine, longer")

    assert healths(store, "wan-1.3b")["imported VAE"] is Health.DAMAGED


def test_an_imported_copy_of_a_known_file_is_checked_by_its_hash(
    store: Store, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.pth"
    mine.write_bytes(VAE)
    register_part(store, "vae", mine)
    assert healths(store, "wan-1.3b")["imported VAE"] is Health.OK

    flip_a_byte(mine)

    assert healths(store, "wan-1.3b")["imported VAE"] is Health.DAMAGED


def test_removing_the_only_model_leaves_nothing(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    before = bytes_in(store.cache.root)

    removal = plan_removal(store, TOYS.entry("wan-1.3b"))
    freed = remove(store, removal)

    assert freed == removal.size_bytes == before
    assert set(states(store, "wan-1.3b").values()) == {State.MISSING}
    assert [path.name for path in store.cache.root.iterdir()] == [".locks"]
    assert load_register(store.models_dir).pulled == {}


def test_what_another_model_uses_stays(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    pull(store, hub, "wan-14b")

    removal = plan_removal(store, TOYS.entry("wan-1.3b"))
    freed = remove(store, removal)

    assert freed == len(SMALL)
    assert {part.slot for part in removal.kept} == {"vae", "text", "tokenizer"}
    assert set(states(store, "wan-14b").values()) == {State.INSTALLED}
    assert set(healths(store, "wan-14b").values()) == {Health.OK}
    assert states(store, "wan-1.3b")["dit-1.3b"] is State.MISSING


def test_the_last_model_takes_the_shared_parts_with_it(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    pull(store, hub, "wan-14b")
    remove(store, plan_removal(store, TOYS.entry("wan-1.3b")))

    freed = remove(store, plan_removal(store, TOYS.entry("wan-14b")))

    assert freed > len(LARGE)
    assert bytes_in(store.cache.root) == 0


def test_a_model_that_is_only_begun_does_not_hold_shared_parts(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    one = puller(store, hub)
    hub.faults = [Fault(cut_after=1000)]
    with pytest.raises(Exception, match="run it again"):
        one.fetch(one.plan(files_of("wan-14b")).missing[0], NoteProgress())

    removal = plan_removal(store, TOYS.entry("wan-1.3b"))

    assert removal.kept == ()


def test_an_unfinished_download_is_removed_too(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    hub.faults = [Fault(cut_after=120_000)]
    with pytest.raises(Exception, match="run it again"):
        one.fetch(one.plan(files_of("wan-1.3b")).missing[0], NoteProgress())
    begun = bytes_in(store.cache.root)

    freed = remove(store, plan_removal(store, TOYS.entry("wan-1.3b")))

    assert freed == begun > 0
    assert load_register(store.models_dir).unfinished == {}


def test_an_imported_file_stays_and_only_its_registration_goes(
    store: Store, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.pt"
    mine.write_bytes(SMALL)
    register_part(store, "dit-1.3b", mine)

    removal = plan_removal(store, TOYS.entry("wan-1.3b"))
    freed = remove(store, removal)

    assert freed == 0
    assert [part.slot for part in removal.imported] == ["dit-1.3b"]
    assert mine.read_bytes() == SMALL
    assert load_register(store.models_dir).imported == {}


def test_other_files_of_the_cache_stay(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    repo = store.cache.repo_dir("toys/wan")
    other_commit = repo / "snapshots" / ("e" * 40)
    other_commit.mkdir()
    (repo / "blobs" / "other").write_bytes(b"of another tool")
    (other_commit / "other.bin").symlink_to("../../blobs/other")
    blob = (repo / "snapshots" / ("c" * 40) / "Wan2.1_VAE.pth").resolve()
    (other_commit / "Wan2.1_VAE.pth").symlink_to(f"../../blobs/{blob.name}")

    remove(store, plan_removal(store, TOYS.entry("wan-1.3b")))

    assert (other_commit / "other.bin").read_bytes() == b"of another tool"
    assert (other_commit / "Wan2.1_VAE.pth").read_bytes() == VAE


def test_there_is_nothing_to_remove_of_a_model_that_was_never_here(store: Store) -> None:
    assert plan_removal(store, TOYS.entry("wan-1.3b")).is_empty
    assert plan_removal(store, TOYS.entry("tiny")).is_empty
