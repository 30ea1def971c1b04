"""One direction between two neighbours over gloo.

A message of gloo takes a round trip unless its receive is already posted. So the receiving end
keeps `depth` receives posted, each with its slot's tag, and the sending end sends from as many
slots without waiting for one before it begins the next.

Threads, all daemons: a receiving link has one, which waits for packets. A sending link has two: one
posts packets as they become ready, one waits for posted ones to be done, in order, and frees their
slots. All waiting for a peer happens there, so that whoever calls `send` can always be freed.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from torch.distributed import Work

from sdv2_host.stages.gloo_group import MAY_BE_SHORTER, NEVER, GlooGroup
from sdv2_host.stages.leaf_header import PacketError
from sdv2_host.stages.leaf_staging import LeafStaging, Packed
from sdv2_host.stages.packet import Leaf, LeafShape, Token
from sdv2_host.stages.transport import OnPacket, TransportError

OnFailure = Callable[[str], None]


class LinkSpec(NamedTuple):
    """What both ends of a link agree on, and with whom this end has it."""

    group: GlooGroup
    peer: int
    shape: LeafShape
    depth: int
    """Packets that may be under way: number n goes by slot n % depth, which is also its tag."""
    sends_whole_slots: bool = not MAY_BE_SHORTER
    """What is sent is as long as the receive, whatever the packet needs of it."""


class SendingLink:
    """The sending end. `send` is for one thread, `stop` for any."""

    def __init__(self, spec: LinkSpec, staging: LeafStaging, on_failure: OnFailure) -> None:
        self._spec = spec
        self._staging = staging
        self._on_failure = on_failure
        self._slots = [staging.buffer(spec.shape.num_bytes) for _ in range(spec.depth)]
        self._slot_index = 0
        self._changed = threading.Condition()
        self._num_free = spec.depth
        self._stopped = ""
        """Why nothing is sent any more; "" = it is."""
        self._packed: SimpleQueue[tuple[int, Packed] | None] = SimpleQueue()
        self._posted: SimpleQueue[tuple[Work, Packed] | None] = SimpleQueue()
        self.threads = (
            start_thread(self._post, f"stage link posts to {spec.peer}"),
            start_thread(self._free, f"stage link frees to {spec.peer}"),
        )

    def send(self, packet: Leaf | Token) -> None:
        """
        Raises:
            TransportError: stopped, before or while it waits for a free slot.
            PacketError: the packet is none of this link; it has taken no slot.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._num_free or self._stopped)
            if self._stopped:
                raise TransportError(self._stopped)
            # Slots become free in the order they were taken in, and only here one is taken.
            slot = self._slot_index
            buffer = self._slots[slot]
        packed = self._staging.pack_(packet, self._spec.shape, buffer)
        self._slot_index = (slot + 1) % self._spec.depth
        with self._changed:
            self._num_free -= 1
        self._packed.put((slot, packed))

    def stop(self, reason: str) -> None:
        """Nothing is sent any more. The threads end when the group is closed."""
        with self._changed:
            self._stopped = self._stopped or reason
            self._changed.notify_all()
        self._packed.put(None)
        self._posted.put(None)

    def free(self) -> None:
        """Its memory is; it was stopped, and its threads have ended."""
        with self._changed:
            self._slots.clear()
        self._packed, self._posted = SimpleQueue(), SimpleQueue()

    def _post(self) -> None:
        try:
            while (packed := self._packed.get()) is not None:
                slot, one = packed
                one.wait()
                whole = self._slots[slot]
                message = whole if self._spec.sends_whole_slots else whole[: one.num_bytes]
                self._posted.put((self._spec.group.send(message, self._spec.peer, slot), one))
                # Not kept while the next one is waited for: it may hold memory of a device.
                del one, packed
        except RuntimeError as error:
            self._on_failure(lost(self._spec.peer, error))

    def _free(self) -> None:
        try:
            while (posted := self._posted.get()) is not None:
                work, packed = posted
                work.wait(NEVER)
                packed.finish()
                del packed, posted
                with self._changed:
                    self._num_free += 1
                    self._changed.notify_all()
        except RuntimeError as error:
            self._on_failure(lost(self._spec.peer, error))


class ReceivingLink:
    """The receiving end. Packets go to `on_packet` in order, on the link's own thread."""

    def __init__(
        self, spec: LinkSpec, staging: LeafStaging, on_packet: OnPacket, on_failure: OnFailure
    ) -> None:
        self._spec = spec
        self._staging = staging
        self._on_packet = on_packet
        self._on_failure = on_failure
        self._slots = [staging.buffer(spec.shape.num_bytes) for _ in range(spec.depth)]
        self._is_stopped = threading.Event()
        self.threads = (start_thread(self._receive, f"stage link from {spec.peer}"),)

    def stop(self) -> None:
        """No packet is handed on any more. The thread ends when the group is closed."""
        self._is_stopped.set()

    def free(self) -> None:
        """Its memory is; it was stopped, and its thread has ended."""
        self._slots.clear()

    def _receive(self) -> None:
        try:
            works = deque(self._posted(slot) for slot in range(self._spec.depth))
            for slot in itertools.cycle(range(self._spec.depth)):
                works.popleft().wait(NEVER)
                packet = self._staging.unpack(self._slots[slot], self._spec.shape)
                works.append(self._posted(slot))
                if self._is_stopped.is_set():
                    return
                self._on_packet(packet)
        except PacketError as error:
            self._on_failure(f"place {self._spec.peer} sent what is no packet: {error}")
        except RuntimeError as error:
            self._on_failure(lost(self._spec.peer, error))

    def _posted(self, slot: int) -> Work:
        return self._spec.group.receive(self._slots[slot], self._spec.peer, slot)


def start_thread(body: Callable[[], None], name: str) -> threading.Thread:
    """A daemon: one that is stuck does not keep the process from ending."""
    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    return thread


def lost(peer: int, error: RuntimeError) -> str:
    """One line for what gloo says in several."""
    said = _SOURCE_LINE.sub("", str(error).splitlines()[0])
    return f"lost place {peer}: {said.partition('. This is typically')[0]}"


_SOURCE_LINE = re.compile(r"^\[\S*\] ")
"""Of gloo's, where the error arose."""
