"""Whatever happens to ranks, in any order: the ring is of those that live, and no other."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sdv2_host.clock import NS_PER_MS
from sdv2_host.stages.members import (
    BeginEpoch,
    GiveUp,
    Kill,
    LeaveOut,
    MemberLimits,
    Members,
    Order,
    Spawn,
)

LIMITS = MemberLimits()


class Show:
    """Members as a driver runs them, with the clock in hand. Ranks are numbered as they come."""

    def __init__(self, num_slots: int, num_joining: int = 0, join_wait_s: float = 0.0) -> None:
        self.now = 0
        self.members = Members(
            num_slots, now=0, num_joining=num_joining, join_wait_s=join_wait_s, limits=LIMITS
        )
        self.num_ranks = 0
        self.starting: set[int] = set()
        self.living: set[int] = set()
        self.ready: set[int] = set()
        self.said: list[Order] = []
        self.do(self.members.start())

    def do(self, orders: list[Order]) -> list[Order]:
        self.said += orders
        for order in orders:
            if isinstance(order, Spawn):
                self.come(order.slot)
            if isinstance(order, Kill):
                self.forget(order.rank)
        return orders

    def come(self, slot: int | None) -> int:
        rank, self.num_ranks = self.num_ranks, self.num_ranks + 1
        self.living.add(rank)
        self.starting.add(rank)
        self.do(self.members.came(rank, slot, self.now))
        return rank

    def forget(self, rank: int) -> None:
        for each in (self.living, self.starting, self.ready):
            each.discard(rank)

    def load(self, *ranks: int) -> list[Order]:
        self.ready |= set(ranks)
        self.starting -= set(ranks)
        return [order for rank in ranks for order in self.do(self.members.ready(rank, self.now))]

    def connect(self) -> None:
        for rank in self.members.members:
            self.do(self.members.epoch_ready(rank, self.members.epoch, self.now))

    def die(self, rank: int) -> list[Order]:
        self.forget(rank)
        return self.do(self.members.died(rank, "was killed", self.now))

    def wait(self, ms: int, silent: set[int] = frozenset()) -> list[Order]:  # type: ignore[assignment]
        """Everyone who lives gives signs of it, but for the silent."""
        orders = []
        for _ in range(max(1, ms // 100)):
            self.now += min(ms, 100) * NS_PER_MS
            for rank in self.living - silent:
                orders += self.do(self.members.pulse(rank, self.now, 0.0, 0.0))
            orders += self.do(self.members.tick(self.now))
        return orders


def running(num_slots: int) -> Show:
    show = Show(num_slots)
    show.load(*range(num_slots))
    show.connect()
    return show


def begun(orders: list[Order]) -> list[tuple[int, ...]]:
    return [order.ranks for order in orders if isinstance(order, BeginEpoch)]


def test_the_first_epoch_waits_for_all_devices() -> None:
    show = Show(3)

    assert show.load(0) == []
    assert show.load(2) == []
    assert show.load(1) == [BeginEpoch(1, (0, 1, 2))]


def test_a_member_that_dies_begins_an_epoch_of_the_others_in_the_same_moment() -> None:
    show = running(3)

    assert show.die(1) == [BeginEpoch(2, (0, 2))]


def test_its_device_is_started_again_and_taken_in_when_it_is_ready() -> None:
    show = running(2)
    show.die(0)
    show.connect()

    assert show.wait(200) == [Spawn(0)]
    assert show.load(2) == [BeginEpoch(3, (1, 2))]


def test_a_rank_that_comes_while_the_ring_is_formed_waits_until_it_is() -> None:
    show = running(2)
    show.die(0)
    show.wait(200)

    assert show.load(2) == []
    show.connect()
    assert begun(show.said)[-1] == (1, 2)


def test_a_silent_member_is_killed_after_a_second_and_its_death_is_no_news_then() -> None:
    show = running(2)

    orders = show.wait(1200, silent={0})

    assert [type(order) for order in orders[:2]] == [Kill, BeginEpoch]
    assert begun(orders) == [(1,)]
    assert show.die(0) == []


def test_nobody_is_silent_while_nobody_could_be_heard() -> None:
    show = running(2)
    said_ns = show.now

    show.now += 5000 * NS_PER_MS
    show.members.deaf_until(show.now)
    show.members.pulse(0, said_ns, 0.0, 0.0)  # of before, and only read now

    assert show.wait(900, silent={0, 1}) == []
    assert [type(order) for order in show.wait(200, silent={0})] == [Kill, BeginEpoch]


def test_a_member_that_is_stuck_is_killed_unless_its_work_always_takes_so_long() -> None:
    show = running(2)

    assert show.do(show.members.pulse(0, show.now, busy_s=30.0, longest_s=10.0)) == []
    orders = show.do(show.members.pulse(0, show.now, busy_s=30.0, longest_s=2.0))
    assert [type(order) for order in orders] == [Kill, BeginEpoch]


def test_one_that_loads_may_be_silent_for_long() -> None:
    show = Show(1)

    assert show.wait(80_000, silent={0}) == []
    assert Kill(0, "gave no sign of life for 90 s") in show.wait(20_000, silent={0})


def test_a_link_that_fails_without_a_death_connects_the_same_ranks_anew() -> None:
    show = running(3)

    assert show.do(show.members.link_failed(1, show.members.group, show.now)) == []
    assert show.wait(500) == [BeginEpoch(2, (0, 1, 2))]


def test_a_link_that_fails_for_a_death_makes_one_epoch() -> None:
    show = running(3)

    show.do(show.members.link_failed(1, show.members.group, show.now))
    show.die(2)
    show.connect()

    assert begun(show.wait(50)) == []
    assert begun(show.said) == [(0, 1, 2), (0, 1)]


def test_ranks_that_cannot_be_connected_are_left_out_one_by_one() -> None:
    show = running(2)

    for _ in range(LIMITS.max_deaths):
        show.do(show.members.link_failed(0, show.members.group, show.now))
        show.wait(400)

    assert begun(show.said)[-1] == (0,)
    assert Kill(1, "was cut off from its neighbours 5 times") in show.said


def test_a_ring_that_is_not_formed_in_time_loses_the_newest_that_has_not_begun() -> None:
    show = Show(3)
    show.load(0, 1, 2)
    show.do(show.members.epoch_ready(2, 1, show.now))

    orders = show.wait(301_000)

    assert Kill(1, "did not begin in 300 s") in orders
    assert begun(orders)[0] == (0, 2)


def test_a_device_that_dies_again_and_again_is_left_out_and_said_so_once() -> None:
    show = running(2)

    for _ in range(LIMITS.max_deaths):
        show.die(max(show.living))
        show.connect()
        show.wait(6000)
    show.wait(120_000)

    assert Counter(type(order) for order in show.said)[LeaveOut] == 1
    assert Counter(order.slot for order in show.said if isinstance(order, Spawn))[1] == 5
    assert show.members.members == (0,)


def test_the_last_death_is_the_end_whatever_is_being_loaded() -> None:
    show = running(2)
    show.die(0)
    show.wait(200)

    assert GiveUp("was killed") in show.die(1)
    assert show.load(*show.starting) == []


def test_machines_that_join_are_waited_for_but_not_for_ever() -> None:
    show = Show(1, num_joining=2, join_wait_s=10.0)
    joined = show.come(None)

    assert show.load(0, joined) == []
    assert begun(show.wait(11_000)) == [(0, joined)]
    late = show.come(None)
    show.connect()
    assert show.load(late) == [BeginEpoch(2, (0, joined, late))]


def test_a_session_has_an_epoch_of_its_own_and_the_same_group() -> None:
    show = running(2)

    assert show.do(show.members.begin_session(show.now)) == [BeginEpoch(2, (0, 1))]
    assert show.members.group == 1
    assert show.members.is_formed


class Happenings(RuleBasedStateMachine):
    """Anything in any order, against a driver that only counts who lives and who is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.show = Show(3)
        self.num_seen = 0

    @property
    def is_over(self) -> bool:
        return any(isinstance(order, GiveUp) for order in self.show.said)

    @precondition(lambda self: self.show.living)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        self.show.die(data.draw(st.sampled_from(sorted(self.show.living))))

    @precondition(lambda self: self.show.starting)
    @rule(data=st.data())
    def is_loaded(self, data: st.DataObject) -> None:
        self.show.load(data.draw(st.sampled_from(sorted(self.show.starting))))

    @rule()
    def joins(self) -> None:
        self.show.come(None)

    @rule(ms=st.integers(1, 3000), data=st.data())
    def time_passes(self, ms: int, data: st.DataObject) -> None:
        silent = (
            data.draw(st.sets(st.sampled_from(sorted(self.show.living))))
            if (self.show.living)
            else set()
        )
        self.show.wait(ms, silent)

    @precondition(lambda self: self.show.members.members)
    @rule(data=st.data(), is_stale=st.booleans())
    def a_link_fails(self, data: st.DataObject, is_stale: bool) -> None:
        rank = data.draw(st.sampled_from(self.show.members.members))
        group = self.show.members.group - is_stale
        self.show.do(self.show.members.link_failed(rank, group, self.show.now))

    @rule()
    def all_connect(self) -> None:
        self.show.connect()

    @rule()
    def a_session_begins(self) -> None:
        self.show.do(self.show.members.begin_session(self.show.now))

    @invariant()
    def the_ring_is_of_ranks_that_live_and_are_loaded(self) -> None:
        if not self.is_over:
            assert set(self.show.members.members) <= self.show.ready
        assert len(set(self.show.members.members)) == len(self.show.members.members)

    @invariant()
    def once_formed_it_is_of_all_of_them(self) -> None:
        if self.show.members.is_formed:
            assert set(self.show.members.members) == self.show.ready

    @invariant()
    def epochs_go_up(self) -> None:
        epochs = [order.epoch for order in self.show.said if isinstance(order, BeginEpoch)]

        assert epochs == sorted(set(epochs))
        assert all(order.ranks for order in self.show.said if isinstance(order, BeginEpoch))

    @invariant()
    def a_death_that_leaves_nobody_is_the_end_and_the_last_order(self) -> None:
        ends = [at for at, order in enumerate(self.show.said) if isinstance(order, GiveUp)]
        later = self.show.said[ends[0] + 1 :] if ends else []

        assert len(ends) <= 1
        assert begun(later) == []
        if begun(self.show.said) and not self.show.members.members:
            assert ends

    @invariant()
    def after_a_tick_none_is_due(self) -> None:
        self.show.do(self.show.members.tick(self.show.now))

        if not self.is_over:
            assert self.show.members.next_tick_ns(self.show.now) > self.show.now

    @invariant()
    def no_slot_is_started_without_end(self) -> None:
        recent = Counter(order.slot for order in self.show.said if isinstance(order, LeaveOut))

        assert all(count == 1 for count in recent.values())


TestHappenings = Happenings.TestCase
TestHappenings.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
