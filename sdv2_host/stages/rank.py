"""Rank: all that one device computes for a stream that runs over several.

Everything comes in by calls, from one thread, and goes out by a `Transport` and a callback: it
knows no process, no socket and no clock. `sdv2_host.stages.rank_process` is its process.

# L text tokens  E text width
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import torch
from torch import Tensor

from sdv2_host.gpu.attention_choice import AS_TORCH_CHOOSES, AttentionKernel
from sdv2_host.gpu.wan_models import NoEncoder
from sdv2_host.params import Params
from sdv2_host.stages.calls import Assembler, Call, leaves_of
from sdv2_host.stages.entry import Entry
from sdv2_host.stages.exit import DECODE, Exit, Pictures
from sdv2_host.stages.leaf_header import PacketError
from sdv2_host.stages.moves import moves
from sdv2_host.stages.packet import Leaf, LeafShape, Token
from sdv2_host.stages.place import BLOCKS, Place
from sdv2_host.stages.place_kv import BlockState, PlaceKV
from sdv2_host.stages.place_text import PlaceTexts
from sdv2_host.stages.rank_models import Ends
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.stage_times import StageTimes, marks_of
from sdv2_host.stages.transport import Transport
from sdv2_host.stages.work import Route
from sdv2_host.stream.denoise import NoiseFn, keyed_noise
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.spec import CacheMode, StreamSpec
from sdv2_host.types import Frame
from sdv2_host.wan.bands import Rows, even_bands
from sdv2_host.wan.dims import LATENT_STRIDE_PX
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.streaming_vae import BandedVAE

ENCODE = "encode"


class RankModels(Protocol):
    """Weights of a rank: of the DiT's blocks those that were brought."""

    @property
    def dit(self) -> CausalWanModel: ...

    @property
    def vae(self) -> BandedVAE: ...

    def bring_(self, blocks: Iterable[int]) -> None:
        """Those blocks have their weights on the device from now on."""

    def drop_(self, blocks: Iterable[int]) -> None:
        """Those blocks give their memory back."""

    def hold_vae_(self, ends: Ends) -> None:
        """Of the autoencoder these halves have their weights, and no other."""


