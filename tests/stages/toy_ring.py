"""A ring of real processes that run toy models, and what its stream would be on one device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdv2_host.config import Config
from sdv2_host.errors import ModelError
from sdv2_host.params import Params
from sdv2_host.stages.block_scheduler import PlaceTimes
from sdv2_host.stages.exit import Pictures
from sdv2_host.stages.members import MemberLimits
from sdv2_host.stages.messages import Load, Loaded
from sdv2_host.stages.rank import Rank
from sdv2_host.stages.rank_process import run_rank
from sdv2_host.stages.rank_ticket import BuildRank, Built, Ticket
from sdv2_host.stages.ring_engine import RingEngine
from sdv2_host.stages.ring_plan import RankFacts, RingPlan, num_lanes
from sdv2_host.stages.ring_setup import Joining, RingSetup
from sdv2_host.stages.route import RoutePlan
from sdv2_host.stages.work import Route
from sdv2_host.types import Frame, ProgressFn
from sdv2_host.wan.streaming_vae import Band, DecodedBand
from sdv2_host.wan.tiny_vae import TinyVAE
from tests.stages.places import NUM_BLOCKS, SIZE, WholeModels, single, toy_models, toy_spec
from tests.toys import TOY_VAE

PATIENT = MemberLimits(silence_s=20.0, first_delay_s=0.05)
"""For a machine that is busy with other tests."""
ALONE = replace(PATIENT, first_delay_s=600.0, max_delay_s=600.0)
"""Nobody who dies comes back."""
NUM_REPLAYED = 2
DEADLINE_S = 90.0


def ring_models() -> WholeModels:
    """Text rows in float32, as the driver sends them; all else in float64, where the order of
    additions does not show in a picture."""
    models = toy_models()
    models.text.float()
    return models


def build_toy(
    load: Load, device: torch.device, on_pictures: Callable[[Pictures], None], progress: ProgressFn
) -> Built:
    del load, device
    torch.set_num_threads(1)
    progress("loading toys", 0.5)
    return Built(Rank(ring_models(), toy_spec(), on_pictures), Loaded(num_blocks=NUM_BLOCKS))


class SlowRank(Rank):
    """Says that its blocks take three times what was measured before the stream began."""

    @property
    def block_ms(self) -> float | None:
        return 3 * MEASURED.block_ms


MEASURED = PlaceTimes(encode_ms=1.0, block_ms=10.0, decode_ms=1.0)


def build_uneven(
    load: Load, device: torch.device, on_pictures: Callable[[Pictures], None], progress: ProgressFn
) -> Built:
    """The rank of the first device slows down."""
    built = build_toy(load, device, on_pictures, progress)
    if load.rank > 0:
        return built
    return built._replace(rank=SlowRank(ring_models(), toy_spec(), on_pictures))


class BreakingVAE(TinyVAE):
    """Squashes its memory into numbers that are none, once: after a warm-up and some chunks."""

    num_decoded = 0

    def decode_band(self, z_BFCHW: Tensor, band: Band, is_first: bool) -> DecodedBand:
        self.num_decoded += 1
        if self.num_decoded == NUM_UNTIL_BROKEN:
            z_BFCHW = torch.full_like(z_BFCHW, math.nan)
        return super().decode_band(z_BFCHW, band, is_first)


NUM_UNTIL_BROKEN = 8


def build_breaking(
    load: Load, device: torch.device, on_pictures: Callable[[Pictures], None], progress: ProgressFn
) -> Built:
    """The decoder breaks a stream in its middle, and is well again when another begins."""
    built = build_toy(load, device, on_pictures, progress)
    models = ring_models()
    vae = BreakingVAE(TOY_VAE).double().eval().requires_grad_(False)
    vae.load_state_dict(models.vae.state_dict())
    models.vae = vae
    return built._replace(rank=Rank(models, toy_spec(), on_pictures))


def build_nothing(
    load: Load, device: torch.device, on_pictures: Callable[[Pictures], None], progress: ProgressFn
) -> Built:
    raise ModelError("toys.safetensors is missing: buy some")


def build_badly(
    load: Load, device: torch.device, on_pictures: Callable[[Pictures], None], progress: ProgressFn
) -> Built:
    raise RuntimeError("a bug of toys")


def even_plan(config: Config, facts: Sequence[RankFacts], num_steps: int) -> RingPlan:
    """As many blocks for each, in the order in which they came."""
    route = Route.CHAIN if config.route == "chain" else Route.RING
    num_blocks = facts[0].loaded.num_blocks
    steps = num_steps if route is Route.CHAIN else config.num_step_rows
    plan = RoutePlan.even(route, steps, num_blocks, len(facts))
    num_machines = len({fact.machine for fact in facts})
    lanes = num_lanes(config, len(facts), num_machines)
    return RingPlan(tuple(fact.rank for fact in facts), plan, lanes)


def timed_plan(
    config: Config, times: PlaceTimes | None, facts: Sequence[RankFacts], num_steps: int
) -> RingPlan:
    plan = even_plan(config, facts, num_steps)
    return plan._replace(times=(times,) * len(facts)) if times else plan


@contextmanager
def toy_ring(
    num_devices: int,
    *,
    route: str = "ring",
    limits: MemberLimits = PATIENT,
    build: BuildRank = build_toy,
    joining: Joining | None = None,
    times: PlaceTimes | None = None,
    run: Callable[[Ticket], None] = run_rank,
) -> Iterator[RingEngine]:
    """An engine of so many processes, not warm; with `times`, they have measured these."""
    config = Config.model_validate(
        {
            "width": SIZE.width,
            "height": SIZE.height,
            "devices": ",".join(["cpu"] * num_devices),
            "route": route,
        }
    )
    setup = RingSetup(
        config=config,
        devices=("cpu",) * num_devices,
        run_rank=run,
        build=build,
        plan=partial(timed_plan, config, times),
        num_steps=2,
        joining=joining,
        num_replayed=NUM_REPLAYED,
        limits=limits,
    )
    engine = RingEngine(setup, ring_models().text)
    try:
        yield engine
    finally:
        engine.close()


def whole(chunks: Sequence[list[Frame]], params: Sequence[Params]) -> NDArray[np.uint8]:
    """The pictures of a session, by one device."""
    return single(ring_models(), toy_spec(), chunks, params)


def lost_at(
    number: int, chunks: Sequence[list[Frame]], params: Sequence[Params]
) -> NDArray[np.uint8]:
    """The pictures of a session whose ring is lost when chunk `number` is the oldest owed: from
    there on those of a stream that began a little before."""
    before = whole(chunks[:number], params[:number])
    first = number - NUM_REPLAYED - 1
    if first <= 0:
        return whole(chunks, params)
    anew = whole([chunks[first][-1:], *chunks[first + 1 :]], params[first:])
    num_known = 1 + sum(len(chunk) for chunk in chunks[first + 1 : number])
    return np.concatenate([before, anew[num_known:]])


def quiet(text: str, fraction: float) -> None:
    del text, fraction


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
