"""The store by which places find each other: waits end by a value or by `cancel`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue

import pytest
import torch
from torch.distributed.distributed_c10d import PrefixStore

from sdv2_host.stages.channel_store import ChannelStore
from sdv2_host.stages.gloo_group import GlooGroup, Membership
from sdv2_host.stages.transport import TransportError
from tests.stages.gloo_places import DEADLINE_S, in_thread, joined_stores


def answer_of(ask: Callable[[], object]) -> SimpleQueue[object]:
    """What it returns or raises, on a thread."""
    answers: SimpleQueue[object] = SimpleQueue()

    def run() -> None:
        try:
            answers.put(ask())
        except TransportError as error:
            answers.put(str(error))

    in_thread(run)
    return answers


def nowhere(_: str, __: bytes) -> None:
    """Publishes to nobody."""


def test_what_one_place_sets_all_can_get() -> None:
    first, second = joined_stores(2)

    first.set("address", b"\x00\xff")

    assert [first.get("address"), second.get("address")] == [b"\x00\xff"] * 2
    assert second.check(["address"])
    assert not second.check(["address", "other"])


def test_a_get_waits_until_the_value_is_learnt() -> None:
    store = ChannelStore(nowhere)
    answer = answer_of(lambda: store.get("address"))

    store.learn("other", b"1")
    store.learn("address", b"2")

    assert answer.get(timeout=DEADLINE_S) == b"2"


def test_cancelling_ends_every_wait_now_and_later() -> None:
    store = ChannelStore(nowhere)
    answers = [
        answer_of(lambda: store.get("address")),
        answer_of(lambda: store.wait(["address"], timedelta(days=1))),
    ]

    store.cancel()

    told = [answer.get(timeout=DEADLINE_S) for answer in answers]
    assert told == ["the epoch is over"] * 2
    with pytest.raises(TransportError, match="the epoch is over"):
        store.get("address")


def test_a_wait_that_is_too_long_names_what_is_missing() -> None:
    store = ChannelStore(nowhere)
    store.learn("0/0", b"")

    with pytest.raises(TransportError, match="no place has set 0/1 in time"):
        store.wait(["0/0", "0/1"], timedelta(milliseconds=10))


def test_the_keys_of_an_epoch_are_not_seen_by_another() -> None:
    store = joined_stores(1)[0]
    epochs = [PrefixStore(f"ring/{epoch}", store) for epoch in (1, 2)]

    epochs[0].set("0", "here")

    assert epochs[0].get("0") == b"here"
    assert [epoch.check(["0"]) for epoch in epochs] == [True, False]


def test_gloo_meets_through_it() -> None:
    stores = joined_stores(3)
    groups = [GlooGroup(s, "g", Membership(i, 3, "127.0.0.1")) for i, s in enumerate(stores)]
    got = torch.zeros(2)

    threads = [in_thread(group.connect) for group in groups]
    work = groups[2].receive(got, 0, 5)
    groups[0].send(torch.ones(2), 2, 5).wait()
    work.wait()
    for thread, group in zip(threads, groups, strict=True):
        thread.join(DEADLINE_S)
        group.close()

    assert got.tolist() == [1.0, 1.0]


def test_cancelling_ends_gloos_wait_for_a_place_that_does_not_come() -> None:
    store = joined_stores(2)[0]
    group = GlooGroup(store, "g", Membership(0, 2, "127.0.0.1"))
    answer = answer_of(group.connect)
    assert store.get("g/0/0")

    store.cancel()

    assert answer.get(timeout=DEADLINE_S) == "the epoch is over"
