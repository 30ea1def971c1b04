"""Driver: the ring as the host sees it. Chunks are given, pictures come, whatever happens between.

It starts the ranks of this machine, lets those of others in, and makes true what `Members` decides
about who is in the ring; what the ring is fed is `RingStream`'s.

One thread, the driver's, owns all that. Others leave it their news in its inbox, as calls: the
threads of doors and links, those that watch processes, and the engine's, which takes pictures from
the `Outbox`.
"""

from __future__ import annotations

import logging
import threading
from functools import partial

from sdv2_host.clock import now_ns
from sdv2_host.errors import HostError, ProtocolError, WorkerError
from sdv2_host.stages.block_scheduler import PlaceTimes
from sdv2_host.stages.channel import Channel
from sdv2_host.stages.inbox import Inbox
from sdv2_host.stages.members import BeginEpoch, GiveUp, Kill, LeaveOut, Members, Order, Spawn
from sdv2_host.stages.messages import (
    MAX_FRAMES,
    Entry,
    EpochReady,
    Failed,
    FromRank,
    Hello,
    LinkFailed,
    Loaded,
    Picture,
    Progress,
    Pulse,
)
from sdv2_host.stages.outbox import Outbox, Styled
from sdv2_host.stages.ring_balance import RingBalance
from sdv2_host.stages.ring_plan import RankFacts, RingPlan
from sdv2_host.stages.ring_setup import GivenChunk, RingSetup
from sdv2_host.stages.ring_stream import RingStream
from sdv2_host.stages.roster import Roster, RosterNews
from sdv2_host.stages.standing import LastWords, Losses, Standing, shown
from sdv2_host.types import ProgressFn

log = logging.getLogger(__name__)

MS_PER_S = 1000.0
UNKNOWN_TIMES = PlaceTimes(0.0, 0.0, 0.0)
PROGRESS_S = 0.5
"""The host gives up on a start that is silent."""


