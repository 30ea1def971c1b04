"""RingStream: the chunks of a session on their way through the ring of the newest epoch."""

from __future__ import annotations

import math

import numpy as np

from sdv2_host.errors import ProtocolError
from sdv2_host.stages.feed import Feed
from sdv2_host.stages.frame_bytes import pack_frames, pack_text
from sdv2_host.stages.messages import Begin, Chunk, ForgetTexts, Picture, Rebalance
from sdv2_host.stages.outbox import Outbox, Styled
from sdv2_host.stages.picture_bands import BandOfPictures, PictureBands
from sdv2_host.stages.ring_plan import RingPlan
from sdv2_host.stages.ring_setup import GivenChunk, RingText
from sdv2_host.stages.roster import Roster
from sdv2_host.stages.route import RoutePlan
from sdv2_host.types import Size
from sdv2_host.wan.bands import Rows, even_bands

MAX_TEXTS = 2
"""That a rank knows before it is told which to forget: of each it keeps keys and values of all its
blocks, and memory is planned for so many of the largest model's. What a chunk that may be fed again
needs it keeps, however many: a transition has a text for each chunk."""


class RingStream:
    """Used by the driver's thread.

    Fields: `_feed` per session; `_session` its number; `_plan`, `_epoch`, `_bands` and `_rows`
    that each rank decodes, of the newest epoch, `_plan` None = there was none; `num_steps` of the
    newest chunk.
    """

    def __init__(
        self, roster: Roster, outbox: Outbox, size: Size, num_replayed: int, num_steps: int
    ) -> None:
        self._roster = roster
        self._outbox = outbox
        self._size = size
        self._feed: Feed[GivenChunk] = Feed(num_replayed)
        self._session = 0
        self._epoch = 0
        self._plan: RingPlan | None = None
        self._rows: dict[int, Rows] = {}
        self._bands = PictureBands([])
        self.num_steps = num_steps

    @property
    def plan(self) -> RingPlan | None:
        return self._plan

    @property
    def ranks(self) -> tuple[int, ...]:
        """That take part in the newest epoch."""
        return self._plan.ranks if self._plan is not None else ()

    def give(self, chunk: GivenChunk) -> None:
        self._feed.give(chunk)
        self.num_steps = chunk.params.steps
        if self._plan is not None:  # as the entry does, when it comes to the chunk
            self._plan = self._plan._replace(route=self._plan.route.with_steps(self.num_steps))
        self._pump()

    def restart(self, session: int) -> None:
        """Nothing is owed any more. An epoch must begin before the next chunk."""
        self._session = session
        self._feed.restart()

    def begin(self, epoch: int, group: int, plan: RingPlan) -> None:
        """The ring is empty and in that order; it is fed what is owed, and the past before it."""
        self._epoch, self._plan = epoch, plan
        num_decoders = plan.route.num_decoders
        bands = even_bands(self._size.height, num_decoders)
        self._rows = dict(zip(plan.ranks[-num_decoders:], bands, strict=True))
        self._bands = PictureBands(bands)
        for place, rank in enumerate(plan.ranks):
            begin = Begin(
                epoch=epoch,
                group=group,
                place=place,
                plan=plan.route.to_json(),
                lanes=plan.lanes,
            )
            self._roster.post(rank, begin)
        self._feed.begin()
        self._pump()

    def rebalance(self, route: RoutePlan) -> None:
        """Blocks move, in the order of calls; the stream goes on."""
        assert self._plan is not None, "blocks of a ring that there is"
        self._plan = self._plan._replace(route=route)
        self._roster.post(self._plan.ranks[0], Rebalance(epoch=self._epoch, plan=route.to_json()))

    def came(self, rank: int, picture: Picture, payload: bytearray) -> None:
        """Pictures of one chunk, or a band of them; of an epoch that is over they are nothing.

        Raises:
            ProtocolError: they cannot be what is owed.
        """
        plan = self._plan
        if plan is None or picture.epoch != self._epoch:
            return
        if rank not in self._rows:
            raise ProtocolError("pictures come from a device that decodes none in this ring")
        try:
            # Of every band, before it counts: what is refused here is still owed by the next ring,
            # and it is the fault of this rank.
            num_frames = len(self._feed.awaited(picture.index).frames)
            band = _band(picture, payload, num_frames, self._rows[rank], self._size.width)
            whole = self._bands.add(band)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        if whole is not None and self._feed.came() is not None:
            self._outbox.put(self._session, Styled(whole.pixels, whole.notes))
        self._pump()

    def _pump(self) -> None:
        """The ring has as much to do as keeps it busy."""
        if self._plan is None:
            return
        for chunk in self._feed.due(self._plan.most_in_flight(self.num_steps)):
            for rank in self._plan.ranks:
                self._tell_text(rank, chunk.text)
            headers, payload = pack_frames(chunk.frames)
            message = Chunk(
                epoch=self._epoch, frames=headers, params=chunk.params, text_id=chunk.text.number
            )
            self._roster.post(self._plan.ranks[0], message, payload)

    def _tell_text(self, rank: int, text: RingText) -> None:
        """The rank knows the text, and not too many others."""
        link = self._roster.link(rank)
        if text.number in link.texts:
            return
        if len(link.texts) >= MAX_TEXTS:
            link.texts &= {chunk.text.number for chunk in self._feed.chunks}
            link.post(ForgetTexts(keep=tuple(link.texts)))
        link.texts.add(text.number)
        link.post(*pack_text(text.number, text.embedding_1LE))


def _band(
    picture: Picture, payload: bytearray, num_frames: int, rows: Rows, width: int
) -> BandOfPictures:
    """
    Raises:
        ProtocolError: not so many pictures of those rows, or not as many bytes.
    """
    count, *size = picture.shape
    if count != num_frames:
        raise ProtocolError(f"{count} pictures of {num_frames} frames")
    if picture.first_row != rows.first or size != [rows.num, width, 4]:
        raise ProtocolError(
            f"pictures of shape {picture.shape} from row {picture.first_row} on, expected rows "
            f"{rows.first} to {rows.last} of {width} pixels"
        )
    if math.prod(picture.shape) != len(payload):
        raise ProtocolError(f"pictures of shape {picture.shape} in {len(payload)} bytes")
    pixels = np.frombuffer(payload, np.uint8).reshape(picture.shape)
    return BandOfPictures(picture.index, rows, pixels, picture.notes)
