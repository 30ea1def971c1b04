"""A stream over several places of one process, each on a thread of its own, and its oracle."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdv2_host.gpu.staging import Staging
from sdv2_host.params import Params, prompts_of
from sdv2_host.stages.calls import Call
from sdv2_host.stages.exit import Pictures
from sdv2_host.stages.local_transport import local_transports
from sdv2_host.stages.picture_bands import BandOfPictures, PictureBands
from sdv2_host.stages.rank import Rank
from sdv2_host.stages.rank_models import Ends
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stream.cache_plan import CacheGeometry
from sdv2_host.stream.pipeline import StreamPipeline
from sdv2_host.stream.prompt import mixed_embedding
from sdv2_host.stream.spec import StreamSpec
from sdv2_host.types import Frame, FrameMeta, Layout, Size
from sdv2_host.wan.bands import even_bands
from sdv2_host.wan.model import CausalWanModel
from sdv2_host.wan.text import TinyTextEncoder
from sdv2_host.wan.tiny_vae import TinyVAE
from tests.toys import TOY_DIT, TOY_TEXT, TOY_VAE

SIZE = Size(48, 32)
NUM_BLOCKS = 5
WAIT_S = 20.0


@dataclass
class WholeModels:
    """Every block, always; which of them a rank asked for is remembered."""

    dit: CausalWanModel
    vae: TinyVAE
    text: TinyTextEncoder
    brought: set[int] = field(default_factory=set)

    def bring_(self, blocks: Iterable[int]) -> None:
        self.brought |= set(blocks)

    def drop_(self, blocks: Iterable[int]) -> None:
        self.brought -= set(blocks)

    def hold_vae_(self, ends: Ends) -> None:
        """Both halves are always there."""


def toy_models() -> WholeModels:
    torch.manual_seed(7)
    dims = replace_dims()
    models = WholeModels(CausalWanModel(dims), TinyVAE(TOY_VAE), TinyTextEncoder(TOY_TEXT))
    for module in (models.dit, models.vae, models.text):
        module.double().eval().requires_grad_(False)
    return models


def replace_dims() -> Any:
    return replace(TOY_DIT, num_layers=NUM_BLOCKS)


def toy_spec(**changes: Any) -> StreamSpec:
    geometry = CacheGeometry(num_sinks=1, window=3)
    spec = StreamSpec(SIZE.height, SIZE.width, geometry, dtype=torch.float64)
    return replace(spec, **changes)


def toy_clip(num_frames: int, seed: int = 0) -> list[Frame]:
    """A picture that drifts."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 8, (num_frames, SIZE.height, SIZE.width, 4)).cumsum(axis=0)
    pixels = (128 + steps).clip(0, 255).astype(np.uint8)
    return [Frame(FrameMeta(SIZE.width, SIZE.height), one) for one in pixels]


def in_chunks(frames: list[Frame]) -> list[list[Frame]]:
    """One frame, then four at a time."""
    return [frames[:1], *(frames[begin : begin + 4] for begin in range(1, len(frames), 4))]


