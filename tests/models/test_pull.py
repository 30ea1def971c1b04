"""Pulling from a hub: what is on disk afterwards, and what is asked of the network."""

from __future__ import annotations

import dataclasses
import errno
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdv2_host.errors import ModelError
from sdv2_host.models.catalogue import Role
from sdv2_host.models.download import free_bytes
from sdv2_host.models.hub import BrokenConnectionError, Hub, RemoteFile
from sdv2_host.models.hub_cache import HubCache
from sdv2_host.models.register import load_register
from sdv2_host.models.store import State, Store
from tests.models.hub import COMMIT, Fault, Hosted, ToyHub
from tests.models.toys import (
    CONTENTS,
    SMALL,
    TOYS,
    NoteProgress,
    files_of,
    no_wait,
    pull,
    puller,
    toy_store,
)

DIT = files_of("wan-1.3b")[0]
WORDS = next(file for file in files_of("wan-1.3b") if file.name == "tokenizer.json")


def partial_bytes(store: Store) -> int:
    return sum(path.stat().st_size for path in store.cache.root.rglob("*.incomplete"))


def test_pulled_files_are_the_hub_s_bytes_under_their_own_names(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")

    register = load_register(store.models_dir)
    for file in files_of("wan-1.3b"):
        path = store.find(file, register)
        assert path is not None
        assert path.read_bytes() == CONTENTS[file.key].content
        assert path.name == file.name
    assert partial_bytes(store) == 0
    assert register.unfinished == {}


def test_pulled_files_are_found_by_the_hub_s_own_library(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    code = (
        "import sys; from huggingface_hub import hf_hub_download as load;"
        "print(load(sys.argv[1], sys.argv[2], revision=sys.argv[3], cache_dir=sys.argv[4],"
        " local_files_only=True))"
    )

    args = (DIT.repo, DIT.path, COMMIT, str(store.cache.root))
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert Path(done.stdout.strip()).read_bytes() == SMALL


def test_a_second_pull_needs_no_network(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    hub.requests.clear()

    plan = puller(store, hub).plan(files_of("wan-1.3b"))

    assert plan.missing == ()
    assert plan.load_bytes == 0
    assert hub.requests == []


def test_the_second_model_loads_only_its_own_part(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")

    plan = puller(store, hub).plan(files_of("wan-14b"))

    assert [remote.file.key for remote in plan.missing] == ["toys/stream/large/model.pt"]


def test_progress_reaches_the_size_of_each_file(hub: ToyHub, store: Store) -> None:
    one, progress = puller(store, hub), NoteProgress()

    for remote in one.plan(files_of("wan-1.3b")).missing:
        one.fetch(remote, progress)

    assert len(progress.notes) == 5
    assert all(size == last for _, size, last in progress.notes)


def test_a_cut_download_goes_on_where_it_stopped(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    (remote,) = one.plan([DIT]).missing
    hub.faults = [Fault(cut_after=120_000)]
    with pytest.raises(BrokenConnectionError, match="run it again"):
        one.fetch(remote, NoteProgress())
    kept = partial_bytes(store)
    assert 0 < kept <= 120_000

    plan = puller(toy_store(store.models_dir.parent), hub).plan([DIT])
    path = one.fetch(plan.missing[0], NoteProgress())

    assert plan.load_bytes == len(SMALL) - kept
    assert [get.range for get in hub.gets()] == [None, f"bytes={kept}-"]
    assert path.read_bytes() == SMALL


def test_an_unfinished_download_shows_in_the_status(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    hub.faults = [Fault(cut_after=120_000)]
    with pytest.raises(BrokenConnectionError):
        one.fetch(one.plan([DIT]).missing[0], NoteProgress())

    status = store.statuses(TOYS.entry("wan-1.3b"))[0]

    assert status.state is State.UNFINISHED
    assert status.present_bytes == partial_bytes(store)


def test_broken_connections_are_taken_up_within_one_pull(hub: ToyHub, store: Store) -> None:
    waits: list[float] = []
    one = dataclasses.replace(puller(store, hub), waits_s=(1.0, 2.0), sleep=waits.append)
    hub.faults = [Fault(cut_after=100_000), Fault(status=503), Fault(cut_after=100_000)]

    path = one.fetch(one.plan([DIT]).missing[0], NoteProgress())

    assert path.read_bytes() == SMALL
    assert waits == [1.0, 2.0, 1.0]


def test_a_hub_that_never_answers_ends_the_pull(hub: ToyHub, store: Store) -> None:
    one = dataclasses.replace(puller(store, hub), waits_s=(1.0, 2.0), sleep=no_wait)
    hub.faults = [Fault(status=503)] * 9

    with pytest.raises(ModelError, match="busy"):
        one.fetch(one.plan([DIT]).missing[0], NoteProgress())
    assert len(hub.gets()) == 2


def test_a_server_that_cannot_skip_sends_it_all_again(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    hub.faults = [Fault(cut_after=120_000)]
    with pytest.raises(BrokenConnectionError):
        one.fetch(one.plan([DIT]).missing[0], NoteProgress())
    hub.faults = [Fault(ignores_range=True)]

    path = one.fetch(one.plan([DIT]).missing[0], NoteProgress())

    assert path.read_bytes() == SMALL


@pytest.mark.parametrize(
    "body",
    [SMALL[:-1] + b"x", b"\0" * len(SMALL), SMALL[:1000] + SMALL[:1000] + SMALL[2000:]],
    ids=["last byte", "zeros", "a repeated piece"],
)
def test_wrong_bytes_are_removed_and_named(body: bytes, hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    hub.faults = [Fault(body=body)]

    with pytest.raises(ModelError, match=r"toys/stream/small/model\.pt: .*wrong hash"):
        one.fetch(one.plan([DIT]).missing[0], NoteProgress())

    assert partial_bytes(store) == 0
    assert store.find(DIT, load_register(store.models_dir)) is None


def test_small_files_are_checked_by_git_s_hash(hub: ToyHub, store: Store) -> None:
    loose = WORDS.model_copy(update={"sha256": None})
    one = puller(store, hub)
    hub.faults = [Fault(body=CONTENTS[WORDS.key].content[:-1] + b" ")]

    with pytest.raises(ModelError, match="wrong hash"):
        one.fetch(one.plan([loose]).missing[0], NoteProgress())


def test_more_bytes_than_stated_are_not_kept(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    hub.faults = [Fault(body=SMALL * 3)]

    with pytest.raises(ModelError, match="more than the 300000 bytes"):
        one.fetch(one.plan([DIT]).missing[0], NoteProgress())

    assert partial_bytes(store) == 0


def test_fewer_bytes_than_stated_are_a_broken_connection(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    hub.faults = [Fault(body=SMALL[:1000])]

    with pytest.raises(BrokenConnectionError, match="1000 of 300000 bytes"):
        one.fetch(one.plan([DIT]).missing[0], NoteProgress())


def test_another_file_than_the_pinned_one_is_not_even_loaded(hub: ToyHub, store: Store) -> None:
    vae = files_of("wan-1.3b")[1]
    hub.files[vae.key] = Hosted(b"something else")

    with pytest.raises(ModelError, match="another file than the known one"):
        puller(store, hub).plan([vae])

    assert hub.gets() == []


@pytest.mark.parametrize("free", [0, 300_000, 300_000 + (255 << 20)])
def test_a_full_disk_is_told_before_anything_is_loaded(
    free: int, hub: ToyHub, store: Store
) -> None:
    one = dataclasses.replace(puller(store, hub), free_bytes=lambda folder: free)
    plan = one.plan([DIT])

    with pytest.raises(ModelError, match=r"300\.0 kB to load and .* free at .*HF_HOME"):
        one.check_space(plan.load_bytes)

    assert hub.gets() == []


class FillingHub(Hub):
    """Its bytes come while somebody else fills the disk."""

    @contextmanager
    def read(self, remote: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield start, iter(())


def test_a_disk_that_fills_up_meanwhile_is_named(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    (remote,) = one.plan([DIT]).missing
    filling = dataclasses.replace(one, hub=FillingHub(hub.address))

    with pytest.raises(ModelError, match=r"disk of .* is full: free some space and run it again"):
        filling.fetch(remote, NoteProgress())


def test_a_cache_that_cannot_be_written_is_named(hub: ToyHub, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file, where a folder should be")
    one = puller(toy_store(tmp_path), hub)

    with pytest.raises(ModelError, match="cannot write below"):
        one.fetch(one.plan([DIT]).missing[0], NoteProgress())


def test_a_disk_with_room_is_enough() -> None:
    assert free_bytes(Path("/nowhere/at/all")) > 0


def test_a_blob_that_another_revision_brought_is_used(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    hub.commit = "d" * 40
    moved = DIT.model_copy(update={"revision": "main"})
    hub.requests.clear()
    one = puller(store, hub)

    path = one.fetch(one.plan([moved], ask_always=True).missing[0], NoteProgress())

    assert "d" * 40 in path.parts
    assert path.read_bytes() == SMALL
    assert hub.gets() == []
    assert store.cache.commit_of(DIT.repo, "main") == "d" * 40


def test_a_moved_revision_is_loaded_and_used_from_then_on(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    hub.commit, hub.files[DIT.key] = "d" * 40, Hosted(b"newer weights")
    moved = DIT.model_copy(update={"revision": "main"})
    one = puller(store, hub)

    one.fetch(one.plan([moved], ask_always=True).missing[0], NoteProgress())

    dit = store.locate("wan-1.3b", {Role.DIT}).dit
    assert dit is not None
    assert dit.read_bytes() == b"newer weights"
    assert one.plan([moved], ask_always=True).missing == ()
    assert one.plan([DIT]).missing == ()


def test_a_truncated_file_is_loaded_again(hub: ToyHub, store: Store) -> None:
    pull(store, hub, "wan-1.3b")
    path = store.locate("wan-1.3b", {Role.DIT}).dit
    assert path is not None
    path.resolve().write_bytes(SMALL[:100])
    with pytest.raises(ModelError, match=r"damaged, it has 100 bytes.*models pull wan-1\.3b"):
        store.locate("wan-1.3b", {Role.DIT})

    pull(store, hub, "wan-1.3b")

    assert path.read_bytes() == SMALL


def test_two_pulls_of_one_file_do_not_meet(hub: ToyHub, store: Store) -> None:
    one = puller(store, hub)
    (remote,) = one.plan([DIT]).missing
    with one._lock(remote), pytest.raises(ModelError, match="another process is loading it"):
        one.fetch(remote, NoteProgress())


def test_where_the_disk_has_no_links_the_file_itself_is_in_place(
    hub: ToyHub, tmp_path: Path
) -> None:
    class Linkless(HubCache):
        __slots__ = ()

        def link(self, pointer: Path, blob: Path) -> None:
            raise OSError("no links here")

    store = Store(tmp_path / "models", Linkless(tmp_path / "hub"), TOYS)

    pull(store, hub, "wan-1.3b")

    path = store.locate("wan-1.3b", {Role.DIT}).dit
    assert path is not None
    assert not path.is_symlink()
    assert path.read_bytes() == SMALL
    assert puller(store, hub).plan(files_of("wan-1.3b")).missing == ()
