"""What a hub may answer beside the bytes: refusals, silence, nonsense, redirects."""

from __future__ import annotations

import dataclasses

import pytest

from sdv2_host.errors import ModelError
from sdv2_host.models.download import Puller
from sdv2_host.models.hub import BrokenConnectionError, Hub
from sdv2_host.models.store import Store
from tests.models.hub import Fault, ToyHub
from tests.models.toys import (
    NoteProgress,
    files_of,
    puller,
)

DIT = files_of("wan-1.3b")[0]
WORDS = next(file for file in files_of("wan-1.3b") if file.name == "tokenizer.json")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=401, error_code="GatedRepo"), "hf auth login"),
        (Fault(status=403, error_code="GatedRepo"), "hf auth login"),
        (Fault(status=403), "hf auth login"),
        (Fault(status=401, error_code="RepoNotFound"), "hf auth login"),
        (Fault(status=404, error_code="EntryNotFound"), r"does not have it .*HTTP 404"),
        (Fault(status=404, error_code="RevisionNotFound"), "--revision main"),
        (Fault(status=500), "try later"),
        (Fault(status=429), "try later"),
        (Fault(status=418), r"refuses \(HTTP 418\)"),
    ],
)
def test_refusals_say_what_to_do(fault: Fault, says: str, hub: ToyHub, store: Store) -> None:
    hub.head_faults = [fault]

    with pytest.raises(ModelError, match=says) as caught:
        puller(store, hub).plan([DIT])

    assert "\n" not in str(caught.value)


def test_no_network_is_one_line(store: Store) -> None:
    closed = Puller(store, Hub("http://127.0.0.1:9"), waits_s=())

    with pytest.raises(ModelError, match=r"no connection to http://127\.0\.0\.1:9") as caught:
        closed.plan([DIT])

    assert "\n" not in str(caught.value)


def test_a_server_that_falls_silent_is_given_up(hub: ToyHub, store: Store) -> None:
    quick = Hub(hub.address, timeout_s=0.3)
    one = dataclasses.replace(puller(store, hub), hub=quick)
    hub.faults = [Fault(cut_after=100_000, stalls=True)]

    with pytest.raises(BrokenConnectionError, match="run it again"):
        one.fetch(one.plan([DIT]).missing[0], NoteProgress())

    assert list(store.cache.root.rglob("*.incomplete")) != []


def test_the_token_goes_to_the_hub_and_not_to_the_cdn(hub: ToyHub, store: Store) -> None:
    hub.token = "hf_secret"
    one = puller(store, hub, token="hf_secret")

    one.fetch(one.plan([DIT]).missing[0], NoteProgress())

    asked = [one for one in hub.requests if "/resolve/" in one.path]
    assert {one.authorization for one in asked} == {"Bearer hf_secret"}
    assert [one.authorization for one in hub.gets()] == [None]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Repo-Commit": "../../../../etc"},
        {"X-Repo-Commit": ""},
        {"X-Linked-Etag": '"../../../etc/passwd"'},
        {"X-Linked-Etag": '"' + "a" * 63 + '/"'},
        {"X-Linked-Size": "-5"},
        {"X-Linked-Size": "many"},
    ],
)
def test_what_a_server_says_never_becomes_a_path(
    headers: dict[str, str], hub: ToyHub, store: Store
) -> None:
    hub.head_headers = headers

    with pytest.raises(ModelError, match="which a hub does"):
        puller(store, hub).plan([DIT])

    assert not store.cache.root.exists()