class Stream:
    """Places on threads, with a local transport between them."""

    def __init__(
        self, plan: RoutePlan, spec: StreamSpec, models: WholeModels, num_lanes: int = 0
    ) -> None:
        self.pictures: list[BandOfPictures] = []
        self._height_px = spec.height_px
        self._lock = threading.Lock()
        self.failures: list[Exception] = []
        self._models = models
        self._text_ids: dict[object, int] = {}
        self.ranks = [
            Rank(replace_brought(models), spec, self._show) for _ in range(plan.num_places)
        ]
        self.begin(1, plan, num_lanes or plan.num_places)

    def begin(self, epoch: int, plan: RoutePlan, num_lanes: int) -> None:
        """The stream begins anew, on as many ranks as the plan has places, from the first on."""
        self.pictures.clear()
        self._bands = PictureBands(even_bands(self._height_px, plan.num_decoders))
        self._inboxes: list[queue.SimpleQueue[Callable[[Rank], None] | None]] = [
            queue.SimpleQueue() for _ in range(plan.num_places)
        ]
        takers = [
            lambda packet, inbox=inbox: inbox.put(lambda rank: rank.take(packet))
            for inbox in self._inboxes
        ]
        transports = local_transports(plan.num_places, plan.route, takers)
        for place, rank in enumerate(self.ranks[: plan.num_places]):
            rank.begin(epoch, place, plan, num_lanes)
            rank.attach(transports[place])
        self._threads = [
            threading.Thread(target=self._serve, args=(place,), daemon=True)
            for place in range(plan.num_places)
        ]

    def _show(self, made: Pictures) -> None:
        with self._lock:
            band = BandOfPictures(made.index, made.rows, made.pixels, made.notes)
            whole = self._bands.add(band)
            if whole is not None:
                self.pictures.append(whole)

    def _serve(self, place: int) -> None:
        while (order := self._inboxes[place].get()) is not None:
            try:
                order(self.ranks[place])
            except Exception as error:  # shown by `play`
                self.failures.append(error)
                return

    def feed(self, frames: list[Frame], params: Params) -> None:
        blend = (prompts_of(params), params.blend_mode)
        if blend not in self._text_ids:
            self._text_ids[blend] = len(self._text_ids)
            embedding = mixed_embedding(prompts_of(params), params.blend_mode, self._models.text)
            for inbox in self._inboxes:
                inbox.put(lambda rank: rank.add_text(self._text_ids[blend], embedding))
        text_id = self._text_ids[blend]
        self._inboxes[0].put(lambda rank: rank.take_frames(frames, params, text_id))

    def rebalance_before_call(self, number: int, plan: RoutePlan) -> None:
        """Not before a chunk: all chunks are there before the first is through."""
        entry = self.ranks[0]
        run = entry._run

        def switch_and_run(call: Call) -> None:
            if call.number == number:
                entry.rebalance(plan)
            run(call)

        entry._run = switch_and_run  # type: ignore[method-assign]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for inbox in self._inboxes:
            inbox.put(None)
        for thread in self._threads:
            thread.join(WAIT_S)

    def wait(self, num_chunks: int) -> NDArray[np.uint8]:
        """All pictures, once so many chunks are out."""
        deadline = threading.Event()
        for _ in range(int(WAIT_S / 0.002)):
            if len(self.pictures) >= num_chunks or self.failures:
                break
            deadline.wait(0.002)
        if self.failures:
            raise self.failures[0]
        assert [one.index for one in self.pictures] == list(range(num_chunks))
        return np.concatenate([one.pixels for one in self.pictures])


def replace_brought(models: WholeModels) -> WholeModels:
    return WholeModels(models.dit, models.vae, models.text)


def play(
    stream: Stream,
    chunks: Sequence[list[Frame]],
    params: Sequence[Params],
    plans: dict[int, RoutePlan] | None = None,
) -> NDArray[np.uint8]:
    """The pictures of a whole stream; before call i it is re-balanced to plans[i]."""
    for number, plan in (plans or {}).items():
        stream.rebalance_before_call(number, plan)
    for frames, one in zip(chunks, params, strict=True):
        stream.feed(frames, one)
    stream.start()
    try:
        return stream.wait(len(chunks))
    finally:
        stream.stop()


def single(
    models: WholeModels,
    spec: StreamSpec,
    chunks: Sequence[list[Frame]],
    params: Sequence[Params],
    layout: Layout = Layout.SERIAL,
) -> NDArray[np.uint8]:
    """The same by one device."""
    pipeline = StreamPipeline(models.dit, models.vae, models.text, spec)
    staging = Staging(SIZE, spec.device, spec.dtype)
    state = pipeline.fresh_state()
    out = [
        pipeline.step(state, staging.upload(frames), one, layout)
        for frames, one in zip(chunks, params, strict=True)
    ]
    out.append(pipeline.flush(state))
    return staging.download(torch.cat(out, dim=1))