class Rank:
    """One device's part. `begin`, then `attach`, then the rest, for one epoch after another."""

    def __init__(
        self,
        models: RankModels,
        spec: StreamSpec,
        on_pictures: Callable[[Pictures], None],
        noise: NoiseFn = keyed_noise,
        attention: AttentionKernel = AS_TORCH_CHOOSES,
    ) -> None:
        assert spec.cache is CacheMode.ROLLING, "the reference's cache stays on one device"
        self._models = models
        self._spec = spec
        self._on_pictures = on_pictures
        self._attention = attention
        self._times = StageTimes(marks_of(spec.device))
        self._rows: Rows | None = None
        self._pipeline = StreamPipeline(models.dit, models.vae, NoEncoder(), spec, noise=noise)
        self._texts = PlaceTexts(models.dit)
        self._has: set[int] = set()
        self._held: deque[Leaf | Token] = deque()
        self._entry: Entry | None = None
        self._exit: Exit | None = None
        self._begun: Place | None = None

    @property
    def forward_shape(self) -> LeafShape:
        """Of the links from place to place."""
        dims, spec = self._models.dit.dims, self._spec
        tokens = dims.tokens_per_frame(spec.height_px, spec.width_px)
        return LeafShape(self._latent_shape, (tokens, dims.dim), spec.dtype)

    @property
    def back_shape(self) -> LeafShape:
        """Of a ring's link from the exit to the entry."""
        return LeafShape(self._latent_shape, None, self._spec.dtype)

    @property
    def _latent_shape(self) -> tuple[int, int, int]:
        spec = self._spec
        sides = (side // LATENT_STRIDE_PX for side in (spec.height_px, spec.width_px))
        height, width = sides
        return (self._models.dit.dims.in_dim, height, width)

    @torch.inference_mode()
    def begin(self, epoch: int, place: int, plan: RoutePlan, num_lanes: int) -> None:
        """The stream begins anew, with this device in that place; what was in flight is gone.

        What the epoch before held is given back first: there may be no room for both.

        Raises:
            ValueError: the plan has more decoders than the picture has rows of latents.
        """
        spec, models = self._spec, self._models
        self._entry = self._exit = self._begun = None
        band = plan.band(place)
        rows = None if band is None else even_bands(spec.height_px, plan.num_decoders)[band]
        if rows != self._rows:
            # The old ones are of others.
            self._rows, self._times = rows, StageTimes(marks_of(spec.device))
        self._epoch = epoch
        self._place_number = place
        self._assembler = Assembler(self._texts.__getitem__)
        self._held.clear()
        blocks = plan.segment(place).blocks
        models.drop_(self._has.difference(blocks))
        models.hold_vae_(Ends(encodes=place == 0, decodes=rows is not None))
        self._own_blocks(blocks)
        kv = PlaceKV(spec, models.dit.dims, plan, place)
        self._begun = Place(models.dit, self._pipeline.denoiser, kv, self._times)
        if place == 0:
            self._entry = Entry(self._pipeline, models.dit.dims, models.vae, plan, num_lanes)
        if rows is not None:
            self._exit = Exit(models.vae, spec, rows, epoch, self._times, self._on_pictures)

    def attach(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def plan(self) -> RoutePlan:
        return self._place.kv.plan

    @property
    def _place(self) -> Place:
        assert self._begun is not None, "an epoch begins first"
        return self._begun

    @property
    def num_waiting(self) -> int:
        """Chunks at the entry that have not begun."""
        return self._entry.num_waiting if self._entry else 0

    @property
    def block_ms(self) -> float | None:
        """One block for one row; None = not measured yet."""
        return self._times.ms(BLOCKS)

    @property
    def encode_ms(self) -> float | None:
        return self._times.ms(ENCODE)

    @property
    def decode_ms(self) -> float | None:
        """Of what is decoded here."""
        return self._times.ms(DECODE)

    def add_text(self, text_id: int, embedding_1LE: Tensor) -> None:
        """Rows that carry this number have that prompt; those that came before it wait for it."""
        self._texts.add(text_id, embedding_1LE)
        self._take_held()

    def keep_texts(self, text_ids: Collection[int]) -> None:
        """Of others nothing is remembered but what a call needs that comes back to the entry: its
        pictures may be out before it is here."""
        away = self._entry.texts_away if self._entry is not None else set()
        self._texts.keep(away.union(text_ids))

    @torch.inference_mode()
    def take_frames(self, frames: list[Frame], params: Params, text_id: int) -> None:
        """The stream's next chunk, at the entry: 1 frame for an epoch's first, 4k later."""
        entry = self._entry
        assert entry is not None, "frames come to the entry"
        self._switch_(self.plan.with_steps(params.steps))
        with self._times.span(ENCODE):
            entry.take(frames, params, text_id, self._texts[text_id])
        self._go_on()

    @torch.inference_mode()
    def rebalance(self, plan: RoutePlan) -> None:
        """At the entry: calls from now on are run by the new plan, those before by the old.

        Of a plan that was made for another number of steps its shares are taken.
        """
        assert self._entry is not None, "the entry says when"
        self._switch_(plan.with_steps(self.plan.num_steps))

    @torch.inference_mode()
    def take(self, packet: Leaf | Token) -> None:
        """What a neighbour sent. Of an epoch that is over it is nothing.

        Raises:
            PacketError: it cannot be what must follow.
        """
        if (packet.header.epoch if isinstance(packet, Leaf) else packet.epoch) != self._epoch:
            return
        self._held.append(packet)
        self._take_held()

    @torch.inference_mode()
    def _take_held(self) -> None:
        """In order, as far as the prompts are here."""
        while self._held:
            packet = self._held[0]
            if isinstance(packet, Token):
                self._held.popleft()
                self._switch_(_plan_of(packet))
                continue
            if not packet.header.is_done and packet.header.text_id not in self._texts:
                return
            self._held.popleft()
            call = self._assembler.take(packet)
            if call is None:
                continue
            if self._entry is not None:
                self._entry.take_back(call)
                self._go_on()
            else:
                self._run(call)

    def _go_on(self) -> None:
        assert self._entry is not None
        while (call := self._entry.next_call()) is not None:
            self._run(call)

    def _run(self, call: Call) -> None:
        with self._attention.held():
            self._place.run_(call)
        done = [chunk for chunk in call.chunks if chunk.is_done]
        # On its way before anything is decoded here: others wait for it.
        if not self._is_last:
            for leaf in leaves_of(call, self._epoch):
                self._transport.send(leaf)
        elif self.plan.route is Route.RING:
            for leaf in leaves_of(call, self._epoch):
                self._transport.send_back(leaf)
        if self._exit is not None:
            for chunk in done:
                self._exit.take(chunk)

    @property
    def _is_last(self) -> bool:
        return self._place_number == self.plan.num_places - 1

    def _switch_(self, plan: RoutePlan) -> None:
        """Said to the next place first, so that all exchange what moves at the same time."""
        old = self.plan
        if plan == old:
            return
        self._check(plan)
        if not self._is_last:
            body = json.dumps(plan.to_json()).encode()
            self._transport.send(Token(self._epoch, body))
        # Keys and values need their blocks no earlier than the calls that follow.
        self._place.kv.move_(plan, moves(old, plan), self._exchange)
        self._own_blocks(self._place.kv.segment.blocks)
        if self._entry is not None:
            self._entry.plan = plan

    def _check(self, plan: RoutePlan) -> None:
        """
        Raises:
            PacketError: it is one for another route, or for more steps than there are rows.
        """
        size, old_size = (
            (one.route, one.num_places, one.num_blocks, one.num_decoders)
            for one in (plan, self.plan)
        )
        if size != old_size or plan.num_steps > self._spec.num_rows:
            raise PacketError(f"plan {plan} for a route {self.plan}")

    def _exchange(
        self, leaving: list[tuple[int, BlockState]], coming: list[tuple[int, BlockState]]
    ) -> None:
        def tensors(states: list[tuple[int, BlockState]]) -> list[tuple[int, Tensor]]:
            return [(place, part) for place, state in states for part in state.tensors()]

        self._transport.exchange(tensors(leaving), tensors(coming))

    def _own_blocks(self, blocks: Collection[int]) -> None:
        self._models.drop_(self._has.difference(blocks))
        self._models.bring_(set(blocks) - self._has)
        self._texts.keep_blocks(blocks)
        self._has = set(blocks)


def _plan_of(token: Token) -> RoutePlan:
    try:
        return RoutePlan.from_json(json.loads(token.body))
    except (ValueError, RecursionError) as error:
        raise PacketError(f"token that is no plan: {error}") from error