class Driver:
    """Runs from the moment it is made until `close`. `give` and `take` are for one thread.

    Fields, of the driver's thread: `_members`, `_stream`, `_roster`; `_facts` of ranks that are
    loaded, and `_times` as they last told; `_names` of ranks, for a person; `_losses` devices that
    are not there; `_ends` why processes ended whose connection has not; `_last_words` what the
    rank that ended last told; `_says` of the plan.
    """

    def __init__(self, setup: RingSetup) -> None:
        """
        Raises:
            ConfigError: nothing can listen where others are to join.
        """
        self._setup = setup
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._formed = threading.Event()
        self._is_closed = False
        self._facts: dict[int, RankFacts] = {}
        self._times: dict[int, PlaceTimes] = {}
        self._names: dict[int, str] = {}
        self._losses = Losses()
        self._ends: dict[int, str] = {}
        self._last_words = LastWords()
        self._balance: RingBalance | None = None
        self._says = ""
        self._progress = ("waiting for devices to be ready", 0.0)
        self.standing = Standing()
        size = setup.config.size
        self._roster = Roster(
            setup,
            max_payload_bytes=MAX_FRAMES * size.num_pixels * 4,
            news=RosterNews(self._tell_hello, self._tell_message, self._tell_end, self._tell_exit),
        )
        self._stream = RingStream(
            self._roster, self._outbox, size, setup.num_replayed, setup.num_steps
        )
        joining = setup.joining
        self._members = Members(
            len(setup.devices),
            now=now_ns(),
            num_joining=joining.num_expected if joining is not None else 0,
            join_wait_s=joining.wait_s if joining is not None else 0.0,
            limits=setup.limits,
        )
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
        self._thread.start()

    # For the engine's thread.

    def wait_formed(self, progress: ProgressFn) -> None:
        """All devices are in the first epoch; until then `progress` is told how ranks load.

        Raises:
            HostError: no rank could be made ready.
        """
        while not self._formed.wait(PROGRESS_S):
            progress(*self._progress)
        self._outbox.check()

    def give(self, chunk: GivenChunk) -> None:
        """Its pictures are owed from here on."""
        self._outbox.owe()
        self._inbox.put(partial(self._stream.give, chunk))

    def take(self, most_owed: int) -> list[Styled]:
        """See `Outbox.take`."""
        return self._outbox.take(most_owed)

    def begin_session(self) -> None:
        """The next chunk is a session's first; whatever is owed is not any more."""
        session = self._outbox.begin_session()
        self._inbox.put(partial(self._restart, session))

    def most_in_flight(self, num_steps: int) -> int:
        """Chunks that the ring is fed at once."""
        plan = self._stream.plan
        return plan.most_in_flight(num_steps) if plan is not None else 1

    @property
    def plan(self) -> RingPlan | None:
        """Of the newest epoch; None = there was none."""
        return self._stream.plan

    @property
    def place_times(self) -> list[PlaceTimes]:
        """What the places of the newest epoch have last told, in their order."""
        plan = self._stream.plan
        ranks = plan.ranks if plan is not None else ()
        return [self._times.get(rank, UNKNOWN_TIMES) for rank in ranks]

    @property
    def pids(self) -> dict[int, int]:
        """Of the processes of this machine, by rank."""
        return self._roster.pids

    @property
    def join_address(self) -> tuple[str, int]:
        return self._roster.join_address

    def close(self) -> None:
        """No process and no connection is left."""
        self._inbox.put(self._stop)
        self._thread.join()

    # In other threads: news for the driver's.

    def _tell_hello(self, channel: Channel, hello: Hello) -> None:
        self._inbox.put(partial(self._admit, channel, hello))

    def _tell_message(self, rank: int, message: FromRank, payload: bytearray) -> None:
        self._inbox.put(partial(self._hear, rank, message, payload, now_ns()))

    def _tell_end(self, rank: int, reason: str) -> None:
        log.info("rank %d: %s", rank, reason)
        self._inbox.put(partial(self._lose_connection, rank))

    def _tell_exit(self, rank: int, reason: str) -> None:
        self._inbox.put(partial(self._explain, rank, reason))

    # In the driver's thread.

    def _run(self) -> None:
        try:
            self._do(self._members.start())
            while not self._is_closed:
                self._turn()
        except HostError as error:
            self._outbox.fail(error)
        except Exception as error:  # the edge of this thread: the engine's would wait for ever
            log.exception("the driver of the ring failed")
            self._outbox.fail(WorkerError(f"the driver of the ring failed: {error!r}"))
        finally:
            self._formed.set()
            self._roster.close()

    def _turn(self) -> None:
        """The next news, or what time brings once all news is heard: a pulse may be among it."""
        news, stood_still = self._inbox.turn(self._members.next_tick_ns(now_ns()))
        if stood_still:
            self._members.deaf_until(now_ns())
        if news is not None:
            news()
        else:
            self._do(self._members.tick(now_ns()))

    def _stop(self) -> None:
        self._is_closed = True

    def _do(self, orders: list[Order]) -> None:
        for order in orders:
            if isinstance(order, Spawn):
                self._spawn(order.slot)
            elif isinstance(order, Kill):
                self._forget(order.rank, order.reason)
            elif isinstance(order, BeginEpoch):
                self._begin(order)
            elif isinstance(order, LeaveOut):
                self._leave_out(order)
            elif isinstance(order, GiveUp):
                raise self._last_words.error(order.reason)

    def _spawn(self, slot: int) -> None:
        rank = self._roster.new_rank(slot)
        self._names[rank] = self._slot_name(slot)
        self._do(self._members.came(rank, slot, now_ns()))
        try:
            self._roster.start(rank)
        except OSError as error:
            self._lose(rank, f"could not be started: {error}")

    def _admit(self, channel: Channel, hello: Hello) -> None:
        rank = self._roster.admit(channel, hello)
        if rank is not None and rank not in self._names:
            self._names[rank] = f"{hello.device} of {hello.machine}"
            log.warning("%s joins", self._names[rank])
            self._do(self._members.came(rank, None, now_ns()))

    def _hear(self, rank: int, message: FromRank, payload: bytearray, now: int) -> None:
        """A connected rank has said this, at that time."""
        if not self._roster.has(rank):
            return
        try:
            self._follow(rank, message, payload, now)
        except ProtocolError as error:
            self._lose(rank, f"broke the protocol ({error})")

    def _follow(self, rank: int, message: FromRank, payload: bytearray, now: int) -> None:
        members = self._members
        if isinstance(message, Pulse):
            busy_s, longest_s = message.busy_ms / MS_PER_S, message.longest_ms / MS_PER_S
            self._times[rank] = PlaceTimes(message.encode_ms, message.block_ms, message.decode_ms)
            self._do(members.pulse(rank, now, busy_s, longest_s))
            self._balance_blocks(rank, message, now)
        elif isinstance(message, Picture):
            self._stream.came(rank, message, payload)
        elif isinstance(message, Entry):
            self._pass_on(rank, message, payload)
        elif isinstance(message, EpochReady):
            self._do(members.epoch_ready(rank, message.epoch, now))
            if members.is_formed:
                self._formed.set()
        elif isinstance(message, LinkFailed):
            log.info("%s: %s", self._names[rank], message.reason)
            self._do(members.link_failed(rank, message.group, now))
        elif isinstance(message, Progress):
            self._do(members.heard(rank, now))
            self._progress = (f"{self._names[rank]}: {message.text}", message.fraction)
        elif isinstance(message, Loaded):
            hello = self._roster.link(rank).hello
            self._facts[rank] = RankFacts(rank, hello.device, hello.machine, message)
            self._do(members.ready(rank, now))
        elif isinstance(message, Failed):
            self._last_words.fail(rank, message)
            is_final = rank not in self._facts and self._last_words.are_ours
            self._lose(rank, f"failed: {message.message}", is_final=is_final)
        else:
            raise ProtocolError(f"message {message.kind!r} from a rank that has come")

    def _balance_blocks(self, rank: int, pulse: Pulse, now: int) -> None:
        """Blocks move, if that has become worth it."""
        plan, balance = self._stream.plan, self._balance
        if plan is None or balance is None or not self._members.is_formed:
            return
        decision = balance.heard(rank, pulse, self._stream.num_steps, now)
        if decision is not None:
            self._stream.rebalance(decision.plan)
            self._says = shown(plan._replace(route=decision.plan, says=decision.says), self._facts)
            log.info("blocks move: %s", self._says)
            self._tell_standing()

    def _pass_on(self, rank: int, entry: Entry, payload: bytearray) -> None:
        """What one rank has set in the store of the group, the others learn."""
        if entry.group == self._members.group:
            for other in self._stream.ranks:
                if other != rank:
                    self._roster.post(other, entry, payload)

    def _lose_connection(self, rank: int) -> None:
        self._lose(rank, self._ends.pop(rank, "lost its connection"))

    def _lose(self, rank: int, reason: str, *, is_final: bool = False) -> None:
        """The rank is gone, if it was there."""
        self._forget(rank, reason)
        self._do(self._members.died(rank, reason, now_ns(), is_final=is_final))
        self._tell_standing()

    def _forget(self, rank: int, reason: str) -> None:
        """Nothing is left of it, and it is told of."""
        if self._roster.drop(rank):
            self._facts.pop(rank, None)
            self._times.pop(rank, None)
            self._losses.lose(self._names[rank], rank, reason)
            self._last_words.end(rank)
            log.warning("%s is lost, it %s", self._names[rank], reason)

    def _explain(self, rank: int, reason: str) -> None:
        """Its process has ended: that says more than the end of its connection. Which comes too,
        behind the last words of the process, and may have come before."""
        self._losses.explain(self._names[rank], rank, reason)
        if self._roster.has(rank):
            self._ends[rank] = reason
        else:
            self._lose(rank, reason)

    def _leave_out(self, order: LeaveOut) -> None:
        name = self._slot_name(order.slot)
        self._losses.leave_out(name, order.reason)
        log.warning("%s is left out, it %s", name, order.reason)

    def _begin(self, order: BeginEpoch) -> None:
        members = self._members
        if order.epoch != members.epoch:
            return  # a rank was lost meanwhile, and another one has begun
        plan = self._stream.plan
        if members.group == order.epoch or plan is None:
            facts = [self._facts[rank] for rank in order.ranks]
            plan = self._setup.plan(facts, self._stream.num_steps)
            self._says = shown(plan, self._facts)
            log.info("epoch %d: %s", order.epoch, self._says)
            self._balance = RingBalance(plan)
        self._losses.take_back(self._names[rank] for rank in order.ranks)
        self._stream.begin(order.epoch, members.group, plan)
        self._tell_standing()
        for spare in set(order.ranks).difference(plan.ranks):  # it has nobody to connect to
            self._do(members.epoch_ready(spare, order.epoch, now_ns()))

    def _restart(self, session: int) -> None:
        self._stream.restart(session)
        self._do(self._members.begin_session(now_ns()))

    def _tell_standing(self) -> None:
        plan = self._stream.plan
        num_devices = len(plan.ranks) if plan is not None else 0
        trouble = self._losses.text(num_devices)
        self.standing = Standing(
            num_devices, self._members.epoch, self._losses.num_lost, trouble, self._says
        )

    def _slot_name(self, slot: int) -> str:
        return f"device {slot + 1} ({self._setup.devices[slot]})"
